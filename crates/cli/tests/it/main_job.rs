//! An archive in, the same bytes out.

use std::fs;

use serde_json::json;

use crate::archive::{Image, docker_archive, layer, members, sha256};
use crate::lith::{Lith, is_root};

fn app() -> Image {
    let base = layer(&[
        ("etc/", None),
        ("etc/passwd", Some(b"root:x:0:0\n")),
        ("etc/gone", Some(b"to be removed\n")),
        ("data/", None),
        ("data/old", Some(b"hidden by an opaque directory\n")),
    ]);
    let changes = layer(&[
        ("etc/.wh.gone", Some(b"")),
        ("etc/new", Some(b"added\n")),
        ("etc/new", Some(b"added twice\n")),
        ("data/.wh..wh..opq", Some(b"")),
        ("data/new", Some(b"in the opaque directory\n")),
    ]);
    Image {
        layers: vec![base, changes],
        names: vec!["app:1", "registry.example:5000/app:1"],
        author: "",
    }
}

/// Loads, saves, compares every layer and the config, saves again.
fn round_trip(driver: &'static str) {
    let lith = Lith::new(driver);
    let image = app();
    let archive = lith.path("in.tar");
    fs::write(&archive, docker_archive(&image)).unwrap();
    let printed = lith.ok(["load", "-i", archive.to_str().unwrap()]);
    let printed = String::from_utf8(printed).unwrap();
    assert_eq!(
        printed,
        "Loaded image: app:1\nLoaded image: registry.example:5000/app:1\n"
    );

    let out = lith.path("out.tar");
    lith.ok([
        "save",
        "-o",
        out.to_str().unwrap(),
        "app:1",
        "registry.example:5000/app:1",
    ]);
    let written = members(&fs::read(&out).unwrap());
    let content = |name: &str| {
        let found = written.iter().find(|(member, _)| member == name);
        found
            .unwrap_or_else(|| panic!("no {name} in the archive"))
            .1
            .clone()
    };
    for layer in &image.layers {
        assert_eq!(&content(&Image::member(layer)), layer);
    }
    let config = image.config();
    assert_eq!(content(&format!("{}.json", sha256(&config))), config);
    let manifest: serde_json::Value = serde_json::from_slice(&content("manifest.json")).unwrap();
    assert_eq!(
        manifest[0]["RepoTags"],
        json!(["docker.io/library/app:1", "registry.example:5000/app:1"])
    );

    let again = lith.ok(["save", "app:1", "registry.example:5000/app:1"]);
    assert!(again == fs::read(&out).unwrap(), "two saves differ");
    assert_eq!(lith.listing("staging"), Vec::<String>::new());
}

#[test]
fn overlay_gives_every_byte_back() {
    if is_root("overlay_gives_every_byte_back") {
        round_trip("overlay");
    }
}

#[test]
fn vfs_gives_every_byte_back() {
    if is_root("vfs_gives_every_byte_back") {
        round_trip("vfs");
    }
}

#[test]
fn standard_input_and_compression_make_no_difference() {
    if !is_root("standard_input_and_compression_make_no_difference") {
        return;
    }
    let image = app();
    let archive = docker_archive(&image);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &archive).unwrap();
    let compressed = gzip.finish().unwrap();
    let mut saved = Vec::new();
    for input in [&archive, &compressed] {
        let lith = Lith::new("vfs");
        let output = lith.pipe(["load", "--json"], input);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            report[0]["id"],
            format!("sha256:{}", sha256(&image.config()))
        );
        assert_eq!(report[0]["layers_new"], 2);
        saved.push(lith.ok(["save", "app:1"]));
    }
    assert!(saved[0] == saved[1]);
}

#[test]
fn a_second_load_reuses_what_is_there() {
    if !is_root("a_second_load_reuses_what_is_there") {
        return;
    }
    let lith = Lith::new("overlay");
    let archive = docker_archive(&app());
    lith.pipe(["load"], &archive);
    let path = lith.path("in.tar");
    fs::write(&path, &archive).unwrap();
    let report = lith.json(["load", "--json", "-i", path.to_str().unwrap()]);
    assert_eq!(report[0]["layers_new"], 0);
    assert_eq!(report[0]["layers_reused"], 2);
}

