//! What is written in each format, read by a reader of its own.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::thread;

use lith_archive::{
    ArchiveImage, DockerLayout, Format, LayerCompression, OciArchiveWriter, OciDirWriter,
    SaveError, SaveOptions, Target, WriteError,
};
use serde_json::Value;

use crate::layout::{self, Found, files_of_dir, files_of_tar};
use crate::support::{Image, Root, fixture, members, order};

const NAMES: [&str; 2] = ["example.com/team/tiny:1", "example.com/team/tiny2"];
const FULL: [&str; 2] = ["example.com/team/tiny:1", "example.com/team/tiny2:latest"];

pub(crate) fn options(format: Format) -> SaveOptions {
    let mut options = SaveOptions::default();
    options.format = format;
    options
}

fn compressed(format: Format, compression: &str) -> SaveOptions {
    let mut options = options(format);
    options.compression = Some(compression.parse().unwrap());
    options
}

fn docker(layout: DockerLayout) -> SaveOptions {
    let mut options = SaveOptions::default();
    options.docker_layout = layout;
    options
}

/// A store with two images that share a layer.
pub(crate) fn two_images() -> Root {
    let root = Root::new();
    root.load_file(&fixture("docker-multi.tar.gz")).unwrap();
    root
}

/// What the two are, by another format.
fn expected(root: &Root) -> Vec<(Vec<u8>, Vec<Vec<u8>>)> {
    let members = members(&root.save(&NAMES));
    let manifest: Value = serde_json::from_slice(&members["manifest.json"].2).unwrap();
    let image = |item: &Value| {
        let layers = item["Layers"].as_array().unwrap().iter();
        let content = |path: &Value| members[path.as_str().unwrap()].2.clone();
        (content(&item["Config"]), layers.map(content).collect())
    };
    manifest.as_array().unwrap().iter().map(image).collect()
}

fn check(root: &Root, found: &[Found], suffix: &str) {
    let expected = expected(root);
    assert_eq!(found.len(), 2);
    for ((found, (config, layers)), name) in found.iter().zip(expected).zip(FULL) {
        assert_eq!(found.name.as_deref(), Some(name));
        assert_eq!(found.config, config);
        assert_eq!(found.layers, layers);
        assert!(
            found.media_types.iter().all(|text| text.ends_with(suffix)),
            "{:?}",
            found.media_types
        );
    }
}

#[test]
fn oci_archives_are_the_same_on_every_output() {
    let root = two_images();
    for (compression, suffix) in [
        (None, ".tar+gzip"),
        (Some("none"), ".tar"),
        (Some("gzip"), ".tar+gzip"),
        (Some("zstd"), ".tar+zstd"),
        (Some("zstd:9"), ".tar+zstd"),
    ] {
        let options = match compression {
            Some(compression) => compressed(Format::OciArchive, compression),
            None => options(Format::OciArchive),
        };
        let stream = root.save_stream(&NAMES, &options);
        check(&root, &layout::images(&files_of_tar(&stream)), suffix);
        assert!(root.save_stream(&NAMES, &options) == stream, "saving twice");
        let path = root.path().join("out");
        let mut file = File::create(&path).unwrap();
        root.save_to(&NAMES, Target::File(&mut file), &options)
            .unwrap();
        assert!(
            fs::read(&path).unwrap() == stream,
            "{compression:?}: a file"
        );
        assert_eq!(order(&stream)[0], "oci-layout");
        assert_eq!(order(&stream).last().unwrap(), "index.json");
    }
}

#[test]
fn a_file_is_written_from_where_it_stands() {
    let root = two_images();
    let options = options(Format::OciArchive);
    let stream = root.save_stream(&NAMES, &options);
    let path = root.path().join("out");
    fs::write(&path, "before").unwrap();
    let mut file = File::options().write(true).open(&path).unwrap();
    file.seek(SeekFrom::End(0)).unwrap();
    root.save_to(&NAMES, Target::File(&mut file), &options)
        .unwrap();
    let written = fs::read(&path).unwrap();
    assert_eq!(&written[..6], b"before");
    assert!(written[6..] == stream);
}

