//! What cannot be done fails with a name and a reason, and leaves nothing behind.

use std::fs;
use std::io::Write;

use crate::archive::{Image, append, docker_archive, layer, sha256};
use crate::lith::{Lith, is_root};

fn image() -> Image {
    Image {
        layers: vec![layer(&[("file", Some(&[b'x'; 5000]))])],
        names: vec!["app:1"],
        author: "",
    }
}

#[test]
fn usage_errors_have_status_two() {
    let lith = Lith::new("vfs");
    assert_eq!(lith.run(["no-such-command"]).status.code(), Some(2));
    assert_eq!(lith.run(["save"]).status.code(), Some(2));
}

#[test]
fn sources_that_cannot_be_read_are_named() {
    let lith = Lith::new("vfs");
    let load = |source: &str, variables: &[(&str, &str)]| {
        let mut command = lith.command();
        command.args(["load", "-i", source]);
        for name in ["DOCKER_HOST", "DOCKER_TLS_VERIFY"] {
            command.env_remove(name);
        }
        let output = command.envs(variables.iter().copied()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{source}");
        String::from_utf8(output.stderr).unwrap()
    };
    for (source, said) in [
        ("oci:x", "cannot open x"),
        ("store:x", "not read yet"),
        ("docker-archive:", "the path is missing"),
        ("docker-archive:none.tar:app:1", "cannot open none.tar"),
        ("containers-storage:[vfs@/none]x", "cannot open /none"),
        ("docker-store:/none", "cannot open /none"),
        ("docker://alpine", "registry"),
    ] {
        let error = load(source, &[]);
        assert!(error.contains(said), "{source}: {error}");
    }
    for (variables, said) in [
        (
            &[("DOCKER_HOST", "unix:///none")][..],
            "no engine answers at unix:///none",
        ),
        (&[("DOCKER_HOST", "ssh://x")], "ssh://x"),
        (
            &[("DOCKER_HOST", "tcp://x"), ("DOCKER_TLS_VERIFY", "1")],
            "TLS",
        ),
    ] {
        let error = load("docker-daemon:app", variables);
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn truncated_archives_leave_nothing() {
    if !is_root("truncated_archives_leave_nothing") {
        return;
    }
    let lith = Lith::new("vfs");
    let archive = docker_archive(&image());
    for cut in [100, 512, 700, 4000, 6000, archive.len() - 1500] {
        let path = lith.path("cut.tar");
        fs::write(&path, &archive[..cut]).unwrap();
        lith.fails(["load", "-i", path.to_str().unwrap()]);
        let output = lith.pipe(["load"], &archive[..cut]);
        assert_eq!(output.status.code(), Some(1), "cut at {cut}");
        lith.assert_empty();
    }
}

#[test]
fn a_wrong_layer_is_named() {
    if !is_root("a_wrong_layer_is_named") {
        return;
    }
    let lith = Lith::new("vfs");
    let right = image();
    let wrong = layer(&[("file", Some(b"other"))]);
    let mut builder = tar::Builder::new(Vec::new());
    append(&mut builder, &Image::member(&right.layers[0]), &wrong);
    append(&mut builder, "config.json", &right.config());
    let manifest = serde_json::json!([
        {"Config": "config.json", "RepoTags": null, "Layers": [Image::member(&right.layers[0])]}
    ]);
    append(
        &mut builder,
        "manifest.json",
        manifest.to_string().as_bytes(),
    );
    let archive = builder.into_inner().unwrap();
    let path = lith.path("wrong.tar");
    fs::write(&path, &archive).unwrap();
    let error = lith.fails(["load", "-i", path.to_str().unwrap()]);
    assert!(error.contains(&sha256(&right.layers[0])), "{error}");
    assert!(error.contains(&sha256(&wrong)), "{error}");
    lith.assert_empty();
    assert_eq!(lith.pipe(["load"], &archive).status.code(), Some(1));
    lith.assert_empty();
}

#[test]
fn unknown_images_are_named_and_nothing_is_written() {
    if !is_root("unknown_images_are_named_and_nothing_is_written") {
        return;
    }
    let lith = Lith::new("vfs");
    lith.pipe(["load"], &docker_archive(&image()));
    let out = lith.path("out.tar");
    let error = lith.fails(["save", "-o", out.to_str().unwrap(), "app:1", "nope:2"]);
    assert!(error.contains("nope:2"), "{error}");
    assert!(!out.exists());
}

#[test]
fn a_damaged_layer_is_never_saved() {
    if !is_root("a_damaged_layer_is_never_saved") {
        return;
    }
    for driver in ["overlay", "vfs"] {
        let lith = Lith::new(driver);
        lith.pipe(["load"], &docker_archive(&image()));
        let mut damaged = 0;
        let home = lith.root().join("drivers").join(driver);
        for path in walk(&home) {
            if path.file_name().is_some_and(|name| name == "file") {
                fs::write(&path, [b'y'; 5000]).unwrap();
                damaged += 1;
            }
        }
        assert_eq!(damaged, 1, "{driver}");
        let out = lith.path("out.tar");
        let error = lith.fails(["save", "-o", out.to_str().unwrap(), "app:1"]);
        assert!(
            error.contains("damaged") && error.contains("file"),
            "{error}"
        );
        assert!(!out.exists());
    }
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(walk(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

#[test]
fn a_root_of_another_driver_is_refused() {
    if !is_root("a_root_of_another_driver_is_refused") {
        return;
    }
    let lith = Lith::new("vfs");
    lith.ok(["images"]);
    let error = lith.fails(["--driver", "overlay", "images"]);
    assert!(
        error.contains("vfs") && error.contains("overlay"),
        "{error}"
    );
}

/// A file system of its own on a folder, taken away when dropped.
struct Small(std::path::PathBuf);

impl Small {
    fn on(folder: &std::path::Path) -> Small {
        fs::create_dir(folder).unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=48m", "tmpfs"])
            .arg(folder)
            .status();
        assert!(mounted.unwrap().success());
        Small(folder.to_owned())
    }

    /// Writes until nothing more fits.
    fn fill(&self) {
        let mut file = fs::File::create(self.0.join("fill")).unwrap();
        for size in [1 << 20, 4096, 1] {
            while file.write_all(&vec![b'x'; size]).is_ok() {}
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).status();
    }
}

/// What is on a full disk can still be seen, taken away and removed.
#[test]
fn a_full_disk_can_be_emptied() {
    if !is_root("a_full_disk_can_be_emptied") {
        return;
    }
    let lith = Lith::new("vfs");
    let small = Small::on(&lith.root());
    let mut other = image();
    other.names = vec!["other:1"];
    other.author = "somebody else";
    other.layers.push(layer(&[("more", Some(&[b'y'; 70_000]))]));
    lith.pipe(["load"], &docker_archive(&image()));
    lith.pipe(["load"], &docker_archive(&other));
    small.fill();
    let mut third = image();
    third
        .layers
        .push(layer(&[("third", Some(&[b'z'; 90_000]))]));
    let refused = lith.pipe(["load"], &docker_archive(&third));
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(
        error.contains("full") || error.contains("No space left"),
        "{error}"
    );

    assert_eq!(lith.json(["images", "--json"]).as_array().unwrap().len(), 2);
    let saved = lith.ok(["save", "other:1"]);
    lith.ok(["untag", "app:1"]);
    lith.ok(["rmi", "other:1"]);
    lith.ok(["prune"]);
    lith.assert_empty();
    // The room is kept aside again as soon as there is some.
    fs::remove_file(small.0.join("fill")).unwrap();
    lith.pipe(["load"], &saved);
    assert!(small.0.join("reserve").metadata().unwrap().len() > 0);
    assert_eq!(lith.json(["images", "--json"]).as_array().unwrap().len(), 1);
}