#[test]
fn a_mount_shows_the_merged_tree() {
    if !is_root("a_mount_shows_the_merged_tree") {
        return;
    }
    for driver in ["overlay", "vfs"] {
        let lith = Lith::new(driver);
        lith.pipe(["load"], &docker_archive(&app()));
        let target = lith.path("mounted");
        lith.ok(["mount", "app:1", target.to_str().unwrap()]);
        let read = |name: &str| fs::read_to_string(target.join(name));
        let tree = (read("etc/passwd"), read("etc/new"), read("data/new"));
        let hidden = (
            target.join("etc/gone").exists(),
            target.join("data/old").exists(),
        );
        let in_use = lith.run(["rmi", "app:1", "registry.example:5000/app:1"]);
        lith.ok(["umount", target.to_str().unwrap()]);
        assert_eq!(tree.0.unwrap(), "root:x:0:0\n", "{driver}");
        assert_eq!(tree.1.unwrap(), "added twice\n", "{driver}");
        assert_eq!(tree.2.unwrap(), "in the opaque directory\n", "{driver}");
        assert_eq!(hidden, (false, false), "{driver}");
        assert!(!target.join("etc").exists(), "{driver} is still mounted");
        drop(in_use);
    }
}

#[test]
fn removal_by_name_then_all() {
    if !is_root("removal_by_name_then_all") {
        return;
    }
    let lith = Lith::new("overlay");
    let image = app();
    lith.pipe(["load"], &docker_archive(&image));
    lith.ok(["rmi", "app:1"]);
    let images = lith.json(["images", "--json"]);
    assert_eq!(images[0]["names"], json!(["registry.example:5000/app:1"]));
    lith.ok(["tag", "registry.example:5000/app:1", "again"]);
    let id = sha256(&image.config());
    let error = lith.fails(["rmi", &id]);
    assert!(error.contains("again"), "{error}");
    lith.ok(["rmi", "--force", &id[..12]]);
    lith.assert_empty();
}

#[test]
fn images_and_inspect_say_what_is_there() {
    if !is_root("images_and_inspect_say_what_is_there") {
        return;
    }
    let lith = Lith::new("vfs");
    let image = app();
    lith.pipe(["load"], &docker_archive(&image));
    let images = lith.json(["images", "--json"]);
    let id = format!("sha256:{}", sha256(&image.config()));
    assert_eq!(images[0]["id"], id);
    assert_eq!(
        images[0]["names"],
        json!(["app:1", "registry.example:5000/app:1"])
    );
    assert_eq!(images[0]["digest"], serde_json::Value::Null);
    assert_eq!(images[0]["created"], "2020-01-02T03:04:05Z");
    assert_eq!(images[0]["layers"], 2);
    let inspected = lith.json(["inspect", "app:1"]);
    assert_eq!(inspected[0]["Id"], id);
    assert_eq!(inspected[0]["Architecture"], "amd64");
    assert_eq!(
        inspected[0]["RootFS"]["Layers"][0],
        format!("sha256:{}", sha256(&image.layers[0]))
    );
}

#[test]
fn history_layers_and_events_tell_of_the_image() {
    if !is_root("history_layers_and_events_tell_of_the_image") {
        return;
    }
    let lith = Lith::new("vfs");
    let image = app();
    lith.pipe(["load"], &docker_archive(&image));
    let diff_ids: Vec<String> = image
        .layers
        .iter()
        .map(|layer| format!("sha256:{}", sha256(layer)))
        .collect();
    let chain = sha256(format!("{} {}", diff_ids[0], diff_ids[1]).as_bytes());

    let ids = String::from_utf8(lith.ok(["layers", "--ids", "app:1"])).unwrap();
    let expected = format!("{0} {0}\nsha256:{chain} {1}\n", diff_ids[0], diff_ids[1]);
    assert_eq!(ids, expected);
    let layers = lith.json(["layers", "--json"]);
    assert_eq!(layers.as_array().unwrap().len(), 2);
    assert_eq!(layers[0]["held_by"], json!([]));
    assert_eq!(layers[0]["images"].as_array().unwrap().len(), 1);

    let history = lith.json(["history", "--json", "app:1"]);
    assert_eq!(history[0]["layer"], format!("sha256:{chain}"));
    assert_eq!(history.as_array().unwrap().len(), 2);

    lith.ok(["tag", "app:1", "other"]);
    let events = lith.json(["events", "--json"]);
    let kinds: Vec<&str> = events
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["load", "tag"]);
    assert_eq!(events[1]["subject"], "docker.io/library/other:latest");
}

#[test]
fn options_may_be_given_twice() {
    let lith = Lith::new("vfs");
    assert!(lith.run(["-q", "--quiet", "--help"]).status.success());
}

