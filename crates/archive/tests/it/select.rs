//! Names and IDs as people write them.

use lith_archive::{SelectError, resolve_one, select};
use lith_store::Reference;

use crate::support::{Image, Root};

struct Three {
    root: Root,
    first: Image,
    second: Image,
}

fn three() -> Three {
    let root = Root::new();
    let (first, second) = (Image::new(&["1"]), Image::new(&["2"]));
    root.load_file(&first.archive(&["app:1", "app:old", "example.com/team/tool:3"]))
        .unwrap();
    root.load_file(&second.archive(&["app:2", "solo:9"]))
        .unwrap();
    Three {
        root,
        first,
        second,
    }
}

impl Three {
    fn select(&self, wanted: &[&str]) -> Result<Vec<(Image, Vec<String>)>, SelectError> {
        let wanted: Vec<String> = wanted.iter().map(|text| (*text).to_owned()).collect();
        let selection = select(&self.root.graph, &wanted)?;
        let images = selection.images().iter().map(|image| {
            let which = [&self.first, &self.second]
                .into_iter()
                .find(|known| known.id() == image.record.id)
                .unwrap();
            (
                which.clone(),
                image.names.iter().map(Reference::familiar).collect(),
            )
        });
        Ok(images.collect())
    }

    fn names(&self, wanted: &[&str]) -> Vec<Vec<String>> {
        self.select(wanted)
            .unwrap()
            .into_iter()
            .map(|(_, names)| names)
            .collect()
    }
}

#[test]
fn names_and_ids() {
    let three = three();
    let (first, second) = (three.first.id(), three.second.id());
    assert_eq!(three.names(&["app:1"]), [["app:1"]]);
    assert_eq!(three.names(&["docker.io/library/app:1"]), [["app:1"]]);
    // A bare name is all its tags.
    assert_eq!(
        three.names(&["app"]),
        [vec!["app:1", "app:old"], vec!["app:2"]]
    );
    // By ID: without a name.
    for id in [first.to_string(), first.hex(), first.hex()[..12].to_owned()] {
        assert_eq!(three.names(&[&id]), [Vec::<String>::new()], "{id}");
    }
    let short = format!("sha256:{}", &second.hex()[..12]);
    assert_eq!(three.select(&[&short]).unwrap()[0].0.id(), second);
    // The same image by two names is one, in the order asked.
    assert_eq!(
        three.names(&["app:old", "solo:9", "app:1"]),
        [vec!["app:old", "app:1"], vec!["solo:9"]]
    );
    assert_eq!(
        three.names(&["app:1", "app:1", &first.to_string()]),
        [["app:1"]]
    );
}

#[test]
fn a_name_wins_over_the_start_of_an_id() {
    let three = three();
    let prefix = three.second.id().hex()[..4].to_owned();
    let session = three.root.graph.store().begin().unwrap();
    let name: Reference = prefix.parse().unwrap();
    three
        .root
        .graph
        .store()
        .set_name(&session, &name, &three.first.id())
        .unwrap();
    assert_eq!(
        three.select(&[&prefix]).unwrap()[0].0.id(),
        three.first.id()
    );
    let by_id = format!("sha256:{prefix}");
    assert_eq!(
        three.select(&[&by_id]).unwrap()[0].0.id(),
        three.second.id()
    );
}

#[test]
fn what_is_not_there_is_said_with_what_was_meant() {
    let three = three();
    let cases = [
        ("app:3", "app:1"),
        ("ap:1", "app:1"),
        ("tool", "example.com/team/tool:3"),
        ("example.com/team/tol:3", "example.com/team/tool:3"),
    ];
    for (wanted, meant) in cases {
        let error = three.select(&["solo:9", wanted]).unwrap_err();
        let SelectError::NotFound {
            wanted: named,
            similar,
        } = &error
        else {
            panic!("{error}")
        };
        assert_eq!(named, wanted);
        assert!(
            similar.iter().any(|name| name == meant),
            "{wanted}: {similar:?}"
        );
    }
    for wanted in [
        &"0".repeat(64)[..],
        "sha256:",
        "sha256:zz",
        "sha256",
        "other/thing",
    ] {
        let error = three.select(&[wanted]).unwrap_err();
        assert!(
            matches!(error, SelectError::NotFound { .. }),
            "{wanted}: {error}"
        );
    }
    for wanted in ["", "UPPER", "a b", "app:", "-x"] {
        let error = three.select(&[wanted]).unwrap_err();
        assert!(
            matches!(error, SelectError::BadName { .. }),
            "{wanted}: {error}"
        );
    }
    let digest = format!("app@sha256:{}", "0".repeat(64));
    assert!(matches!(
        three.select(&[&digest]).unwrap_err(),
        SelectError::NotFound { .. }
    ));
}

#[test]
fn one_image() {
    let three = three();
    let store = three.root.graph.store();
    assert_eq!(
        resolve_one(store, "solo").unwrap().name.unwrap().familiar(),
        "solo:9"
    );
    let error = resolve_one(store, "app").unwrap_err();
    let SelectError::SeveralTags { tags, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(tags.len(), 3);
    let session = store.begin().unwrap();
    store
        .set_name(&session, &"app".parse().unwrap(), &three.second.id())
        .unwrap();
    assert_eq!(resolve_one(store, "app").unwrap().id, three.second.id());
    assert!(matches!(
        resolve_one(store, "").unwrap_err(),
        SelectError::BadName { .. }
    ));
}

/// An ID's start that fits two images.
#[test]
fn ambiguous_prefixes() {
    let root = Root::new();
    let mut seen = std::collections::HashSet::new();
    // 17 images have two with the same first digit.
    let shared = (0..17).find_map(|index| {
        let image = Image::new(&[&index.to_string()]);
        root.load_file(&image.archive(&[])).unwrap();
        let digit = image.id().hex()[..1].to_owned();
        (!seen.insert(digit.clone())).then_some(digit)
    });
    let error = select(&root.graph, &[shared.unwrap()]).unwrap_err();
    let SelectError::Ambiguous { candidates, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(candidates.len(), 2);
}

#[test]
fn selected_layers_are_held() {
    let three = three();
    let selection = select(&three.root.graph, &["solo:9".to_owned()]).unwrap();
    let names: Vec<String> = ["solo:9", "app:2"].map(str::to_owned).into();
    let report = lith_archive::remove(
        &three.root.graph,
        &names,
        &lith_archive::RemoveOptions::default(),
        &(),
    )
    .unwrap();
    assert_eq!(report.deleted, [three.second.id()]);
    assert!(report.layers.is_empty());
    assert_eq!(report.kept.len(), 1);
    let layer = selection.images()[0].record.layers[0];
    assert!(three.root.graph.store().has_layer(&layer).unwrap());
}
