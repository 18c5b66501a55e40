//! Every format in: named as a SOURCE, listed, loaded, for one platform.

use std::fs;

use serde_json::Value;

use crate::archive::{Image, docker_archive, layer};
use crate::lith::{Lith, is_root};

fn made(lith: &Lith) -> String {
    let image = Image {
        layers: vec![layer(&[("file", Some(b"content\n"))])],
        names: vec!["app:1"],
        author: "",
    };
    let archive = lith.path("in.tar");
    fs::write(&archive, docker_archive(&image)).unwrap();
    let printed = lith.ok(["load", "--json", "-i", archive.to_str().unwrap()]);
    let printed: Value = serde_json::from_slice(&printed).unwrap();
    printed[0]["id"].as_str().unwrap().to_owned()
}

fn json(printed: &[u8]) -> Value {
    serde_json::from_slice(printed).unwrap()
}

#[test]
fn what_is_saved_in_a_format_is_listed_and_loaded_from_it() {
    if !is_root("what_is_saved_in_a_format_is_listed_and_loaded_from_it") {
        return;
    }
    let lith = Lith::new("vfs");
    let id = made(&lith);
    for (format, prefix, name) in [
        ("docker-archive", "docker-archive:", "app:1"),
        ("oci-archive", "oci-archive:", "app:1"),
        ("oci-dir", "oci:", "app:1"),
        ("docker-dir", "dir:", ""),
    ] {
        let out = lith.path(format);
        let out = out.to_str().unwrap();
        lith.ok(["save", "--format", format, "-o", out, "app:1"]);
        let mut sources = vec![out.to_owned(), format!("{prefix}{out}")];
        if !name.is_empty() {
            sources.push(format!("{prefix}{out}:docker.io/library/{name}"));
            sources.push(format!("{prefix}{out}:{name}"));
        }
        for source in sources {
            let other = Lith::new("vfs");
            let listed = json(&other.ok(["load", "--list", "--json", "-i", &source]));
            assert_eq!(listed[0]["id"], *id, "{source}");
            assert_eq!(listed[0]["layers"].as_array().unwrap().len(), 1);
            assert!(
                listed[0]["layers"][0]["size"].is_u64(),
                "{source}: {listed}"
            );
            assert_eq!(listed[0]["digest"].is_string(), format != "docker-archive");
            let names = if name.is_empty() { vec![] } else { vec![name] };
            assert_eq!(listed[0]["names"], serde_json::json!(names), "{source}");
            // A table, and still nothing in the store.
            other.ok(["load", "--list", "-i", &source]);
            assert_eq!(json(&other.ok(["images", "--json"])), serde_json::json!([]));
            let loaded = json(&other.ok(["load", "--json", "-i", &source, "--tag", "new:1"]));
            assert_eq!(loaded[0]["id"], *id, "{source}");
            let images = json(&other.ok(["images", "--json"]));
            assert_eq!(images[0]["digest"], listed[0]["digest"]);
            let inspected = json(&other.ok(["inspect", "new:1"]));
            let digests = inspected[0]["RepoDigests"].as_array().unwrap();
            match listed[0]["digest"].as_str() {
                Some(digest) => assert!(digests.contains(&format!("new@{digest}").into())),
                None => assert!(digests.is_empty()),
            }
        }
    }
}

#[test]
fn an_image_that_is_not_there() {
    if !is_root("an_image_that_is_not_there") {
        return;
    }
    let lith = Lith::new("vfs");
    made(&lith);
    let out = lith.path("layout");
    let out = out.to_str().unwrap();
    lith.ok(["save", "--format", "oci-dir", "-o", out, "app:1"]);
    let source = format!("oci:{out}:other");
    let error = lith.fails(["load", "-i", &source]);
    assert!(error.contains("docker.io/library/app:1"), "{error}");
    for platform in ["linux/s390x", "linux/arm/v7"] {
        let error = lith.fails(["load", "--platform", platform, "-i", out]);
        assert!(error.contains(platform), "{error}");
        assert!(error.contains("app:1"), "{error}");
    }
    let wrong = lith.run(["load", "--platform", "linux", "-i", out]);
    assert_eq!(wrong.status.code(), Some(2));
}
