//! A plugin that fails or breaks the rules in the middle of the work: an error, and a store as before.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::archive::{Image, docker_archive, layer};
use crate::lith::{Lith, is_root};

/// The plugin of a store, compiled anew for each thing that it is to do wrong.
struct Plugin {
    file: PathBuf,
}

impl Plugin {
    /// Compiles it, with these macros.
    fn compile(&self, macros: &[&str]) {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let plugin = here.join("../plugin");
        // Beside it first: what is loaded somewhere must not change.
        let fresh = self.file.with_extension("fresh");
        let output = Command::new("cc")
            .args(["-shared", "-fPIC", "-Wall", "-Werror", "-I"])
            .arg(plugin.join("include"))
            .arg("-I")
            .arg(plugin.join("examples"))
            .args(macros.iter().map(|text| format!("-D{text}")))
            .arg("-o")
            .arg(&fresh)
            .arg(here.join("tests/it/plugin_fails.c"))
            .output()
            .expect("the C compiler `cc`");
        assert!(output.status.success(), "{macros:?}: {output:?}");
        fs::rename(&fresh, &self.file).unwrap();
    }
}

/// A store with an image of two layers, made by the plugin while it was right.
fn store() -> (Lith, Plugin, Vec<u8>) {
    let lith = Lith::new("plain");
    let plugin = Plugin {
        file: lith.path("libplain.so"),
    };
    plugin.compile(&[]);
    let image = Image {
        layers: vec![
            layer(&[("etc", None), ("etc/passwd", Some(b"root"))]),
            layer(&[("etc/.wh.passwd", Some(b"")), ("new", Some(b"file"))]),
        ],
        names: vec!["first:1"],
        author: "",
    };
    let archive = lith.path("first.tar");
    fs::write(&archive, docker_archive(&image)).unwrap();
    let mut made = lith.command();
    let made = made.arg("--driver").arg(&plugin.file).args(["load", "-i"]);
    let made = made.arg(&archive).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let saved = lith.ok(["save", "first:1"]);
    (lith, plugin, saved)
}

/// Another image, of three layers.
fn second(lith: &Lith) -> PathBuf {
    let image = Image {
        layers: vec![
            layer(&[("usr", None), ("usr/a", Some(b"a"))]),
            layer(&[("usr/b", Some(b"b"))]),
            layer(&[("usr/c", Some(b"c"))]),
        ],
        names: vec!["second:1"],
        author: "",
    };
    let archive = lith.path("second.tar");
    fs::write(&archive, docker_archive(&image)).unwrap();
    archive
}

const LOADING: [(&str, &str); 6] = [
    (
        r#"OPEN=errno = ENOTTY; return failed(call, "look for subvolumes");"#,
        "look for subvolumes: Inappropriate ioctl",
    ),
    ("OPEN=return LITH_FAILED;", "the driver gives no reason"),
    (
        "OPEN=*state = NULL; return LITH_DONE;",
        "`open` returned a null state",
    ),
    // The first tree stands; the second is begun.
    (
        r#"CREATE=AFTER(1) { mkdirat(dir, name.data, 0700); errno = EIO; return failed(call, "write a mark"); }"#,
        "write a mark: Input/output error",
    ),
    ("CREATE=AFTER(2) return 77;", "`create` returned status 77"),
    (
        "CREATE=AFTER(1) { close(dir); return LITH_DONE; }",
        "`create` closed a descriptor that was lent to it",
    ),
];

#[test]
fn a_load_that_the_plugin_breaks_leaves_the_store_as_it_was() {
    if !is_root("a_load_that_the_plugin_breaks_leaves_the_store_as_it_was") {
        return;
    }
    let (lith, plugin, saved) = store();
    let archive = second(&lith);
    let before = lith.json(["layers", "--json"]);
    for (wrong, expected) in LOADING {
        plugin.compile(&[wrong]);
        let error = lith.fails(["load".as_ref(), "-i".as_ref(), archive.as_os_str()]);
        assert!(error.contains(expected), "{wrong}: {error}");
        assert!(error.contains("plain"), "{wrong}: {error}");

        plugin.compile(&[]);
        assert!(lith.ok(["save", "first:1"]) == saved, "{wrong}");
        assert_eq!(lith.json(["layers", "--json"]), before, "{wrong}");
        assert_eq!(lith.listing("staging"), Vec::<String>::new(), "{wrong}");
        // What was begun is no hindrance.
        lith.ok(["load".as_ref(), "-i".as_ref(), archive.as_os_str()]);
        lith.ok(["rmi", "second:1"]);
        assert_eq!(lith.json(["layers", "--json"]), before, "{wrong}");
    }
}

#[test]
fn a_tree_that_the_plugin_does_not_remove_goes_later() {
    if !is_root("a_tree_that_the_plugin_does_not_remove_goes_later") {
        return;
    }
    let (lith, plugin, saved) = store();
    let archive = second(&lith);
    lith.ok(["load".as_ref(), "-i".as_ref(), archive.as_os_str()]);
    let stuck = r#"REMOVE=errno = EBUSY; return failed(call, "remove a tree");"#;
    plugin.compile(&[stuck]);
    let error = lith.fails(["rmi", "second:1"]);
    let reason = "remove a tree: Device or resource busy";
    assert!(error.contains(reason), "{error}");

    plugin.compile(&[]);
    assert!(lith.ok(["save", "first:1"]) == saved);
    lith.ok(["prune"]);
    assert_eq!(lith.json(["images", "--json"]).as_array().unwrap().len(), 1);
    assert_eq!(lith.json(["layers", "--json"]).as_array().unwrap().len(), 2);
    assert_eq!(lith.listing("drivers/plain/.work"), Vec::<String>::new());
}