#[test]
fn images_without_names_and_with_several() {
    let root = Root::new();
    let (one, two) = (Image::new(&["a"]), Image::new(&["b"]));
    root.load_file(&one.archive(&["a:1", "a:2"])).unwrap();
    root.load_file(&two.archive(&[])).unwrap();
    let id = two.id().to_string();
    let options = options(Format::OciArchive);
    let archive = root.save_stream(&["a", &id], &options);
    let found = layout::images(&files_of_tar(&archive));
    let names: Vec<Option<&str>> = found.iter().map(|image| image.name.as_deref()).collect();
    assert_eq!(
        names,
        [
            Some("docker.io/library/a:1"),
            Some("docker.io/library/a:2"),
            None
        ]
    );
    assert_eq!(found[0].config, found[1].config);
    assert_eq!(found[2].config, two.config);
    let index: Value = serde_json::from_slice(&files_of_tar(&archive)["index.json"]).unwrap();
    let entry = &index["manifests"][0];
    let full_name = &entry["annotations"]["io.containerd.image.name"];
    assert_eq!(full_name, "docker.io/library/a:1");
    assert_eq!(entry["platform"]["architecture"], "amd64");
}

#[test]
fn an_image_without_layers() {
    let root = Root::new();
    let none = Image::of(vec![]);
    root.load_file(&none.archive(&["none:1"])).unwrap();
    let archive = root.save_stream(&["none:1"], &options(Format::OciArchive));
    assert!(layout::images(&files_of_tar(&archive))[0].layers.is_empty());
    for layout in [DockerLayout::Dirs, DockerLayout::Blobs] {
        let archive = root.save_stream(&["none:1"], &docker(layout));
        let other = Root::new();
        let report = other.load_file(&archive).unwrap();
        assert_eq!(report.images[0].id, none.id());
    }
}

#[test]
fn oci_dirs_are_new_or_added_to() {
    let root = two_images();
    let place = root.path().join("layout");
    let options = options(Format::OciDir);
    let save = |wanted: &[&str]| root.save_to(wanted, Target::Folder(&place), &options);
    let report = save(&NAMES[..1]).unwrap();
    assert!(report.warnings.is_empty());
    let first = files_of_dir(&place);
    let written: usize = first.values().map(Vec::len).sum();
    assert_eq!(report.bytes, written as u64);
    save(&NAMES[1..]).unwrap();
    check(&root, &layout::images(&files_of_dir(&place)), ".tar+gzip");
    // The same again changes nothing but the order; both at once, in a new folder, is the same.
    let both = root.path().join("both");
    root.save_to(&NAMES, Target::Folder(&both), &options)
        .unwrap();
    assert_eq!(files_of_dir(&both), files_of_dir(&place));
    save(&NAMES).unwrap();
    assert_eq!(files_of_dir(&both), files_of_dir(&place));
    assert_eq!(fs::read_dir(&place).unwrap().count(), 3);
    // An empty folder is filled.
    let empty = root.path().join("empty");
    fs::create_dir(&empty).unwrap();
    root.save_to(&NAMES, Target::Folder(&empty), &options)
        .unwrap();
    assert_eq!(files_of_dir(&both), files_of_dir(&empty));
}

