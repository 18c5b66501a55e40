//! What skopeo, umoci, podman and buildah write, read here.

use std::fs;
use std::path::Path;
use std::process::Command;

use lith_archive::{Input, LoadOptions, LoadReport, load};
use lith_store::{DiffId, ImageId};
use serde_json::Value;

use crate::oci::{for_two_platforms, other_platform};
use crate::support::{Root, fixture, skipped};

/// The images of the fixture, by their names.
const NAMES: [&str; 2] = ["example.com/team/tiny:1", "example.com/team/tiny2:latest"];

/// False, and loud, when a tool is not there.
fn has(tools: &[&str], test: &str) -> bool {
    let lacking = |tool: &&&str| Command::new(tool).arg("--version").output().is_err();
    match tools.iter().find(lacking) {
        Some(tool) => {
            skipped(test, &format!("{tool} is not installed"));
            false
        }
        None => true,
    }
}

fn run(tool: &str, args: &[&str]) -> Vec<u8> {
    let output = Command::new(tool).args(args).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{tool} {args:?}: {error}");
    output.stdout
}

fn copy(args: &[&str]) {
    let all = [&["--insecure-policy", "copy", "--quiet"], args].concat();
    run("skopeo", &all);
}

fn read(input: Input) -> (Root, LoadReport) {
    let root = Root::new();
    let report = load(&root.graph, input, &LoadOptions::default(), &()).unwrap();
    (root, report)
}

/// An image as skopeo sees it: its ID and its layers.
fn seen(source: &str) -> (ImageId, Vec<String>) {
    let config = run("skopeo", &["inspect", "--config", "--raw", source]);
    let parsed: Value = serde_json::from_slice(&config).unwrap();
    let layers = parsed["rootfs"]["diff_ids"].as_array().unwrap().iter();
    let layers = layers.map(|layer| layer.as_str().unwrap().to_owned());
    (ImageId::of_bytes(&config), layers.collect())
}

/// One image, that which is expected, with all its layers exact.
fn check((root, report): &(Root, LoadReport), expected: &(ImageId, Vec<String>), names: &[&str]) {
    assert_eq!(report.images.len(), 1);
    let image = &report.images[0];
    assert_eq!(image.id, expected.0);
    let own: Vec<String> = image.names.iter().map(ToString::to_string).collect();
    assert_eq!(own, names);
    assert!(report.warnings.is_empty(), "{:?}", report.warnings);
    let record = root.graph.store().image(&image.id).unwrap().unwrap();
    assert!(record.manifest.is_some());
    let mut layers = Vec::new();
    for layer in &record.layers {
        let mut tar = Vec::new();
        let mut stream = root.graph.tar_layer(layer).unwrap();
        std::io::Read::read_to_end(&mut stream, &mut tar).unwrap();
        layers.push(DiffId::of_bytes(&tar).to_string());
    }
    assert_eq!(layers, expected.1);
}

/// What was read, without what it says of media types that skopeo got wrong: layers that it
/// leaves or makes uncompressed are called compressed.
fn mislabelled((root, mut report): (Root, LoadReport), wrong: bool) -> (Root, LoadReport) {
    if wrong {
        let told = report.warnings.iter();
        assert!(told.clone().all(|text| text.contains("media type")));
        report.warnings.clear();
    }
    (root, report)
}

fn stream(path: &Path) -> Input {
    Input::Stream(Box::new(fs::File::open(path).unwrap()))
}

#[test]
fn skopeo_writes_oci_layouts() {
    if !has(&["skopeo"], "skopeo_writes_oci_layouts") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("archive");
    fs::write(&archive, fixture("docker-multi.tar.gz")).unwrap();
    for (number, compression) in ["gzip", "zstd", ""].into_iter().enumerate() {
        let how: &[&str] = match compression {
            "" => &["--dest-oci-accept-uncompressed-layers"],
            format => &["--dest-compress", "--dest-compress-format", format],
        };
        let place = dir.path().join(format!("layout-{number}"));
        let tar = dir.path().join(format!("tar-{number}"));
        let plain = compression.is_empty();
        let mut ids = Vec::new();
        // A layer that is a link in its source gets the size 0 when it stays as it is: such a
        // layout is wrong, and refused.
        let names = match compression {
            "" => &NAMES[..1],
            _ => &NAMES[..],
        };
        for name in names {
            let source = format!("docker-archive:{}:{name}", archive.display());
            let target = format!("oci:{}:{name}", place.display());
            copy(&[how, &[&source, &target]].concat());
            ids.push(seen(&target).0);
        }
        // Both images of the folder, each with its name.
        let (_, report) = read(Input::File(place.clone()));
        let found: Vec<_> = report
            .images
            .iter()
            .map(|image| (image.id, image.names[0].to_string()))
            .collect();
        let expected: Vec<_> = ids
            .into_iter()
            .zip(names.iter().map(|name| (*name).to_owned()))
            .collect();
        assert_eq!(found, expected);
        for name in names {
            let source = format!("oci:{}:{name}", place.display());
            let expected = seen(&source);
            check(
                &mislabelled(read(Input::Entry(place.clone(), (*name).into())), plain),
                &expected,
                &[name],
            );
            let _ = fs::remove_file(&tar);
            copy(
                &[
                    how,
                    &[&source, &format!("oci-archive:{}:{name}", tar.display())],
                ]
                .concat(),
            );
            check(
                &mislabelled(read(Input::File(tar.clone())), plain),
                &expected,
                &[name],
            );
            check(&mislabelled(read(stream(&tar)), plain), &expected, &[name]);
        }
    }
}

