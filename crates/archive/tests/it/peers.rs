//! What skopeo reads of what is written here.

use std::fs;
use std::path::Path;
use std::process::Command;

use lith_archive::{DockerLayout, Format, SaveOptions, Target};
use lith_store::{Digest, ImageId};

use crate::formats::{options, two_images};
use crate::support::Root;

const NAMES: [&str; 2] = ["example.com/team/tiny:1", "example.com/team/tiny2:latest"];

/// False, and loud, when there is no skopeo.
fn has_skopeo(test: &str) -> bool {
    let there = Command::new("skopeo").arg("--version").output().is_ok();
    if !there {
        eprintln!("SKIPPED {test}: skopeo is not installed");
    }
    there
}

fn skopeo<const N: usize>(args: [&str; N]) -> Vec<u8> {
    let output = Command::new("skopeo").args(args).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {error}");
    output.stdout
}

/// Reads the config, and copies the image, which checks and unpacks every blob.
fn check(source: &str, id: &ImageId, scratch: &Path) {
    let config = skopeo(["inspect", "--config", "--raw", source]);
    assert_eq!(ImageId::of_bytes(&config), *id, "{source}");
    let copy = scratch.join("copy");
    let _ = fs::remove_dir_all(&copy);
    skopeo([
        "--insecure-policy",
        "copy",
        "--dest-decompress",
        source,
        &format!("dir:{}", copy.display()),
    ]);
    let diff_ids: serde_json::Value = serde_json::from_slice(&config).unwrap();
    let diff_ids = diff_ids["rootfs"]["diff_ids"].as_array().unwrap();
    for diff_id in diff_ids {
        let hex = diff_id.as_str().unwrap().strip_prefix("sha256:").unwrap();
        let layer = fs::read(copy.join(hex)).unwrap();
        assert_eq!(Digest::of(&layer).hex(), hex, "{source}");
    }
}

fn ids(root: &Root) -> [ImageId; 2] {
    NAMES.map(|name| {
        let store = root.graph.store();
        store.name(&name.parse().unwrap()).unwrap().unwrap()
    })
}

fn with(format: Format, compression: Option<&str>) -> SaveOptions {
    let mut options = options(format);
    options.compression = compression.map(|text| text.parse().unwrap());
    options
}

const ALL: [Option<&str>; 4] = [None, Some("none"), Some("gzip"), Some("zstd")];

#[test]
fn skopeo_reads_oci_layouts() {
    if !has_skopeo("skopeo_reads_oci_layouts") {
        return;
    }
    let root = two_images();
    for compression in ALL {
        let place = root.path().join("layout");
        let _ = fs::remove_dir_all(&place);
        let options = with(Format::OciDir, compression);
        for name in NAMES {
            root.save_to(&[name], Target::Folder(&place), &options)
                .unwrap();
        }
        let archive = root.path().join("archive");
        let options = with(Format::OciArchive, compression);
        fs::write(&archive, root.save_stream(&NAMES, &options)).unwrap();
        for (name, id) in NAMES.iter().zip(ids(&root)) {
            let source = format!("oci:{}:{name}", place.display());
            check(&source, &id, root.path());
            let source = format!("oci-archive:{}:{name}", archive.display());
            check(&source, &id, root.path());
        }
    }
}

#[test]
fn skopeo_reads_docker_dirs() {
    if !has_skopeo("skopeo_reads_docker_dirs") {
        return;
    }
    let root = two_images();
    for compression in ALL {
        let place = root.path().join("dir");
        let _ = fs::remove_dir_all(&place);
        let options = with(Format::DockerDir, compression);
        root.save_to(&NAMES[1..], Target::Folder(&place), &options)
            .unwrap();
        check(
            &format!("dir:{}", place.display()),
            &ids(&root)[1],
            root.path(),
        );
    }
}

#[test]
fn skopeo_reads_docker_archives() {
    if !has_skopeo("skopeo_reads_docker_archives") {
        return;
    }
    let root = two_images();
    for layout in [
        DockerLayout::Default,
        DockerLayout::Dirs,
        DockerLayout::Blobs,
    ] {
        for compression in ALL {
            let mut options = with(Format::DockerArchive, compression);
            options.docker_layout = layout;
            let archive = root.path().join("archive");
            fs::write(&archive, root.save_stream(&NAMES, &options)).unwrap();
            // It takes a layer that is a link for an empty one, in docker's own archives, too.
            let readable = if layout == DockerLayout::Dirs { 1 } else { 2 };
            for (name, id) in NAMES.iter().zip(ids(&root)).take(readable) {
                let source = format!("docker-archive:{}:{name}", archive.display());
                check(&source, &id, root.path());
            }
        }
    }
}

/// A layout that skopeo made is added to, and skopeo finds both images in it.
#[test]
fn layouts_are_shared_with_skopeo() {
    if !has_skopeo("layouts_are_shared_with_skopeo") {
        return;
    }
    let root = two_images();
    let ids = ids(&root);
    let archive = root.path().join("archive");
    fs::write(&archive, root.save(&NAMES)).unwrap();
    let place = root.path().join("layout");
    let theirs = format!("oci:{}:theirs", place.display());
    let source = format!("docker-archive:{}:{}", archive.display(), NAMES[0]);
    skopeo(["--insecure-policy", "copy", &source, &theirs]);
    let before = skopeo(["inspect", "--raw", &theirs]);
    let options = options(Format::OciDir);
    root.save_to(&NAMES[1..], Target::Folder(&place), &options)
        .unwrap();
    assert_eq!(skopeo(["inspect", "--raw", &theirs]), before);
    let ours = format!("oci:{}:{}", place.display(), NAMES[1]);
    check(&ours, &ids[1], root.path());
    // And the other way round.
    let again = format!("oci:{}:again", place.display());
    skopeo(["--insecure-policy", "copy", &source, &again]);
    check(&ours, &ids[1], root.path());
}
