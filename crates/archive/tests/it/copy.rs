//! Copying from each format to each: what comes out is what a store would have written, and what
//! goes wrong leaves nothing.

use std::fs::{self, File};
use std::io::{Cursor, Read};
use std::path::Path;

use lith_archive::{
    CopyError, CopyOptions, CopyReport, DockerLayout, Format, Input, LoadError, SaveOptions,
    Target, WriteError, copy,
};
use lith_graph::Observer;

use crate::engines::causes;
use crate::layout::{self, files_of_dir, files_of_tar};
use crate::support::{Image, Root, fixture, gzip, manifest, tar, zstd};

/// Where copies are made.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Desk {
        Desk(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// A source in a file.
    fn file(&self, archive: &[u8]) -> Input {
        let path = self.path().join("source");
        fs::write(&path, archive).unwrap();
        Input::File(path)
    }

    fn stream(&self, source: Input, options: &CopyOptions) -> Result<Vec<u8>, CopyError> {
        let mut out = Vec::new();
        let waiting = self.path().join("waiting");
        fs::create_dir_all(&waiting).unwrap();
        let report = copy(source, Target::Stream(&mut out), &waiting, options, &())?;
        assert_eq!(report.bytes, out.len() as u64);
        assert_eq!(fs::read_dir(&waiting).unwrap().count(), 0);
        Ok(out)
    }

    fn seekable(&self, source: Input, options: &CopyOptions) -> Result<Vec<u8>, CopyError> {
        let path = self.path().join("out");
        let mut out = File::create(&path).unwrap();
        // Nothing may have to wait: there is nowhere.
        let nowhere = self.path().join("nowhere");
        copy(source, Target::File(&mut out), &nowhere, options, &())?;
        Ok(fs::read(&path).unwrap())
    }

    fn folder(&self, source: Input, options: &CopyOptions) -> Result<CopyReport, CopyError> {
        let place = self.path().join("folder");
        copy(source, Target::Folder(&place), self.path(), options, &())
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path()).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

/// A stream that passes once, in small pieces.
fn pipe(archive: &[u8]) -> Input {
    struct Pieces(Cursor<Vec<u8>>);
    impl Read for Pieces {
        fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
            let want = buf.len().min(12_345);
            self.0.read(&mut buf[..want])
        }
    }
    Input::Stream(Box::new(Pieces(Cursor::new(archive.to_vec()))))
}

fn to(format: Format) -> CopyOptions {
    let mut options = CopyOptions::default();
    options.format = format;
    options
}

/// As the same options of a save.
fn as_saved(options: &CopyOptions) -> SaveOptions {
    let mut save = SaveOptions::default();
    save.format = options.format;
    save.compression = options.compression;
    save.docker_layout = options.docker_layout;
    save
}

/// All that can be asked for in one file.
fn archives() -> Vec<CopyOptions> {
    let mut all = Vec::new();
    for format in [Format::DockerArchive, Format::OciArchive] {
        for docker_layout in [
            DockerLayout::Default,
            DockerLayout::Dirs,
            DockerLayout::Blobs,
        ] {
            for compression in [None, Some("none"), Some("gzip"), Some("zstd:1")] {
                let mut options = to(format);
                options.compression = compression.map(|text| text.parse().unwrap());
                options.docker_layout = docker_layout;
                if format == Format::DockerArchive || docker_layout == DockerLayout::Default {
                    all.push(options);
                }
            }
        }
    }
    all
}

/// Bytes that compress a little, so that nothing is small by chance.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let byte = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 27) as u8
    };
    (0..length).map(byte).collect()
}

/// Two images that share a large layer, one that is small, and one that has none.
fn sources() -> Vec<u8> {
    let large = tar(&[("large", &noise(3 << 20))]);
    let small = tar(&[("small", b"x")]);
    let one = Image::of(vec![large.clone(), small.clone()]);
    let two = Image::of(vec![small.clone(), large.clone(), tar(&[("two", b"2")])]);
    let none = Image::of(Vec::new());
    let list = serde_json::json!([
        { "Config": "1.json", "RepoTags": ["one:1", "one:2"], "Layers": ["l", "s"] },
        { "Config": "2.json", "RepoTags": ["two:1"], "Layers": ["s", "l", "t"] },
        { "Config": "3.json", "RepoTags": ["none:1"], "Layers": [] },
    ]);
    tar(&[
        ("s", &gzip(&small)),
        ("l", &zstd(&large)),
        ("t", &two.layers[2]),
        ("1.json", &one.config),
        ("2.json", &two.config),
        ("3.json", &none.config),
        ("manifest.json", list.to_string().as_bytes()),
    ])
}