#[test]
fn skopeo_writes_docker_dirs() {
    if !has(&["skopeo"], "skopeo_writes_docker_dirs") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("archive");
    fs::write(&archive, fixture("docker-multi.tar.gz")).unwrap();
    // It takes a layer that is a link for an empty one, so the other image is none for it.
    let source = format!("docker-archive:{}:{}", archive.display(), NAMES[0]);
    for format in ["oci", "v2s2"] {
        for compress in [true, false] {
            let place = dir.path().join(format!("{format}-{compress}"));
            let target = format!("dir:{}", place.display());
            let how = if compress {
                "--dest-compress"
            } else {
                "--dest-decompress"
            };
            copy(&["--format", format, how, &source, &target]);
            let loaded = mislabelled(read(Input::File(place)), !compress);
            check(&loaded, &seen(&target), &[]);
        }
    }
}

#[test]
fn skopeo_copies_all_platforms() {
    if !has(&["skopeo"], "skopeo_copies_all_platforms") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (layout, here, there) = for_two_platforms("example.com/m:1");
    let place = dir.path().join("layout");
    layout.write(&place);
    let source = format!("oci:{}:example.com/m:1", place.display());
    let (all, folder) = (dir.path().join("all"), dir.path().join("dir"));
    let tar = dir.path().join("tar");
    copy(&[
        "--all",
        &source,
        &format!("oci:{}:example.com/m:1", all.display()),
    ]);
    copy(&[
        "--all",
        &source,
        &format!("oci-archive:{}:example.com/m:1", tar.display()),
    ]);
    copy(&["--all", &source, &format!("dir:{}", folder.display())]);
    for (path, names) in [(&all, 1), (&tar, 1), (&folder, 0)] {
        let mut options = LoadOptions::default();
        for (platform, image) in [(None, &here), (Some(other_platform()), &there)] {
            options.platform = platform;
            let root = Root::new();
            let report = load(&root.graph, Input::File(path.clone()), &options, &()).unwrap();
            assert_eq!(report.images.len(), 1, "{}", path.display());
            assert_eq!(report.images[0].id, image.id());
            assert_eq!(report.images[0].names.len(), names);
        }
    }
}

#[test]
fn umoci_writes_layouts_whose_names_are_tags() {
    if !has(
        &["umoci", "skopeo"],
        "umoci_writes_layouts_whose_names_are_tags",
    ) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("layout");
    let layout = place.to_str().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "content").unwrap();
    let image = format!("{layout}:v1");
    run("umoci", &["init", "--layout", layout]);
    run("umoci", &["new", "--image", &image]);
    for name in ["/one", "/two"] {
        let args = ["insert", "--image", &image, file.to_str().unwrap(), name];
        run("umoci", &args);
    }
    let (root, mut report) = read(Input::File(place.clone()));
    assert_eq!(report.warnings.len(), 1);
    assert!(
        report.warnings[0].contains("\"v1\""),
        "{:?}",
        report.warnings
    );
    report.warnings.clear();
    let expected = seen(&format!("oci:{image}"));
    assert_eq!(expected.1.len(), 2);
    check(&(root, report), &expected, &[]);
}

#[test]
fn podman_and_buildah_write_archives_and_lists() {
    let test = "podman_and_buildah_write_archives_and_lists";
    if !has(&["podman", "buildah", "skopeo"], test) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (storage, runs) = (path("storage"), path("run"));
    let own = [
        "--root",
        &storage,
        "--runroot",
        &runs,
        "--storage-driver",
        "vfs",
    ];
    let podman = |args: &[&str]| run("podman", &[&own, args].concat());
    let buildah = |args: &[&str]| run("buildah", &[&own, args].concat());
    fs::write(path("archive"), fixture("docker-multi.tar.gz")).unwrap();
    podman(&["load", "-q", "-i", &path("archive")]);
    for format in ["oci-archive", "oci-dir", "docker-dir"] {
        let out = path(format);
        podman(&["save", "-q", "--format", format, "-o", &out, NAMES[0]]);
        let (source, names) = match format {
            "oci-archive" => (format!("oci-archive:{out}"), &NAMES[..1]),
            "oci-dir" => (format!("oci:{out}"), &NAMES[..1]),
            _ => (format!("dir:{out}"), &[][..]),
        };
        let (root, mut report) = read(Input::File(out.into()));
        // podman 4.3 names an image in a folder by what it was called.
        report.warnings.clear();
        let names = match report.images[0].names.is_empty() {
            true => &[][..],
            false => names,
        };
        check(&(root, report), &seen(&source), names);
    }
    let (layout, here, there) = for_two_platforms("m");
    layout.write(Path::new(&path("layout")));
    let list = format!("oci:{}", path("list"));
    buildah(&["manifest", "create", "example.com/list:1"]);
    let source = format!("oci:{}:m", path("layout"));
    buildah(&["manifest", "add", "--all", "example.com/list:1", &source]);
    buildah(&[
        "manifest",
        "push",
        "--all",
        "example.com/list:1",
        &format!("{list}:example.com/list:1"),
    ]);
    let mut options = LoadOptions::default();
    for (platform, image) in [(None, &here), (Some(other_platform()), &there)] {
        options.platform = platform;
        let root = Root::new();
        let input = Input::File(path("list").into());
        let report = load(&root.graph, input, &options, &()).unwrap();
        assert_eq!(report.images[0].id, image.id());
        assert_eq!(report.images[0].names[0].to_string(), "example.com/list:1");
    }
}
