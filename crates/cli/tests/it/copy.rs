//! `lith copy`: what can be said, and that the store is touched only where it is named.

use std::fs;
use std::os::unix::net::UnixListener;
use std::process::Command;

use crate::archive::{Image, docker_archive, layer};
use crate::lith::{Lith, is_root};

/// A root that is not made, and an archive beside it.
fn desk() -> Lith {
    let lith = Lith::new("vfs");
    let image = Image {
        layers: vec![layer(&[("file", Some(b"content"))])],
        names: vec!["app:1", "app:2"],
        author: "one",
    };
    fs::write(lith.path("in.tar"), docker_archive(&image)).unwrap();
    lith
}

fn place(lith: &Lith, prefix: &str, name: &str) -> String {
    format!("{prefix}{}", lith.path(name).display())
}

#[test]
fn archives_and_folders_without_a_store() {
    let lith = desk();
    let source = place(&lith, "", "in.tar");
    let said = |dest: &str, options: &[&str]| {
        let args = ["copy", &source, dest]
            .into_iter()
            .chain(options.iter().copied());
        String::from_utf8(lith.ok(args)).unwrap()
    };
    let both = "Copied image: app:1\nCopied image: app:2\n";
    assert_eq!(said(&place(&lith, "oci-archive:", "o.tar"), &[]), both);
    assert_eq!(said(&place(&lith, "oci:", "layout"), &[]), both);
    // What is there says what it is.
    let dest = place(&lith, "", "layout");
    let one = said(&dest, &["--tag", "other:1", "app:1"]);
    assert_eq!(one.lines().next(), Some("Copied image: other:1"));
    let index = fs::read_to_string(lith.path("layout/index.json")).unwrap();
    assert!(index.contains("docker.io/library/other:1"), "{index}");
    let dest = place(&lith, "docker-archive:", "d.tar:new:3");
    assert_eq!(
        said(&dest, &["--compress", "gzip"]),
        "Copied image: new:3\n"
    );
    said(&place(&lith, "dir:", "dir"), &[]);
    assert!(lith.path("dir/manifest.json").exists());
    let piped = lith.ok(["copy", &source, "-", "--format", "oci-archive"]);
    assert!(piped == fs::read(lith.path("o.tar")).unwrap());
    let output = lith.pipe(["copy", "-", &place(&lith, "oci-archive:", "p.tar")], &{
        fs::read(lith.path("in.tar")).unwrap()
    });
    assert!(output.status.success());
    assert!(piped == fs::read(lith.path("p.tar")).unwrap());
    let report = lith.json(["copy", "--json", &source, &place(&lith, "oci:", "json:v1")]);
    let report = &report[0];
    assert_eq!(report["names"], serde_json::json!([]));
    assert_eq!(report["layers"], 1);
    assert!(report["digest"].as_str().unwrap().starts_with("sha256:"));
    for field in ["id", "bytes", "seconds"] {
        assert!(!report[field].is_null(), "{report}");
    }
    let index = fs::read_to_string(lith.path("json/index.json")).unwrap();
    assert!(
        index.contains(r#""org.opencontainers.image.ref.name":"v1""#),
        "{index}"
    );
    assert!(!lith.root().exists(), "the store was made");
}

#[test]
fn the_store_where_it_is_named() {
    if !is_root("the_store_where_it_is_named") {
        return;
    }
    let lith = desk();
    let source = place(&lith, "", "in.tar");
    let said = lith.ok(["copy", &source, "store:mine:1"]);
    assert_eq!(said, b"Copied image: mine:1\n");
    let images = lith.json(["images", "--json"]);
    assert_eq!(images[0]["names"], serde_json::json!(["mine:1"]));
    let dest = place(&lith, "docker-archive:", "out.tar");
    lith.ok(["copy", "store:mine:1", &dest]);
    let saved = lith.ok(["save", "mine:1"]);
    assert!(fs::read(lith.path("out.tar")).unwrap() == saved);
    let dest = place(&lith, "docker-archive:", "named.tar:yours:2");
    let report = lith.json(["copy", "--json", "store:mine", &dest]);
    assert_eq!(report[0]["names"], serde_json::json!(["yours:2"]));
    let error = lith.fails(["copy", "store:mine:1", "store:other"]);
    assert!(error.contains("lith tag"), "{error}");
    let error = lith.fails(["copy", "store:none", &dest]);
    assert!(error.contains("no such image"), "{error}");
    assert_eq!(lith.listing("staging"), Vec::<String>::new());
}

#[test]
fn what_cannot_be_is_explained() {
    let lith = desk();
    let source = place(&lith, "", "in.tar");
    let out = place(&lith, "", "out");
    let archive = format!("docker-archive:{out}");
    let layout = format!("oci:{out}");
    for (args, parts) in [
        (vec![&out[..]], &["no format is given", "oci-archive"][..]),
        (vec!["-"], &["no format is given"]),
        (vec!["-", "--format", "oci-dir"], &["is a folder"]),
        (vec!["-", "--format", "oci-archive", "--json"], &["--json"]),
        (
            vec![&out, "--format", "docker-daemon"],
            &["docker-daemon:NAME"],
        ),
        (
            vec![&layout, "--format", "docker-dir"],
            &["oci-dir, not docker-dir"],
        ),
        (vec!["docker-store:/x"], &["only read"]),
        (vec!["containers-storage:x"], &["only read"]),
        (vec!["docker://x"], &["registry"]),
        (vec![&archive, "none:1"], &["no image none:1", "app:1"]),
        (
            vec![&layout, "--docker-layout", "dirs"],
            &["docker-archive"],
        ),
        (
            vec![&source, "--format", "oci-archive"],
            &["source and destination at once"],
        ),
    ] {
        let error = lith.fails(["copy", &source].into_iter().chain(args.iter().copied()));
        for part in parts {
            assert!(error.contains(part), "{args:?}: {error}");
        }
        assert!(!lith.path("out").exists(), "{args:?}");
    }
    let error = lith.fails(["copy", &out, &layout]);
    assert!(error.contains("cannot open"), "{error}");
    // Only the archive is there, as it was.
    let left: Vec<_> = fs::read_dir(lith.path("")).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn truncated_pipes_leave_nothing() {
    let lith = desk();
    let archive = fs::read(lith.path("in.tar")).unwrap();
    for dest in ["oci-archive:", "oci:", "dir:", "docker-archive:"] {
        let dest = place(&lith, dest, "out");
        let output = lith.pipe(["copy", "-", &dest], &archive[..archive.len() / 2]);
        assert_eq!(output.status.code(), Some(1));
        let left: Vec<_> = fs::read_dir(lith.path("")).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }
}

#[test]
fn engines_that_are_not_there() {
    let lith = desk();
    let source = place(&lith, "", "in.tar");
    let names = |host: &str, word: &str| {
        let output = lith
            .command()
            .args(["copy", &source, "docker-daemon:app:1"])
            .env("DOCKER_HOST", host)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(word), "{error}");
    };
    let host = format!("unix://{}", lith.path("none").display());
    names(&host, &host);
    // One that takes the connection and goes away.
    let listener = UnixListener::bind(lith.path("sock")).unwrap();
    std::thread::spawn(move || drop(listener.accept()));
    let host = format!("unix://{}", lith.path("sock").display());
    names(&host, &host);
    names("ssh://x", "ssh");
}

/// What skopeo made keeps its manifest on the way through every format that has manifests, and
/// skopeo finds it there.
#[test]
fn skopeo_finds_the_manifest_that_it_made() {
    let skopeo = |args: &[&str]| Command::new("skopeo").args(args).output();
    if skopeo(&["--version"]).is_err() {
        eprintln!("SKIPPED skopeo_finds_the_manifest_that_it_made: skopeo is not installed");
        return;
    }
    let skopeo = |args: &[&str]| {
        let output = skopeo(args).unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {error}");
        output.stdout
    };
    let lith = desk();
    let source = place(&lith, "docker-archive:", "in.tar:app:1");
    let layout = place(&lith, "oci:", "theirs");
    let tagged = format!("{layout}:v1");
    skopeo(&["--insecure-policy", "copy", "-q", &source, &tagged]);
    let manifest = skopeo(&["inspect", "--raw", &tagged]);
    let mut from = tagged;
    for (prefix, name, tag) in [
        ("oci-archive:", "a.tar", ":v2"),
        ("dir:", "dir", ""),
        ("oci:", "ours", ":example.com/app:3"),
    ] {
        let to = format!("{}{tag}", place(&lith, prefix, name));
        lith.ok(["copy", &from, &to]);
        assert!(
            skopeo(&["inspect", "--raw", &to]) == manifest,
            "{from} to {to}"
        );
        from = to;
    }
    let error = lith.fails(["copy", "--platform", "linux/s390x", &from, "oci:none"]);
    assert!(error.contains("linux/s390x"), "{error}");
}
