//! What loading accepts, reuses and reports.

use std::fs;

use lith_archive::{LoadError, LoadOptions};
use lith_store::{ChainId, LayerId, Reference};

use crate::support::{Image, Root, Tar, bzip2, fixture, gzip, manifest, members, tar, xz, zstd};

fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

/// Loads both ways into fresh stores and hands each store on.
fn both(archive: &[u8], check: impl Fn(&Root)) {
    for stream in [false, true] {
        let root = Root::new();
        let loaded = match stream {
            false => root.load_file(archive),
            true => root.load_stream(archive),
        };
        loaded.unwrap_or_else(|error| panic!("stream {stream}: {error}: {error:?}"));
        check(&root);
    }
}

pub(crate) fn assert_saves(root: &Root, image: &Image) {
    let saved = members(&root.save(&[&image.id().to_string()]));
    assert_eq!(saved[&format!("{}.json", image.id().hex())].2, image.config);
    for (index, layer) in image.layers.iter().enumerate() {
        assert!(saved[&image.layer_name(index)].2 == *layer, "layer {index}");
    }
}

#[test]
fn layers_inside_may_be_compressed() {
    let image = Image::new(&["a", "b", "c", "d", "e"]);
    let packed = [
        gzip(&image.layers[0]),
        zstd(&image.layers[1]),
        bzip2(&image.layers[2]),
        xz(&image.layers[3]),
        image.layers[4].clone(),
    ];
    let names = ["0.tar.gz", "1", "deep/er/2.tar", "3.layer", "4"];
    let mut tar = Tar::new();
    for (name, layer) in names.iter().zip(&packed) {
        tar.file(name, layer);
    }
    tar.file("some/config", &image.config);
    tar.file(
        "manifest.json",
        manifest("some/config", &["c:1"], &names).as_bytes(),
    );
    both(&tar.finish(), |root| assert_saves(root, &image));
}