const NAMES: [&str; 3] = ["one", "two:1", "none:1"];

/// A store in between makes no difference, and neither does how source and output can be read
/// and written.
#[test]
fn a_copy_is_what_a_store_would_have_written() {
    let source = sources();
    let root = Root::new();
    root.load_file(&source).unwrap();
    let desk = Desk::new();
    for options in archives() {
        let saved = root.save_stream(&NAMES, &as_saved(&options));
        let context = format!("{options:?}");
        let copied = desk.stream(desk.file(&source), &options).unwrap();
        assert!(copied == saved, "file to stream, {context}");
        let copied = desk.seekable(desk.file(&source), &options).unwrap();
        assert!(copied == saved, "file to file, {context}");
        let copied = desk.stream(pipe(&gzip(&source)), &options).unwrap();
        assert!(copied == saved, "stream to stream, {context}");
    }
}

#[test]
fn folders_are_what_a_store_would_have_written() {
    let source = sources();
    let root = Root::new();
    root.load_file(&source).unwrap();
    for format in [Format::OciDir, Format::DockerDir] {
        for compression in [None, Some("none"), Some("gzip"), Some("zstd")] {
            let mut options = to(format);
            options.compression = compression.map(|text| text.parse().unwrap());
            let names = match format {
                Format::DockerDir => &NAMES[1..2],
                _ => &NAMES[..],
            };
            options.images = names.iter().map(|name| (*name).to_owned()).collect();
            let place = root.path().join("saved");
            let _ = fs::remove_dir_all(&place);
            root.save_to(names, Target::Folder(&place), &as_saved(&options))
                .unwrap();
            let saved = files_of_dir(&place);
            for source in [Input::File(root.path().join("archive")), pipe(&source)] {
                let desk = Desk::new();
                let report = desk.folder(source, &options).unwrap();
                let copied = files_of_dir(&desk.path().join("folder"));
                assert!(copied == saved, "{format} {compression:?}");
                let bytes: usize = copied.values().map(Vec::len).sum();
                assert_eq!(report.bytes, bytes as u64);
                assert_eq!(desk.names(), ["folder"]);
            }
        }
    }
}

#[test]
fn archives_of_others_arrive() {
    for name in [
        "docker-built.tar.gz",
        "docker-id.tar.gz",
        "docker-multi.tar.gz",
        "podman-multi.tar.gz",
        "skopeo.tar.gz",
    ] {
        let source = fixture(name);
        let root = Root::new();
        let loaded = root.load_file(&source).unwrap();
        let desk = Desk::new();
        let mut options = to(Format::DockerArchive);
        for layout in [
            DockerLayout::Default,
            DockerLayout::Dirs,
            DockerLayout::Blobs,
        ] {
            options.docker_layout = layout;
            let copied = desk.stream(pipe(&source), &options).unwrap();
            let report = Root::new().load_file(&copied).unwrap();
            let facts = |report: &lith_archive::LoadReport| {
                let images = report.images.iter();
                let facts = images.map(|image| (image.id, image.names.clone()));
                facts.collect::<Vec<_>>()
            };
            assert_eq!(facts(&report), facts(&loaded), "{name} {layout:?}");
        }
    }
}

#[test]
fn the_report_tells_of_each_image_once() {
    let source = sources();
    let desk = Desk::new();
    let report = desk
        .folder(desk.file(&source), &to(Format::OciDir))
        .unwrap();
    let files = files_of_dir(&desk.path().join("folder"));
    let found: Vec<(usize, usize)> = report
        .images
        .iter()
        .map(|image| (image.layers, image.names.len()))
        .collect();
    assert_eq!(found, [(2, 2), (3, 1), (0, 1)]);
    let mut layers = 0;
    for image in &report.images {
        let manifest = &files[&format!("blobs/sha256/{}", image.digest.unwrap().hex())];
        assert!(manifest.len() > 100);
        layers += image.bytes;
    }
    let blobs = files
        .iter()
        .filter(|(name, content)| name.starts_with("blobs") && content.starts_with(&[0x1f, 0x8b]));
    let blobs: usize = blobs.map(|(_, content)| content.len()).sum();
    assert_eq!(layers, blobs as u64);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json[0]["names"], serde_json::json!(["one:1", "one:2"]));
    assert_eq!(json.as_array().unwrap().len(), 3);
}