#[test]
fn a_name_moves_and_blobs_stay() {
    let root = Root::new();
    let (old, new) = (Image::new(&["old"]), Image::new(&["new"]));
    let place = root.path().join("layout");
    root.load_file(&old.archive(&["app:1", "kept:1"])).unwrap();
    let options = options(Format::OciDir);
    let save = |wanted: &[&str]| {
        root.save_to(wanted, Target::Folder(&place), &options)
            .unwrap()
    };
    save(&["app:1", "kept:1"]);
    let before = files_of_dir(&place);
    root.load_file(&new.archive(&["app:1"])).unwrap();
    let report = save(&["app:1"]);
    assert_eq!(report.warnings.len(), 1);
    assert!(
        report.warnings[0].contains("docker.io/library/app:1"),
        "{:?}",
        report.warnings
    );
    let after = files_of_dir(&place);
    let found = layout::images(&after);
    let configs: Vec<_> = found
        .iter()
        .map(|image| (image.name.clone().unwrap(), image.config.clone()))
        .collect();
    assert_eq!(
        configs,
        [
            ("docker.io/library/kept:1".to_owned(), old.config),
            ("docker.io/library/app:1".to_owned(), new.config),
        ]
    );
    for (name, content) in before {
        if name != "index.json" {
            assert_eq!(after[&name], content, "{name}");
        }
    }
}