/// The layout of newer engines: an OCI layout with `manifest.json` beside.
#[test]
fn blobs_layout() {
    let image = Image::new(&["a", "b"]);
    let blob = |hex: String| format!("blobs/sha256/{hex}");
    let config = blob(image.id().hex());
    let layers: Vec<String> = (0..2).map(|i| blob(image.diff_id(i).hex())).collect();
    let mut tar = Tar::new();
    for folder in ["blobs/", "blobs/sha256/"] {
        tar.folder(folder);
    }
    tar.file(&config, &image.config);
    for (name, layer) in layers.iter().zip(&image.layers) {
        tar.file(name, layer);
    }
    tar.file(&blob("ab".repeat(32)), b"{\"schemaVersion\":2}");
    tar.file("index.json", br#"{"schemaVersion":2,"manifests":null}"#);
    // Newer engines list every embedded layer here, without urls.
    let sources = image.layers.iter().enumerate().map(|(index, layer)| {
        let digest = image.diff_id(index).to_string();
        let source = serde_json::json!({
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "size": layer.len(),
            "digest": digest,
        });
        (digest, source)
    });
    let sources: serde_json::Map<String, serde_json::Value> = sources.collect();
    let item = serde_json::json!([{
        "Config": config, "RepoTags": ["new:25"], "Layers": layers, "LayerSources": sources,
    }]);
    tar.file("manifest.json", item.to_string().as_bytes());
    tar.file("oci-layout", br#"{"imageLayoutVersion": "1.0.0"}"#);
    tar.file("repositories", br#"{"new":{"25":"of no use"}}"#);
    both(&tar.finish(), |root| {
        assert_saves(root, &image);
        let written: serde_json::Value =
            serde_json::from_slice(&members(&root.save(&["new:25"]))["manifest.json"].2).unwrap();
        assert_eq!(
            written[0]["LayerSources"],
            serde_json::Value::Object(
                serde_json::from_value(item[0]["LayerSources"].clone()).unwrap()
            )
        );
        assert_eq!(written[0]["RepoTags"][0], "docker.io/library/new:25");
    });
}

#[test]
fn links_and_dotted_names() {
    let image = Image::new(&["a", "b"]);
    let mut tar = Tar::new();
    tar.file(
        "./manifest.real",
        manifest("./c/config", &["l:1"], &["./1/layer.tar", "two"]).as_bytes(),
    );
    tar.symlink("./manifest.json", "manifest.real");
    tar.symlink("1/layer.tar", "../x/one.tar");
    tar.hard_link("two", "x/two.tar");
    tar.symlink("x/one.tar", "one.real");
    tar.file("x/two.tar", &image.layers[1]);
    tar.file("x/one.real", &image.layers[0]);
    tar.file("c/real", &image.config);
    tar.hard_link("c/config", "./c/real");
    both(&tar.finish(), |root| assert_saves(root, &image));
}

#[test]
fn equal_layers_in_one_image_and_in_several() {
    let one = Image::new(&["a"]).layers.remove(0);
    let two = Image::new(&["b"]).layers.remove(0);
    let twice = Image::of(vec![one.clone(), two.clone(), one.clone()]);
    both(&twice.archive(&["twice:1"]), |root| {
        assert_saves(root, &twice);
        assert_eq!(root.graph.store().layers().unwrap().len(), 3);
    });
    let other = Image::of(vec![two, one]);
    let names = |image: &Image| -> Vec<String> {
        (0..image.layers.len())
            .map(|index| image.layer_name(index))
            .collect()
    };
    let mut tar = Tar::new();
    tar.file("1.json", &twice.config);
    tar.file("2.json", &other.config);
    tar.file(&names(&twice)[0], &twice.layers[0]);
    tar.file(&names(&twice)[1], &twice.layers[1]);
    let items = serde_json::json!([
        { "Config": "1.json", "RepoTags": ["r:1", "r:both"], "Layers": names(&twice) },
        { "Config": "2.json", "RepoTags": ["r:2", "r:both"], "Layers": names(&other) },
    ]);
    tar.file("manifest.json", items.to_string().as_bytes());
    both(&tar.finish(), |root| {
        assert_saves(root, &twice);
        assert_saves(root, &other);
        // A name that is there twice: the last wins.
        let owner = root.graph.store().name(&reference("r:both")).unwrap();
        assert_eq!(owner, Some(other.id()));
    });
}

#[test]
fn layers_of_the_store_are_not_read() {
    let base = Image::new(&["a"]);
    let image = Image::new(&["a", "b"]);
    let root = Root::new();
    root.load_file(&base.archive(&["base:1"])).unwrap();
    // The base's bytes are damaged in this archive, which nobody sees.
    let mut damaged = image.clone();
    damaged.layers[0] = vec![b'x'; 700];
    let mut tar = Tar::new();
    let names = [image.layer_name(0), image.layer_name(1)];
    tar.file(&names[0], &damaged.layers[0]);
    tar.file(&names[1], &image.layers[1]);
    tar.file("config.json", &image.config);
    tar.file(
        "manifest.json",
        manifest("config.json", &["top:1"], &names).as_bytes(),
    );
    let report = root.load_file(&tar.finish()).unwrap();
    let loaded = &report.images[0];
    assert_eq!((loaded.layers_new, loaded.layers_reused), (1, 1));
    assert_eq!(loaded.bytes, image.layers[1].len() as u64);
    assert_saves(&root, &image);
    // In a stream the name is believed only when the content proves it.
    let report = root.load_stream(&image.archive(&["top:2"])).unwrap();
    assert_eq!(
        (report.images[0].layers_new, report.images[0].layers_reused),
        (0, 2)
    );
}

/// A stream whose member has the name of a layer of the store and the content of another.
#[test]
fn misleading_names_in_streams() {
    let known = Image::new(&["known"]);
    let image = Image::new(&["other"]);
    let root = Root::new();
    root.load_file(&known.archive(&["known:1"])).unwrap();
    let name = known.layer_name(0);
    let archive = tar(&[
        (&name, &image.layers[0]),
        ("c", &image.config),
        (
            "manifest.json",
            manifest("c", &["x:1"], &[&name]).as_bytes(),
        ),
    ]);
    let error = root.load_stream(&archive).unwrap_err();
    assert!(matches!(error, LoadError::Misnamed { .. }), "{error}");
    // From a file nothing depends on names.
    root.load_file(&archive).unwrap();
    assert_saves(&root, &image);
    // Another name's promise, but compressed: still proved.
    let archive = tar(&[
        (&name, &gzip(&known.layers[0])),
        ("c", &known.config),
        (
            "manifest.json",
            manifest("c", &["x:2"], &[&name]).as_bytes(),
        ),
    ]);
    assert_eq!(
        root.load_stream(&archive).unwrap().images[0].layers_reused,
        1
    );
}

#[test]
fn missing_layers_come_from_the_store() {
    let base = Image::new(&["a", "b"]);
    for (name, thin) in [
        ("same chain", Image::new(&["a", "b", "c"])),
        ("other chain", Image::new(&["b", "a", "c"])),
    ] {
        let root = Root::new();
        let top = thin.layer_name(2);
        let archive = tar(&[
            (&top, &thin.layers[2]),
            ("c", &thin.config),
            (
                "manifest.json",
                manifest("c", &["thin:1"], &["no-1", "no-2", &top]).as_bytes(),
            ),
        ]);
        let error = root.load_file(&archive).unwrap_err();
        let LoadError::MissingLayers { missing, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!(*missing, [thin.diff_id(0), thin.diff_id(1)], "{name}");
        root.assert_empty(name);
        root.load_stream(&archive).unwrap_err();
        root.assert_empty(name);

        root.load_file(&base.archive(&["base:1"])).unwrap();
        root.load_stream(&archive).unwrap();
        assert_saves(&root, &thin);
        let chain = ChainId::chain(&[thin.diff_id(0), thin.diff_id(1), thin.diff_id(2)]);
        let layers: Vec<LayerId> = chain.iter().map(LayerId::from).collect();
        let record = root.graph.store().image(&thin.id()).unwrap().unwrap();
        assert_eq!(record.layers, layers, "{name}");
    }
}

#[test]
fn an_image_without_layers() {
    let image = Image::of(vec![]);
    both(&image.archive(&["none:1"]), |root| {
        let saved = members(&root.save(&["none:1"]));
        assert_eq!(saved["repositories"].2, b"{}");
        assert_eq!(saved.len(), 3);
    });
}

#[test]
fn a_layer_of_no_entries_or_no_bytes() {
    let image = Image::of(vec![vec![0; 1024], vec![0; 10240]]);
    both(&image.archive(&["zeros:1"]), |root| {
        assert_saves(root, &image);
    });
}

#[test]
fn names_move_and_the_report_says_so() {
    let (first, second) = (Image::new(&["1"]), Image::new(&["2"]));
    let root = Root::new();
    root.load_file(&first.archive(&["app:1", "app:old"]))
        .unwrap();
    let report = root
        .load_file(&second.archive(&["app:1", "docker.io/library/app:1"]))
        .unwrap();
    let loaded = &report.images[0];
    assert_eq!(loaded.names, [reference("app:1")]);
    assert_eq!(loaded.moved, [(reference("app:1"), first.id())]);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json[0]["names"][0], "app:1");
    assert_eq!(json[0]["moved"]["app:1"], first.id().to_string());
    for field in ["id", "layers_new", "layers_reused", "bytes", "seconds"] {
        assert!(!json[0][field].is_null(), "{field}");
    }
    let mut options = LoadOptions::default();
    options.no_clobber = true;
    let report = root
        .load_file_with(&first.archive(&["app:1"]), &options)
        .unwrap();
    assert!(report.images[0].names.is_empty());
    assert_eq!(report.warnings.len(), 1);
    assert_eq!(
        root.graph.store().name(&reference("app:1")).unwrap(),
        Some(second.id())
    );
}

#[test]
fn one_image_out_of_several_and_further_names() {
    let archive = fixture("docker-multi.tar.gz");
    let root = Root::new();
    let mut options = LoadOptions::default();
    options.tags = vec![reference("mine:1")];
    let error = root.load_file_with(&archive, &options).unwrap_err();
    assert!(
        matches!(error, LoadError::TagsNeedOneImage { images: 2 }),
        "{error}"
    );
    options.images = vec!["nothing".into()];
    let error = root.load_file_with(&archive, &options).unwrap_err();
    assert!(matches!(error, LoadError::NotInArchive { .. }), "{error}");
    root.assert_empty("nothing was to be loaded");
    options.images = vec!["example.com/team/tiny2".into()];
    let report = root.load_file_with(&archive, &options).unwrap();
    assert_eq!(report.images.len(), 1);
    let names: Vec<String> = report.images[0]
        .names
        .iter()
        .map(Reference::familiar)
        .collect();
    assert_eq!(names, ["mine:1", "example.com/team/tiny2:latest"]);
}

#[test]
fn parents_are_kept_and_written_back() {
    let (base, top) = (Image::new(&["a"]), Image::new(&["a", "b"]));
    let mut tar = Tar::new();
    tar.file("a.tar", &top.layers[0]);
    tar.file("b.tar", &top.layers[1]);
    tar.file("base.json", &base.config);
    tar.file("top.json", &top.config);
    let items = serde_json::json!([
        { "Config": "base.json", "RepoTags": ["base:1"], "Layers": ["a.tar"],
          "Parent": base.id().to_string() },
        { "Config": "top.json", "RepoTags": ["top:1"], "Layers": ["a.tar", "b.tar"],
          "Parent": base.id().to_string() },
    ]);
    tar.file("manifest.json", items.to_string().as_bytes());
    both(&tar.finish(), |root| {
        let parsed = |archive: &[u8]| -> serde_json::Value {
            serde_json::from_slice(&members(archive)["manifest.json"].2).unwrap()
        };
        let both = parsed(&root.save(&["top:1", "base:1"]));
        assert_eq!(both[0]["Parent"], base.id().to_string());
        assert!(both[1]["Parent"].is_null());
        // Not without the parent itself.
        assert!(parsed(&root.save(&["top:1"]))[0]["Parent"].is_null());
    });
}

#[test]
fn what_no_image_claims_is_dropped() {
    let image = Image::new(&["a"]);
    let name = image.layer_name(0);
    let archive = tar(&[
        (
            "broken.tar.gz",
            &gzip(b"not a tar at all, but compressed")[..],
        ),
        (
            "broken.zst",
            b"\x28\xb5\x2f\xfd and then nothing that makes sense",
        ),
        ("unclaimed.tar", &Image::new(&["unclaimed"]).layers[0]),
        ("README", b"text"),
        (&name, &image.layers[0]),
        ("c", &image.config),
        (
            "manifest.json",
            manifest("c", &["x:1"], &[&name]).as_bytes(),
        ),
    ]);
    both(&archive, |root| {
        assert_saves(root, &image);
        assert_eq!(root.graph.store().layers().unwrap().len(), 1);
        assert_eq!(
            fs::read_dir(root.graph.store().root().staging())
                .unwrap()
                .count(),
            0
        );
    });
}