#[test]
fn a_root_that_is_not_there_gets_the_best_driver() {
    if !is_root("a_root_that_is_not_there_gets_the_best_driver") {
        return;
    }
    // The same folder, made before and made by the command: the same driver works in both.
    let lith = Lith::new("");
    std::fs::create_dir(lith.path("there")).unwrap();
    let drivers = ["there", "not/there/yet"].map(|root| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_lith"));
        command.env_remove("LITH_ROOT").env("LITH_DRIVER", "");
        let output = command
            .arg("--root")
            .arg(lith.path(root))
            .arg("images")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        fs::read_to_string(lith.path(root).join("driver")).unwrap()
    });
    assert_eq!(drivers[0], drivers[1]);
}

#[test]
fn device_files_and_pipes_are_written_directly() {
    if !is_root("device_files_and_pipes_are_written_directly") {
        return;
    }
    let lith = Lith::new("vfs");
    lith.pipe(["load"], &docker_archive(&app()));
    let saved = lith.ok(["save", "app:1"]);
    assert!(lith.ok(["save", "-o", "/dev/stdout", "app:1"]) == saved);
    assert!(lith.ok(["save", "-o", "/dev/null", "app:1"]).is_empty());
}

#[test]
fn a_mount_knows_its_image_though_others_share_its_layer() {
    if !is_root("a_mount_knows_its_image_though_others_share_its_layer") {
        return;
    }
    let lith = Lith::new("overlay");
    let mut ids = Vec::new();
    for author in ["a", "b", "c"] {
        let image = Image { author, ..app() };
        ids.push(format!("sha256:{}", sha256(&image.config())));
        lith.pipe(["load"], &docker_archive(&image));
    }
    for id in &ids {
        let target = lith.path("mounted");
        lith.ok(["mount", id, target.to_str().unwrap()]);
        let mounts = lith.json(["mounts", "--json"]);
        lith.ok(["umount", target.to_str().unwrap()]);
        assert_eq!(mounts[0]["image"], *id);
    }
}

#[test]
fn a_name_that_is_nearly_right_is_answered_with_the_right_one() {
    if !is_root("a_name_that_is_nearly_right_is_answered_with_the_right_one") {
        return;
    }
    let lith = Lith::new("vfs");
    lith.pipe(["load"], &docker_archive(&app()));
    let error = lith.fails(["save", "ap:1"]);
    assert!(error.contains("ap:1") && error.contains("app:1"), "{error}");
}

#[test]
fn a_root_behind_a_link_is_a_root() {
    if !is_root("a_root_behind_a_link_is_a_root") {
        return;
    }
    let lith = Lith::new("vfs");
    fs::create_dir(lith.path("real")).unwrap();
    std::os::unix::fs::symlink("real", lith.path("link")).unwrap();
    for root in ["link", "link/below"] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_lith"));
        command
            .arg("--root")
            .arg(lith.path(root))
            .args(["--driver", "vfs", "images"]);
        let output = command.output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{root}: {error}");
        fs::remove_dir_all(lith.path("real")).unwrap();
        fs::create_dir(lith.path("real")).unwrap();
    }
}

#[test]
fn a_driver_that_cannot_work_makes_no_root() {
    let lith = Lith::new("no-such-driver");
    let error = lith.fails(["images"]);
    assert!(error.contains("no-such-driver"), "{error}");
    assert!(!lith.root().exists());
}

#[test]
fn what_lies_on_top_of_a_mount_is_left_alone() {
    if !is_root("what_lies_on_top_of_a_mount_is_left_alone") {
        return;
    }
    let lith = Lith::new("overlay");
    lith.pipe(["load"], &docker_archive(&app()));
    let target = lith.path("mounted");
    let mounted = target.to_str().unwrap();
    lith.ok(["mount", "app:1", mounted]);
    let on_top = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "on-top", mounted])
        .status()
        .unwrap();
    let refused = lith.run(["umount", mounted]);
    let off = std::process::Command::new("umount")
        .arg(mounted)
        .status()
        .unwrap();
    // Forced, the image goes while it is mounted; its layers go with the mount.
    let names = ["app:1", "registry.example:5000/app:1"];
    let error = lith.fails(["rmi", names[0], names[1]]);
    lith.ok(["rmi", "--force", names[0], names[1]]);
    lith.ok(["umount", mounted]);
    assert!(on_top.success() && off.success());
    assert!(error.contains(mounted), "{error}");
    assert_eq!(refused.status.code(), Some(1));
    lith.assert_empty();
}