#[test]
fn writers_at_the_same_time_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    // New for all of them, then there for all of them.
    for round in 0..2 {
        let images: Vec<Image> = (0..8)
            .map(|index| Image::new(&["shared", &format!("{round}-{index}")]))
            .collect();
        let place = dir.path().join("layout");
        thread::scope(|scope| {
            for (index, one) in images.iter().enumerate() {
                let place = &place;
                scope.spawn(move || {
                    let writer = OciDirWriter::create(place, LayerCompression::Gzip).unwrap();
                    for (number, layer) in one.layers.iter().enumerate() {
                        let size = layer.len() as u64;
                        writer
                            .add_layer(&one.diff_id(number), size, &mut &layer[..])
                            .unwrap();
                    }
                    let name = format!("app:{round}-{index}").parse().unwrap();
                    let image = ArchiveImage {
                        config: one.config.clone(),
                        names: vec![name],
                        ..ArchiveImage::default()
                    };
                    writer.add_image(&image).unwrap();
                    writer.close().unwrap();
                });
            }
        });
        let found = layout::images(&files_of_dir(&place));
        assert_eq!(found.len(), 8 * (round + 1));
        assert_eq!(fs::read_dir(&place).unwrap().count(), 3);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

#[test]
fn several_threads_write_one_archive() {
    let writer = OciArchiveWriter::file(std::io::Cursor::new(Vec::new()), LayerCompression::Gzip);
    let images: Vec<Image> = (0..8)
        .map(|index| Image::new(&["shared", &index.to_string()]))
        .collect();
    thread::scope(|scope| {
        for one in &images {
            scope.spawn(|| {
                for (number, layer) in one.layers.iter().enumerate() {
                    let size = layer.len() as u64;
                    writer
                        .add_layer(&one.diff_id(number), size, &mut &layer[..])
                        .unwrap();
                }
                let image = ArchiveImage {
                    config: one.config.clone(),
                    ..ArchiveImage::default()
                };
                writer.add_image(&image).unwrap();
            });
        }
    });
    let archive = writer.close().unwrap().into_inner();
    assert_eq!(layout::images(&files_of_tar(&archive)).len(), 8);
    assert!(matches!(writer.close().unwrap_err(), WriteError::Closed));
}

/// What a killed writer left goes with the next one; what a living one has stays.
#[test]
fn old_work_is_cleared_away() {
    let root = two_images();
    let place = root.path().join("layout");
    let options = options(Format::OciDir);
    let save = || root.save_to(&NAMES, Target::Folder(&place), &options);
    save().unwrap();
    fs::create_dir_all(place.join(".lith-dead.part/blobs")).unwrap();
    let living = OciDirWriter::create(&place, LayerCompression::None).unwrap();
    assert!(!place.join(".lith-dead.part").exists());
    save().unwrap();
    assert_eq!(fs::read_dir(&place).unwrap().count(), 4);
    drop(living);
    assert_eq!(fs::read_dir(&place).unwrap().count(), 3);
}

#[test]
fn other_folders_and_files_are_refused() {
    let root = two_images();
    let place = root.path().join("there");
    let save = |format: Format| {
        root.save_to(&NAMES[..1], Target::Folder(&place), &options(format))
            .unwrap_err()
    };
    fs::create_dir(&place).unwrap();
    fs::write(place.join("precious"), "x").unwrap();
    let error = save(Format::OciDir);
    assert!(
        matches!(error, SaveError::Write(WriteError::NotALayout { .. })),
        "{error}"
    );
    let error = save(Format::DockerDir);
    assert!(
        matches!(error, SaveError::Write(WriteError::NotEmpty { .. })),
        "{error}"
    );
    for (version, index) in [
        ("{}", "{}"),
        (r#"{"imageLayoutVersion":"2.0.0"}"#, "{}"),
        (r#"{"imageLayoutVersion":"1.0.0"}"#, "{}"),
        (
            r#"{"imageLayoutVersion":"1.0.0"}"#,
            r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#,
        ),
    ] {
        fs::write(place.join("oci-layout"), version).unwrap();
        fs::write(place.join("index.json"), index).unwrap();
        let before = files_of_dir(&place);
        save(Format::OciDir);
        assert_eq!(files_of_dir(&place), before);
        assert!(!place.join("blobs").exists());
    }
    fs::remove_dir_all(&place).unwrap();
    fs::write(&place, "a file").unwrap();
    save(Format::OciDir);
    save(Format::DockerDir);
    assert_eq!(fs::read(&place).unwrap(), b"a file");
    fs::remove_file(&place).unwrap();
    std::os::unix::fs::symlink("nowhere", &place).unwrap();
    save(Format::OciDir);
    save(Format::DockerDir);
    // Blobs do not go where a link leads.
    fs::remove_file(&place).unwrap();
    let elsewhere = root.path().join("elsewhere");
    fs::create_dir_all(&elsewhere).unwrap();
    fs::create_dir(&place).unwrap();
    fs::write(
        place.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .unwrap();
    std::os::unix::fs::symlink(&elsewhere, place.join("blobs")).unwrap();
    save(Format::OciDir);
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
}

#[test]
fn docker_dirs() {
    let root = two_images();
    for (compression, suffix) in [
        ("gzip", ".tar.gzip"),
        ("none", ".diff.tar"),
        ("zstd", ".tar.gzip"),
    ] {
        let place = root.path().join(compression);
        let options = compressed(Format::DockerDir, compression);
        let report = root
            .save_to(&NAMES[1..], Target::Folder(&place), &options)
            .unwrap();
        assert_eq!(report.warnings.len(), usize::from(compression == "zstd"));
        let files = files_of_dir(&place);
        assert_eq!(files["version"], b"Directory Transport Version: 1.1\n");
        let manifest: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        assert_eq!(
            manifest["mediaType"],
            "application/vnd.docker.distribution.manifest.v2+json"
        );
        let blob = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap();
            let content = &files[digest.strip_prefix("sha256:").unwrap()];
            assert_eq!(lith_store::Digest::of(content).to_string(), digest);
            content.clone()
        };
        let found = layout::image_of(&manifest, None, &blob);
        let (config, layers) = expected(&root).remove(1);
        assert_eq!((found.config, found.layers), (config, layers));
        assert!(found.media_types.iter().all(|text| text.ends_with(suffix)));
        // Manifest, version, config and three layers.
        assert_eq!(files.len(), 6);
    }
    let error = root
        .save_to(
            &NAMES,
            Target::Folder(&root.path().join("two")),
            &options(Format::DockerDir),
        )
        .unwrap_err();
    let text = error.to_string();
    for part in [NAMES[0], FULL[1], "docker-archive, oci-archive, oci-dir"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(!root.path().join("two").exists());
}

#[test]
fn one_image_only() {
    let root = Root::new();
    root.load_file(&Image::new(&["a"]).archive(&["app:1", "app:2"]))
        .unwrap();
    let error = lith_archive::select_single(&root.graph, &["app".to_owned()]).unwrap_err();
    assert!(error.to_string().contains("app:1, app:2"), "{error}");
    lith_archive::select_single(&root.graph, &["app:1".to_owned()]).unwrap();
}

#[test]
fn formats_and_targets_must_fit() {
    let root = two_images();
    let place = root.path().join("x");
    let folder = Target::Folder(&place);
    let error = root.save_to(&NAMES, folder, &options(Format::OciArchive));
    assert!(matches!(error, Err(SaveError::Target { .. })));
    let mut out = Vec::new();
    let error = root.save_to(&NAMES, Target::Stream(&mut out), &options(Format::OciDir));
    assert!(matches!(error, Err(SaveError::Target { .. })));
    let mut wrong = options(Format::OciArchive);
    wrong.docker_layout = DockerLayout::Dirs;
    let error = root.save_to(&NAMES, Target::Stream(&mut out), &wrong);
    assert!(matches!(error, Err(SaveError::Layout { .. })));
    assert!(out.is_empty());
    let error = "oci".parse::<Format>().unwrap_err().to_string();
    for format in Format::ALL {
        assert!(error.contains(format.name()), "{error}");
        assert_eq!(format.name().parse(), Ok(format));
    }
}

/// Header and content of each member, in order.
fn raw(archive: &[u8]) -> Vec<(String, Vec<u8>, Vec<u8>)> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().unwrap();
    let read = |entry: std::io::Result<tar::Entry<'_, _>>| {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let header = entry.header().as_bytes().to_vec();
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
        (name, header, content)
    };
    entries.map(read).collect()
}

/// The engine's own archives come out again: all members in the same order, with the same
/// headers and content.
#[test]
fn dirs_are_what_docker_writes() {
    for (name, wanted) in [
        ("docker-multi.tar.gz", &NAMES[..]),
        ("docker-built.tar.gz", &["built"][..]),
        ("docker-id.tar.gz", &[][..]),
    ] {
        let theirs = fixture(name);
        let root = Root::new();
        let report = root.load_file(&theirs).unwrap();
        let id = report.images[0].id.to_string();
        let wanted = if wanted.is_empty() {
            vec![&*id]
        } else {
            wanted.to_vec()
        };
        let ours = root.save_stream(&wanted, &docker(DockerLayout::Dirs));
        let (mut ours, mut theirs) = (raw(&ours), raw(&theirs));
        for (ours, theirs) in ours.iter_mut().zip(&mut theirs) {
            if theirs.1[156] == b'2' || name == "docker-multi.tar.gz" && is_linked(&theirs.0) {
                // A folder whose layer is a link keeps the time of the save.
                ours.1[136..156].fill(0);
                theirs.1[136..156].fill(0);
            }
            if ours.0 == "manifest.json" {
                // The engine lists images in no certain order.
                ours.2.sort_unstable();
                theirs.2.sort_unstable();
            }
            assert_eq!(ours.0, theirs.0, "{name}");
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            assert_eq!(text(&ours.2), text(&theirs.2), "{name}: {}", ours.0);
            assert_eq!(text(&ours.1), text(&theirs.1), "{name}: {}", ours.0);
        }
        assert_eq!(ours.len(), theirs.len(), "{name}");
    }
}

/// In `docker-multi.tar.gz` the folder of the second image's lowest layer.
fn is_linked(path: &str) -> bool {
    path.starts_with("18fc45ce74aa")
}

#[test]
fn docker_layouts_are_read_again() {
    let root = two_images();
    for layout in [
        DockerLayout::Default,
        DockerLayout::Dirs,
        DockerLayout::Blobs,
    ] {
        for compression in [None, Some("none"), Some("gzip"), Some("zstd:1")] {
            let mut options = docker(layout);
            options.compression = compression.map(|text| text.parse().unwrap());
            let archive = root.save_stream(&NAMES, &options);
            assert!(root.save_stream(&NAMES, &options) == archive);
            let path = root.path().join("out");
            let mut file = File::create(&path).unwrap();
            root.save_to(&NAMES, Target::File(&mut file), &options)
                .unwrap();
            assert!(
                fs::read(&path).unwrap() == archive,
                "{layout:?} {compression:?}"
            );
            for stream in [false, true] {
                let other = Root::new();
                match stream {
                    true => other.load_stream(&archive).unwrap(),
                    false => other.load_file(&archive).unwrap(),
                };
                assert!(expected(&other) == expected(&root), "{layout:?}");
            }
        }
    }
}

#[test]
fn blobs_are_a_layout_too() {
    let root = two_images();
    let archive = root.save_stream(&NAMES, &docker(DockerLayout::Blobs));
    let files = files_of_tar(&archive);
    check(&root, &layout::images(&files), ".tar");
    let manifest: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
    assert_eq!(manifest[0]["RepoTags"], serde_json::json!([NAMES[0]]));
    let top = manifest[0]["Layers"].as_array().unwrap().last().unwrap();
    let hex = top.as_str().unwrap().strip_prefix("blobs/sha256/").unwrap();
    let source = &manifest[0]["LayerSources"][format!("sha256:{hex}")];
    assert_eq!(source["digest"], format!("sha256:{hex}"));
    let repositories: Value = serde_json::from_slice(&files["repositories"]).unwrap();
    assert_eq!(repositories["example.com/team/tiny"]["1"], hex);
}

/// The manifest that an image came with is written again where it holds.
#[test]
fn manifests_survive() {
    let root = Root::new();
    let one = Image::new(&["a"]);
    let record = |manifest: &str| lith_store::ImageRecord {
        manifest: Some(manifest.as_bytes().to_vec()),
        ..root.graph.store().image(&one.id()).unwrap().unwrap()
    };
    root.load_file(&one.archive(&["a:1"])).unwrap();
    let template = |layer: &str, media_type: &str, size: usize| {
        format!(
            r#"{{ "schemaVersion": 2,
              "config": {{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{}}},
              "layers": [ {{"mediaType":"{media_type}","digest":"{layer}","size":{size}}} ] }}"#,
            one.id(),
            one.config.len(),
        )
    };
    let plain = template(
        &one.diff_id(0).to_string(),
        "application/vnd.oci.image.layer.v1.tar",
        one.layers[0].len(),
    );
    let foreign = template(
        &lith_store::Digest::of(b"other").to_string(),
        "application/vnd.oci.image.layer.v1.tar+gzip",
        3,
    );
    for (manifest, survives) in [(&plain, true), (&foreign, false)] {
        let store = root.graph.store();
        let record = record(manifest);
        let session = store.begin().unwrap();
        store.retain(&session, &record.layers).unwrap();
        store
            .remove_name(&session, &"a:1".parse().unwrap())
            .unwrap();
        store.remove_image(&session, &one.id()).unwrap();
        let names = ["a:1".parse().unwrap()];
        store.publish_image_as(&session, &record, &names).unwrap();
        session.end().unwrap();
        for format in [Format::OciDir, Format::DockerDir] {
            let place = root.path().join(format!("{format}-{survives}"));
            let report = root
                .save_to(&["a:1"], Target::Folder(&place), &options(format))
                .unwrap();
            let written = files_of_dir(&place);
            let there = written
                .values()
                .any(|content| content == manifest.as_bytes());
            assert_eq!(there, survives, "{format}");
            assert_eq!(report.warnings.is_empty(), survives, "{format}: {report:?}");
        }
    }
}

struct Full;

impl Write for Full {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::Error::from(std::io::ErrorKind::StorageFull))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_stream_that_is_full() {
    let root = two_images();
    for options in [
        options(Format::OciArchive),
        SaveOptions::default(),
        docker(DockerLayout::Dirs),
        docker(DockerLayout::Blobs),
    ] {
        let error = root
            .save_to(&NAMES, Target::Stream(&mut Full), &options)
            .unwrap_err();
        assert!(
            matches!(error, SaveError::Write(WriteError::Output { .. })),
            "{error}"
        );
    }
}
