//! Loading again with everything read: what is damaged in the store is made anew, what is damaged in
//! the archive is refused.

use std::fs;

use lith_archive::{LoadError, LoadOptions, LoadReport};

use crate::load::assert_saves;
use crate::support::{Image, Root, Tar, manifest};

fn verify() -> LoadOptions {
    let mut options = LoadOptions::default();
    options.verify = true;
    options
}

/// An archive whose layers have these names.
fn archive(image: &Image, names: &[String]) -> Vec<u8> {
    let mut tar = Tar::new();
    for (name, layer) in names.iter().zip(&image.layers) {
        tar.file(name, layer);
    }
    tar.file("config.json", &image.config);
    let manifest = manifest("config.json", &["app:1"], names);
    tar.file("manifest.json", manifest.as_bytes());
    tar.finish()
}

/// Damages the file `file-{text}` in the tree of a layer: its own, or a copy that vfs made.
fn damage(root: &Root, image: &Image, text: &str, layer: usize) {
    let layers = root.graph.store().layers_by_diff(&image.diff_id(layer));
    let tree = root
        .path()
        .join("root/drivers/vfs")
        .join(&layers.unwrap()[0].cache);
    let file = tree.join("tree").join(format!("file-{text}"));
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    fs::write(&file, "X".repeat(text.len())).unwrap();
}

fn counts(report: &LoadReport) -> (usize, usize) {
    let image = &report.images[0];
    (image.layers_new, image.layers_reused)
}

#[test]
fn damage_in_the_store_is_found_and_mended() {
    let image = Image::new(&["a", "b", "c"]);
    let telling: Vec<String> = (0..3).map(|index| image.layer_name(index)).collect();
    let other: Vec<String> = (0..3).map(|index| format!("{index}/layer.tar")).collect();
    for (names, stream) in [
        (&telling, false),
        (&telling, true),
        (&other, false),
        (&other, true),
    ] {
        let root = Root::new();
        let archive = archive(&image, names);
        let load = |options: &LoadOptions| match stream {
            true => root.load_stream_with(&archive, options).unwrap(),
            false => root.load_file_with(&archive, options).unwrap(),
        };
        assert_eq!(counts(&load(&verify())), (3, 0));
        assert_eq!(counts(&load(&verify())), (0, 3));
        // One's own, and a copy of one.
        damage(&root, &image, "c", 2);
        damage(&root, &image, "a", 1);
        // Nobody looks.
        assert_eq!(counts(&load(&LoadOptions::default())), (0, 3));
        assert_eq!(counts(&load(&verify())), (2, 1), "{names:?} {stream}");
        assert_saves(&root, &image);
        assert_eq!(counts(&load(&verify())), (0, 3));
    }
}

#[test]
fn damage_in_the_archive_is_refused() {
    let image = Image::new(&["a", "b"]);
    let names = [image.layer_name(0), image.layer_name(1)];
    let root = Root::new();
    root.load_file(&archive(&image, &names)).unwrap();
    let mut other = image.clone();
    other.layers[0] = Image::new(&["other"]).layers.remove(0);
    let other = archive(&other, &names);
    root.load_file(&other).unwrap();
    let error = root.load_file_with(&other, &verify()).unwrap_err();
    let LoadError::Layer { member, source } = error else {
        panic!("{error}")
    };
    assert_eq!(member, names[0]);
    assert!(source.to_string().contains(&image.diff_id(0).to_string()));
    root.load_stream_with(&other, &verify()).unwrap_err();
    assert_saves(&root, &image);
}

#[test]
fn what_the_archive_lacks_cannot_be_mended() {
    let image = Image::new(&["a", "b"]);
    let names = [image.layer_name(0), image.layer_name(1)];
    let root = Root::new();
    root.load_file(&archive(&image, &names)).unwrap();
    let mut tar = Tar::new();
    tar.file(&names[1], &image.layers[1]);
    tar.file("config.json", &image.config);
    let manifest = manifest("config.json", &["thin:1"], &names);
    tar.file("manifest.json", manifest.as_bytes());
    let thin = tar.finish();
    root.load_file_with(&thin, &verify()).unwrap();
    damage(&root, &image, "a", 0);
    let error = root.load_file_with(&thin, &verify()).unwrap_err();
    let LoadError::LayerGone { diff_id, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(diff_id, image.diff_id(0));
    // It is known to be damaged now, and the whole archive mends it without being asked.
    let report = root.load_file(&archive(&image, &names)).unwrap();
    assert_eq!(counts(&report), (2, 0), "the other one's copies differ");
    assert_saves(&root, &image);
}