#[test]
fn names_can_be_given() {
    let desk = Desk::new();
    let source = Image::new(&["a"]).archive(&["a:1", "a:2"]);
    let names = |options: &CopyOptions| -> Vec<Option<String>> {
        let copied = desk.stream(desk.file(&source), options).unwrap();
        let found = layout::images(&files_of_tar(&copied));
        found.into_iter().map(|image| image.name).collect()
    };
    let full = |name: &str| Some(format!("docker.io/library/{name}"));
    let mut options = to(Format::OciArchive);
    assert_eq!(names(&options), [full("a:1"), full("a:2")]);
    options.tags = vec!["b:1".parse().unwrap()];
    assert_eq!(names(&options), [full("b:1"), full("a:1"), full("a:2")]);
    options.name = Some("c".parse().unwrap());
    assert_eq!(names(&options), [full("b:1"), full("c:latest")]);
    options.tags.clear();
    assert_eq!(names(&options), [full("c:latest")]);
    options.name = None;
    options.index_name = Some("latest".to_owned());
    assert_eq!(names(&options), [Some("latest".to_owned())]);

    let several = sources();
    for options in [CopyOptions::clone(&options), {
        let mut options = to(Format::DockerArchive);
        options.name = Some("c".parse().unwrap());
        options
    }] {
        let error = desk.stream(desk.file(&several), &options).unwrap_err();
        assert!(error.to_string().contains("one image only"), "{error}");
    }
    let mut options = to(Format::OciArchive);
    options.images = vec!["two".to_owned()];
    options.name = Some("c".parse().unwrap());
    let copied = desk.stream(desk.file(&several), &options).unwrap();
    let found = layout::images(&files_of_tar(&copied));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].layers.len(), 3);
}

#[test]
fn a_format_for_one_image_names_those_for_several() {
    let desk = Desk::new();
    let error = desk
        .folder(desk.file(&sources()), &to(Format::DockerDir))
        .unwrap_err()
        .to_string();
    for part in [
        "one:1, two:1, none:1",
        "docker-archive, oci-archive, oci-dir",
    ] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(desk.names(), ["source"]);
}

/// A layer that is not what the config says: small or large, as it is or compressed.
#[test]
fn layers_are_checked() {
    for length in [1, 1 << 20] {
        let image = Image::of(vec![tar(&[("f", &noise(length))])]);
        let mut other = image.layers[0].clone();
        other[600] ^= 1;
        let manifest = manifest("c.json", &["a:1"], &["layer"]);
        for layer in [other.clone(), gzip(&other), zstd(&other)] {
            let archive = tar(&[
                ("layer", &layer),
                ("c.json", &image.config),
                ("manifest.json", manifest.as_bytes()),
            ]);
            for source in [true, false] {
                let desk = Desk::new();
                let source = match source {
                    true => desk.file(&archive),
                    false => pipe(&archive),
                };
                let error = desk.folder(source, &to(Format::OciDir)).unwrap_err();
                let CopyError::DiffId { expected, .. } = error else {
                    panic!("{error}");
                };
                assert_eq!(expected, image.diff_id(0));
                assert!(!desk.path().join("folder").exists());
                let left = desk.names();
                assert!(left.iter().all(|name| name == "source"), "{left:?}");
            }
        }
    }
}

#[test]
fn damage_inside_of_a_compressed_layer_is_told() {
    for length in [1000, 1 << 20] {
        let image = Image::of(vec![tar(&[("f", &noise(length))])]);
        let manifest = manifest("c.json", &["a:1"], &["layer"]);
        for mut layer in [gzip(&image.layers[0]), zstd(&image.layers[0])] {
            layer.truncate(layer.len() - 9);
            let archive = tar(&[
                ("layer", &layer),
                ("c.json", &image.config),
                ("manifest.json", manifest.as_bytes()),
            ]);
            let desk = Desk::new();
            let error = desk
                .folder(desk.file(&archive), &to(Format::OciDir))
                .unwrap_err();
            assert!(matches!(error, CopyError::Layer { .. }), "{error:?}");
            assert_eq!(desk.names(), ["source"]);
        }
    }
}

