//! `lith save` in other formats: what can be said, where it goes, what is left behind.

use std::fs;

use crate::archive::{Image, docker_archive, layer};
use crate::lith::{Lith, is_root};

fn loaded(test: &str) -> Option<Lith> {
    if !is_root(test) {
        return None;
    }
    let lith = Lith::new("vfs");
    for (author, names) in [("one", vec!["app:1", "app:2"]), ("two", vec!["other:1"])] {
        let image = Image {
            layers: vec![layer(&[("file", Some(author.as_bytes()))])],
            names,
            author,
        };
        let path = lith.path("in.tar");
        fs::write(&path, docker_archive(&image)).unwrap();
        lith.ok(["load".as_ref(), "-i".as_ref(), path.as_os_str()]);
    }
    Some(lith)
}

#[test]
fn files_and_pipes_are_the_same() {
    let Some(lith) = loaded("files_and_pipes_are_the_same") else {
        return;
    };
    for options in [
        &["--format", "oci-archive"][..],
        &["--format", "oci-archive", "--compress", "zstd:5"],
        &["--docker-layout", "dirs", "--compress", "gzip"],
        &["--docker-layout", "blobs"],
    ] {
        let file = lith.path("out.tar");
        let mut args = vec!["save"];
        args.extend(options);
        args.extend(["app", "other:1"]);
        let pipe = lith.ok(&args);
        args.extend(["-o", file.to_str().unwrap()]);
        lith.ok(&args);
        assert!(fs::read(&file).unwrap() == pipe, "{options:?}");
        assert_eq!(lith.listing("staging"), Vec::<String>::new());
    }
}

#[test]
fn folders() {
    let Some(lith) = loaded("folders") else {
        return;
    };
    let place = lith.path("layout");
    let place = place.to_str().unwrap();
    for name in ["app:1", "other:1"] {
        lith.ok(["save", "--format", "oci-dir", "-o", place, name]);
    }
    let index = fs::read_to_string(lith.path("layout/index.json")).unwrap();
    for name in ["docker.io/library/app:1", "docker.io/library/other:1"] {
        assert!(index.contains(name), "{index}");
    }
    let dir = lith.path("dir");
    let dir = dir.to_str().unwrap();
    lith.ok(["save", "--format", "docker-dir", "-o", dir, "app:1"]);
    let version = fs::read_to_string(lith.path("dir/version")).unwrap();
    assert_eq!(version, "Directory Transport Version: 1.1\n");
    let error = lith.fails(["save", "--format", "docker-dir", "-o", dir, "app:1"]);
    assert!(error.contains("not empty"), "{error}");
}

#[test]
fn what_cannot_be_is_explained() {
    let Some(lith) = loaded("what_cannot_be_is_explained") else {
        return;
    };
    let place = lith.path("out");
    let place = place.to_str().unwrap();
    for (args, parts) in [
        (
            &["--format", "oci-dir", "app:1"][..],
            &["oci-dir is a folder", "-o DIR", "oci-archive"][..],
        ),
        (
            &["--format", "docker-dir", "-o", place, "app"],
            &["several tags", "app:1, app:2"],
        ),
        (
            &["--format", "docker-dir", "-o", place, "app:1", "other:1"],
            &[
                "holds one image",
                "app:1, other:1",
                "docker-daemon hold several",
            ],
        ),
        (
            &[
                "--format",
                "oci-archive",
                "--docker-layout",
                "dirs",
                "-o",
                place,
                "app:1",
            ],
            &["docker-archive"],
        ),
    ] {
        let error = lith.fails(["save"].iter().chain(args));
        for part in parts {
            assert!(error.contains(part), "{args:?}: {error}");
        }
        assert!(!lith.path("out").exists(), "{args:?}");
    }
    for (args, part) in [
        (
            ["--format", "oci"],
            "docker-archive, oci-archive, oci-dir, docker-dir",
        ),
        (["--compress", "zstd:99"], "from 1 to 19"),
        (["--docker-layout", "flat"], "default, dirs or blobs"),
    ] {
        let output = lith.run(["save"].iter().chain(&args).chain(&["app:1"]));
        assert_eq!(output.status.code(), Some(2));
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.contains(part), "{error}");
    }
}
