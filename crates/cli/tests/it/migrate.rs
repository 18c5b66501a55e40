//! A store with another driver.

use std::fs;

use crate::archive::{Image, docker_archive, layer};
use crate::lith::{Lith, is_root};

fn image() -> Image {
    let base = layer(&[
        ("dir/", None),
        ("dir/file", Some(b"1")),
        ("gone", Some(b"2")),
    ]);
    let top = layer(&[("dir/file", Some(b"other")), (".wh.gone", Some(b""))]);
    Image {
        layers: vec![base, top],
        names: vec!["app:1"],
        author: "",
    }
}

/// Every kind of ownership, and how a root with it is made.
const OWNERSHIPS: &[&[&str]] = &[
    &["--ownership", "real"],
    &["--ownership", "mapped", "--uidmap", "0:100000:65536"],
    &["--ownership", "recorded"],
];

#[test]
fn images_come_out_of_a_moved_store_as_they_went_in() {
    if !is_root("images_come_out_of_a_moved_store_as_they_went_in") {
        return;
    }
    for ownership in OWNERSHIPS {
        let mut lith = Lith::new("vfs");
        let mut load = vec!["load"];
        load.extend_from_slice(ownership);
        assert!(lith.pipe(load, &docker_archive(&image())).status.success());
        let save = |lith: &Lith| lith.ok(["save", "app:1"]);
        let (images, inspect) = (["images", "--json"], ["inspect", "app:1"]);
        let (listed, saved) = (lith.json(images), save(&lith));
        let layers = |lith: &Lith| lith.json(inspect)[0]["Layers"].clone();
        let described = layers(&lith);

        let new = lith.path("new").to_string_lossy().into_owned();
        let to_root = [
            "store",
            "migrate",
            "--to-driver",
            "overlay",
            "--to-root",
            &new,
        ];
        let said = String::from_utf8(lith.ok(to_root)).unwrap();
        assert_eq!(
            said,
            format!("Moved from driver vfs to overlay, 2 layers, 6.14 kB: {new}\n")
        );
        assert_eq!(save(&lith), saved);

        let moved = lith.json(["store", "migrate", "--to-driver", "overlay", "--json"]);
        assert_eq!(moved["moved"], true, "{moved}");
        assert_eq!((&moved["layers"], &moved["made"]), (&2.into(), &2.into()));
        // Who insists on the old driver is told.
        let error = lith.fails(images);
        assert!(error.contains("overlay, not vfs"), "{error}");
        lith.use_driver("overlay");
        for place in ["root", "new"] {
            if place == "new" {
                fs::rename(lith.root(), lith.path("done")).unwrap();
                fs::rename(lith.path(place), lith.root()).unwrap();
            }
            assert_eq!(lith.json(images), listed);
            assert_eq!(layers(&lith), described);
            assert_eq!(save(&lith), saved);
            assert_eq!(lith.listing("drivers"), ["overlay"]);
        }
    }
}

#[test]
fn what_an_interrupted_move_left_is_shown_and_removed() {
    if !is_root("what_an_interrupted_move_left_is_shown_and_removed") {
        return;
    }
    let lith = Lith::new("vfs");
    let missing = lith.fails(["store", "migrate", "--to-driver", "overlay"]);
    assert!(missing.contains("there is no store"), "{missing}");
    assert!(
        lith.pipe(["load"], &docker_archive(&image()))
            .status
            .success()
    );
    let half = lith.root().join("drivers/overlay/.work");
    fs::create_dir_all(half).unwrap();
    let info = lith.json(["info", "--json"]);
    assert_eq!(info["other_drivers"], serde_json::json!(["overlay"]));
    let said = lith.run(["store", "migrate", "--to-driver", "vfs"]);
    let (out, error) = (said.stdout, String::from_utf8(said.stderr).unwrap());
    let root = lith.root().display().to_string();
    assert_eq!(
        out,
        format!("Store {root} has driver vfs already\n").into_bytes()
    );
    assert!(
        error.contains("interrupted move to driver overlay"),
        "{error}"
    );
    assert_eq!(lith.listing("drivers"), ["vfs"]);
    let unknown = lith.fails(["store", "migrate", "--to-driver", "aufs"]);
    assert!(unknown.contains("aufs"), "{unknown}");
    assert_eq!(lith.listing("drivers"), ["vfs"]);
}

#[test]
fn a_mount_is_in_the_way_and_named() {
    if !is_root("a_mount_is_in_the_way_and_named") {
        return;
    }
    let lith = Lith::new("vfs");
    assert!(
        lith.pipe(["load"], &docker_archive(&image()))
            .status
            .success()
    );
    let place = lith.path("place").to_string_lossy().into_owned();
    lith.ok(["mount", "--rw", "app:1", &place]);
    let migrate = ["store", "migrate", "--to-driver", "overlay"];
    let error = lith.fails(migrate);
    assert!(error.contains(&place), "{error}");
    lith.ok(["umount", &place]);
    let error = lith.fails(migrate);
    assert!(error.contains("commit or discard"), "{error}");
    assert_eq!(lith.listing("drivers"), ["vfs"]);
}