#[test]
fn missing_layers_are_listed_before_anything_is_written() {
    let image = Image::new(&["a", "b"]);
    let manifest = manifest("c.json", &["a:1"], &["1", "2"]);
    let archive = tar(&[
        ("1", &image.layers[0]),
        ("c.json", &image.config),
        ("manifest.json", manifest.as_bytes()),
    ]);
    let desk = Desk::new();
    let error = desk
        .stream(desk.file(&archive), &to(Format::OciArchive))
        .unwrap_err();
    let CopyError::MissingLayers { missing, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(missing, [image.diff_id(1)]);
}

#[test]
fn truncated_sources_leave_nothing() {
    let archive = Image::new(&["a", "b"]).archive(&["a:1"]);
    for length in (0..archive.len()).step_by(97) {
        let desk = Desk::new();
        let cut = &archive[..length];
        let copied = desk.folder(pipe(cut), &to(Format::OciDir));
        // Without its end mark it is whole all the same.
        if let Err(error) = copied {
            assert_eq!(desk.names(), Vec::<String>::new(), "{length}: {error}");
        } else {
            assert!(length + 1024 >= archive.len() - 512, "{length}");
        }
    }
}

/// Stops at the n-th question.
struct StopAt(std::sync::atomic::AtomicUsize);

impl Observer for StopAt {
    fn cancelled(&self) -> bool {
        let left = &self.0;
        let stay = |left: usize| left.checked_sub(1);
        let relaxed = std::sync::atomic::Ordering::Relaxed;
        left.fetch_update(relaxed, relaxed, stay).is_err()
    }
}

#[test]
fn it_can_be_stopped_anywhere() {
    let source = sources();
    let mut whole = false;
    for count in (0..400).step_by(7) {
        let desk = Desk::new();
        let place = desk.path().join("folder");
        let stop = StopAt(count.into());
        let options = to(Format::OciDir);
        let copied = copy(
            pipe(&source),
            Target::Folder(&place),
            desk.path(),
            &options,
            &stop,
        );
        match copied {
            Ok(_) => whole = true,
            Err(error) => {
                assert!(matches!(error, CopyError::Cancelled), "{count}: {error:?}");
                assert_eq!(desk.names(), Vec::<String>::new());
            }
        }
    }
    assert!(whole);
}

#[test]
fn what_cannot_be_written_is_said() {
    let desk = Desk::new();
    let source = sources();
    // A layer that has to wait, and nowhere to do so.
    let mut out = Vec::new();
    let error = copy(
        desk.file(&source),
        Target::Stream(&mut out),
        &desk.path().join("nowhere"),
        &to(Format::OciArchive),
        &(),
    )
    .unwrap_err();
    assert!(
        matches!(error, CopyError::Write(WriteError::Spool { .. })),
        "{error:?}"
    );
    let error = copy(
        pipe(&source),
        Target::Stream(&mut out),
        &desk.path().join("nowhere"),
        &to(Format::OciArchive),
        &(),
    )
    .unwrap_err();
    let CopyError::Source(error) = error else {
        panic!("{error:?}");
    };
    assert!(matches!(*error, LoadError::Spool { .. }), "{error:?}");
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut full = std::io::LineWriter::with_capacity(1, full);
    let error = copy(
        desk.file(&source),
        Target::Stream(&mut full),
        desk.path(),
        &to(Format::DockerArchive),
        &(),
    )
    .unwrap_err();
    assert!(
        matches!(error, CopyError::Write(WriteError::Output { .. })),
        "{error:?}"
    );
    let error = copy(
        desk.file(&source),
        Target::Stream(&mut out),
        desk.path(),
        &to(Format::OciDir),
        &(),
    )
    .unwrap_err();
    assert!(matches!(error, CopyError::Output(_)), "{error:?}");
}

/// From one format to the next and back: the manifest stays what it was, and with it every blob.
#[test]
fn blobs_and_manifests_stay_what_they_are() {
    let source = sources();
    for compression in ["none", "gzip", "zstd"] {
        let desk = Desk::new();
        let place = |name: &str| desk.path().join(name);
        let mut options = to(Format::OciDir);
        options.images = vec!["two".to_owned()];
        options.compression = Some(compression.parse().unwrap());
        let first = copy(
            desk.file(&source),
            Target::Folder(&place("first")),
            desk.path(),
            &options,
            &(),
        );
        let first = first.unwrap();
        let expected = files_of_dir(&place("first"));
        let mut from = place("first");
        for (number, format) in [
            Format::OciArchive,
            Format::OciDir,
            Format::DockerDir,
            Format::OciArchive,
            Format::DockerDir,
            Format::OciDir,
        ]
        .into_iter()
        .enumerate()
        {
            if format == Format::DockerDir && compression == "zstd" {
                continue;
            }
            let to_place = place(&number.to_string());
            let mut options = to(format);
            options.name = Some("two:1".parse().unwrap());
            let input = Input::File(from.clone());
            let report = if format.is_folder() {
                copy(input, Target::Folder(&to_place), desk.path(), &options, &())
            } else {
                let mut out = File::create(&to_place).unwrap();
                copy(input, Target::File(&mut out), &place("none"), &options, &())
            };
            let report = report.unwrap();
            let context = format!("{compression}: {format} from {}", from.display());
            assert_eq!(report.images[0].digest, first.images[0].digest, "{context}");
            assert_eq!(report.images[0].bytes, first.images[0].bytes, "{context}");
            assert_eq!(report.warnings, Vec::<String>::new(), "{context}");
            from = to_place;
        }
        assert!(files_of_dir(&from) == expected, "{compression}");
        // On a pipe, too.
        let mut options = to(Format::OciArchive);
        options.name = Some("two:1".parse().unwrap());
        let archive = desk.stream(Input::File(from), &options).unwrap();
        let again = desk.stream(pipe(&archive), &options).unwrap();
        assert!(again == archive, "{compression}");
        assert!(files_of_tar(&archive) == expected, "{compression}");
        // And what comes out at the end is what went in.
        let mut docker = to(Format::DockerArchive);
        docker.images = vec!["two".to_owned()];
        let straight = desk.stream(desk.file(&source), &docker).unwrap();
        for input in [desk.file(&archive), pipe(&archive)] {
            assert!(
                desk.stream(input, &docker).unwrap() == straight,
                "{compression}"
            );
        }
    }
}

#[test]
fn what_a_format_does_not_take_is_converted_and_said() {
    let desk = Desk::new();
    let mut options = to(Format::OciArchive);
    options.images = vec!["two".to_owned()];
    options.compression = Some("zstd".parse().unwrap());
    let archive = desk.stream(desk.file(&sources()), &options).unwrap();
    let report = desk
        .folder(desk.file(&archive), &to(Format::DockerDir))
        .unwrap();
    assert!(
        report
            .warnings
            .iter()
            .any(|line| line.contains("compressed anew")),
        "{:?}",
        report.warnings
    );
    let files = files_of_dir(&desk.path().join("folder"));
    let manifest: serde_json::Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
    let blob = |descriptor: &serde_json::Value| {
        let digest = descriptor["digest"].as_str().unwrap();
        files[digest.strip_prefix("sha256:").unwrap()].clone()
    };
    let found = layout::image_of(&manifest, None, &blob);
    assert_eq!(found.layers.len(), 3);
    assert!(found.media_types.iter().all(|text| text.ends_with("gzip")));
    // Asked for, it is done as well.
    let mut options = to(Format::OciArchive);
    options.compression = Some("none".parse().unwrap());
    let plain = desk.stream(desk.file(&archive), &options).unwrap();
    let found = layout::images(&files_of_tar(&plain));
    assert!(
        found[0]
            .media_types
            .iter()
            .all(|text| text.ends_with("tar"))
    );
}

/// A blob that is not what its descriptor says, though it unpacks to the right layer.
#[test]
fn blobs_are_checked_when_they_pass() {
    let desk = Desk::new();
    let mut options = to(Format::OciDir);
    options.images = vec!["one".to_owned()];
    let place = desk.path().join("source-layout");
    copy(
        desk.file(&sources()),
        Target::Folder(&place),
        desk.path(),
        &options,
        &(),
    )
    .unwrap();
    let blobs = place.join("blobs/sha256");
    let layers: Vec<_> = fs::read_dir(&blobs)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| fs::read(path).unwrap().starts_with(&[0x1f, 0x8b]))
        .collect();
    assert_eq!(layers.len(), 2);
    for layer in layers {
        let whole = fs::read(&layer).unwrap();
        // Another time in the header: it unpacks to the same.
        let mut other = whole.clone();
        other[4] ^= 1;
        let mut longer = whole.clone();
        longer.extend([0; 512]);
        for other in [other, longer, whole[..whole.len() - 1].to_vec()] {
            fs::write(&layer, other).unwrap();
            let source = Input::File(place.clone());
            let error = desk.folder(source, &to(Format::OciDir)).unwrap_err();
            let text = causes(&error);
            assert!(text.contains("sha256") || text.contains("bytes"), "{text}");
            assert!(matches!(
                error,
                CopyError::Layer { .. } | CopyError::Source(_)
            ));
            assert!(!desk.path().join("folder").exists());
        }
        fs::write(&layer, whole).unwrap();
    }
    desk.folder(Input::File(place), &to(Format::OciDir))
        .unwrap();
}
