//! Taking names and images out again.

use lith_archive::{Kept, RemoveError, RemoveReport, SelectError, remove, untag};

use crate::support::{Image, Root};

fn rm(root: &Root, wanted: &[&str], force: bool) -> Result<RemoveReport, RemoveError> {
    let wanted: Vec<String> = wanted.iter().map(|text| (*text).to_owned()).collect();
    remove(&root.graph, &wanted, force)
}

#[test]
fn the_last_name_takes_the_image_with_it() {
    let root = Root::new();
    let image = Image::new(&["a", "b"]);
    root.load_file(&image.archive(&["app:1", "app:2"])).unwrap();
    let report = rm(&root, &["app:1"], false).unwrap();
    assert_eq!(report.untagged.len(), 1);
    assert!(report.deleted.is_empty() && report.layers.is_empty());
    let names = vec!["app:2".to_owned()];
    assert_eq!(
        report.kept,
        [Kept::Image {
            id: image.id(),
            names
        }]
    );
    let report = rm(&root, &["app:2"], false).unwrap();
    assert_eq!(report.deleted, [image.id()]);
    assert_eq!(report.layers.len(), 2);
    assert!(report.kept.is_empty());
    root.assert_empty("all removed");
}

#[test]
fn by_id() {
    let root = Root::new();
    let image = Image::new(&["a"]);
    root.load_file(&image.archive(&["app:1", "app:2"])).unwrap();
    let id = image.id().to_string();
    let error = rm(&root, &[&id], false).unwrap_err();
    let RemoveError::SeveralNames { names, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(*names, ["app:1", "app:2"]);
    let report = rm(&root, &[&id, "app:1"], true).unwrap();
    assert_eq!((report.untagged.len(), report.deleted.len()), (2, 1));
    root.assert_empty("forced");
    // With one name, and with none.
    for tags in [&["app:1"][..], &[]] {
        root.load_file(&image.archive(tags)).unwrap();
        rm(&root, &[&image.id().hex()[..12]], false).unwrap();
        root.assert_empty("by prefix");
    }
}

#[test]
fn shared_layers_stay_and_it_is_said_why() {
    let root = Root::new();
    let (base, top) = (Image::new(&["a"]), Image::new(&["a", "b"]));
    root.load_file(&base.archive(&["base:1"])).unwrap();
    root.load_file(&top.archive(&["top:1"])).unwrap();
    let report = rm(&root, &["top:1"], false).unwrap();
    assert_eq!(report.layers.len(), 1);
    let [Kept::Layer { reason, .. }] = &report.kept[..] else {
        panic!("{:?}", report.kept)
    };
    assert!(reason.contains(&base.id().to_string()), "{reason}");
    serde_json::to_string(&report).unwrap();
    // The other way round: the base's layer is under the other image.
    root.load_file(&top.archive(&["top:1"])).unwrap();
    let report = rm(&root, &["base:1"], false).unwrap();
    assert_eq!((report.deleted.len(), report.layers.len()), (1, 0));
    rm(&root, &["top:1"], false).unwrap();
    root.assert_empty("both removed");
}

#[test]
fn nothing_is_removed_when_one_is_not_there() {
    let root = Root::new();
    let image = Image::new(&["a"]);
    root.load_file(&image.archive(&["app:1"])).unwrap();
    // A bare name means `latest`, never what happens to be there.
    for wrong in ["app:2", "app", "other:1"] {
        let error = rm(&root, &["app:1", wrong], false).unwrap_err();
        assert!(
            matches!(error, RemoveError::Select(SelectError::NotFound { .. })),
            "{error}"
        );
    }
    assert_eq!(root.graph.store().names().unwrap().len(), 1);
}

#[test]
fn untagged_images_stay() {
    let root = Root::new();
    let image = Image::new(&["a"]);
    root.load_file(&image.archive(&["app:1"])).unwrap();
    let report = untag(&root.graph, &["app:1".to_owned()]).unwrap();
    assert_eq!(report.untagged.len(), 1);
    assert_eq!(root.graph.store().images().unwrap().len(), 1);
    untag(&root.graph, &["app:1".to_owned()]).unwrap_err();
    untag(&root.graph, &[image.id().to_string()]).unwrap_err();
}
