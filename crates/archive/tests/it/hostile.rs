//! Input that is wrong, by accident or on purpose: a clear error, and the store as before.

use std::io::{Read, repeat};

use lith_archive::{Input, LoadError, LoadOptions, load};

use crate::support::{Image, Root, Tar, gzip, manifest, tar};

/// Loads both ways and gives the errors; nothing may be left.
#[track_caller]
fn refused(archive: &[u8]) -> [LoadError; 2] {
    let root = Root::new();
    let file = root.load_file(archive).unwrap_err();
    root.assert_empty("file");
    let stream = root.load_stream(archive).unwrap_err();
    root.assert_empty("stream");
    [file, stream]
}

macro_rules! assert_refused {
    ($archive:expr, $pattern:pat) => {
        for error in refused($archive) {
            assert!(matches!(error, $pattern), "{error}: {error:?}");
        }
    };
}

/// An archive around a manifest.json, with config `c` and layer `l` of a valid image.
fn around(manifest: &str) -> Vec<u8> {
    let image = Image::new(&["a"]);
    tar(&[
        ("l", &image.layers[0]),
        ("c", &image.config),
        ("manifest.json", manifest.as_bytes()),
    ])
}

#[test]
fn what_is_no_archive() {
    assert_refused!(b"", LoadError::Empty);
    assert_refused!(b"hello\n", LoadError::NotAnArchive);
    assert_refused!(&[b'x'; 5000], LoadError::NotAnArchive);
    assert_refused!(&gzip(b"hello\n"), LoadError::NotAnArchive);
    assert_refused!(&gzip(b""), LoadError::Empty);
    assert_refused!(&[0; 1024], LoadError::NoManifest { members: 0 });
    let plain = tar(&[("etc/passwd", b"root"), ("bin/json", b"{}")]);
    assert_refused!(&plain, LoadError::NoManifest { members: 2 });
    let oci = tar(&[("oci-layout", b"{}"), ("index.json", b"{}")]);
    assert_refused!(&oci, LoadError::Document { .. });
    let root = Root::new();
    let folder = Input::File(root.path().to_owned());
    let error = load(&root.graph, folder, &LoadOptions::default(), &()).unwrap_err();
    assert!(matches!(error, LoadError::NoManifest { .. }), "{error}");
    let nothing = Input::File(root.path().join("nothing"));
    let error = load(&root.graph, nothing, &LoadOptions::default(), &()).unwrap_err();
    assert!(matches!(error, LoadError::Open { .. }), "{error}");
}

#[test]
fn manifests_that_make_no_sense() {
    assert_refused!(&around("null"), LoadError::HoldsNoImage);
    assert_refused!(&around("[]"), LoadError::HoldsNoImage);
    for text in [
        "",
        "{}",
        "[",
        "[[]]",
        "[null]",
        "[{\"Layers\":{}}]",
        "\"x\"",
    ] {
        assert_refused!(&around(text), LoadError::Document { .. });
    }
    assert_refused!(&around("[{}]"), LoadError::NoConfig { index: 0 });
    assert_refused!(
        &around(&manifest("", &[], &["l"])),
        LoadError::NoConfig { .. }
    );
    assert_refused!(
        &around(&manifest("no", &[], &["l"])),
        LoadError::MissingMember { .. }
    );
    assert_refused!(
        &around(&manifest("c", &[], &["no"])),
        LoadError::MissingLayers { .. }
    );
    assert_refused!(
        &around(&manifest("c", &[], &["l", "l"])),
        LoadError::LayerCount {
            layers: 2,
            diff_ids: 1,
            ..
        }
    );
    assert_refused!(
        &around(&manifest::<&str>("c", &[], &[])),
        LoadError::LayerCount { .. }
    );
    let names = [
        "",
        "UPPER",
        "a b",
        "../x",
        "a:b:c",
        "sha256:abc\u{7}",
        &"a".repeat(64),
    ];
    for name in names {
        assert_refused!(
            &around(&manifest("c", &[name], &["l"])),
            LoadError::Name { .. }
        );
    }
    let digest = format!("a@sha256:{}", "a".repeat(64));
    assert_refused!(
        &around(&manifest("c", &[&digest], &["l"])),
        LoadError::NotATag { .. }
    );
    for parent in ["x", "sha256:", "sha256:../../../../etc/passwd"] {
        let item = format!(r#"[{{"Config":"c","Layers":["l"],"Parent":"{parent}"}}]"#);
        assert_refused!(&around(&item), LoadError::Digest { .. });
        let sources = format!(r#"{{"{parent}":{{}}}}"#);
        let item = format!(r#"[{{"Config":"c","Layers":["l"],"LayerSources":{sources}}}]"#);
        assert_refused!(&around(&item), LoadError::Digest { .. });
    }
}

#[test]
fn paths_that_lead_outside() {
    for path in ["/etc/passwd", "../../etc/passwd", "x/../../c", ".", "./"] {
        assert_refused!(
            &around(&manifest(path, &[], &["l"])),
            LoadError::BadPath { .. }
        );
        assert_refused!(
            &around(&manifest("c", &[], &[path])),
            LoadError::BadPath { .. }
        );
    }
    let image = Image::new(&["a"]);
    for (target, outside) in [
        ("/etc/passwd", true),
        ("../../etc/passwd", true),
        ("no", false),
    ] {
        let mut tar = Tar::new();
        tar.file("c", &image.config);
        tar.symlink("l", target);
        tar.file("manifest.json", manifest("c", &[], &["l"]).as_bytes());
        for error in refused(&tar.finish()) {
            match error {
                LoadError::BadPath { .. } => assert!(outside),
                LoadError::MissingMember { .. } => assert!(!outside),
                error => panic!("{error}"),
            }
        }
    }
}

#[test]
fn links_that_loop_and_names_that_occur_twice() {
    let image = Image::new(&["a"]);
    let mut looping = Tar::new();
    looping.file("c", &image.config);
    looping.symlink("l", "k");
    looping.hard_link("k", "l");
    looping.file("manifest.json", manifest("c", &[], &["l"]).as_bytes());
    assert_refused!(&looping.finish(), LoadError::LinkLoop { .. });

    let manifest = manifest("c", &[], &["l"]);
    let (layer, config, manifest) = (&image.layers[0][..], &image.config[..], manifest.as_bytes());
    for twice in ["l", "c", "manifest.json"] {
        let mut files = vec![("l", layer), ("c", config), ("manifest.json", manifest)];
        let again = files
            .iter()
            .find(|(name, _)| *name == twice)
            .copied()
            .unwrap();
        let dotted = format!("./{twice}");
        files.push((&dotted, again.1));
        assert_refused!(&tar(&files), LoadError::Duplicate { .. });
    }
    // Nobody uses this one.
    let files = [
        ("l", layer),
        ("x", b"1"),
        ("x", b"2"),
        ("c", config),
        ("manifest.json", manifest),
    ];
    Root::new().load_file(&tar(&files)).unwrap();
}

#[test]
fn members_of_the_wrong_kind() {
    let image = Image::new(&["a"]);
    let mut archive = Tar::new();
    archive.file("c", &image.config);
    archive.folder("l/");
    archive.file("manifest.json", manifest("c", &[], &["l"]).as_bytes());
    assert_refused!(&archive.finish(), LoadError::NotRegular { .. });
    // A config that is a tar.
    let archive = tar(&[
        ("l", &image.layers[0]),
        ("c", &image.layers[0]),
        ("manifest.json", manifest("c", &[], &["l"]).as_bytes()),
    ]);
    let [file, stream] = refused(&archive);
    assert!(matches!(file, LoadError::Config { .. }), "{file}");
    assert!(matches!(stream, LoadError::NotRegular { .. }), "{stream}");
    // A layer that is text.
    let mut image = image;
    image.layers[0] = b"this is no tar".to_vec();
    let image = Image::of(image.layers);
    assert_refused!(&image.archive(&[]), LoadError::Layer { .. });
    // One that is too long for a document.
    let image = Image::of(vec![vec![b'x'; 5 << 20]]);
    let [file, stream] = refused(&image.archive(&[]));
    assert!(matches!(file, LoadError::Layer { .. }), "{file}");
    assert!(matches!(stream, LoadError::NotALayer { .. }), "{stream}");
}

#[test]
fn layers_that_are_not_what_the_config_says() {
    let image = Image::new(&["a", "b"]);
    let mut wrong = image.clone();
    wrong.layers[1] = Image::new(&["other"]).layers.remove(0);
    let names = [image.layer_name(0), image.layer_name(1)];
    let archive = tar(&[
        (&names[0], &image.layers[0]),
        (&names[1], &wrong.layers[1]),
        ("c", &image.config),
        ("manifest.json", manifest("c", &["x:1"], &names).as_bytes()),
    ]);
    let [file, stream] = refused(&archive);
    let LoadError::Layer { member, source } = &file else {
        panic!("{file}")
    };
    assert_eq!(*member, names[1]);
    assert!(
        source.to_string().contains(&image.diff_id(1).to_string()),
        "{source}"
    );
    assert!(matches!(stream, LoadError::PassedOther { .. }), "{stream}");

    // One member cannot be two layers.
    let other = Image::new(&["b"]);
    let items = serde_json::json!([
        { "Config": "1", "Layers": ["l"] }, { "Config": "2", "Layers": ["l"] },
    ]);
    let archive = tar(&[
        ("l", &Image::new(&["a"]).layers[0]),
        ("1", &Image::new(&["a"]).config),
        ("2", &other.config),
        ("manifest.json", items.to_string().as_bytes()),
    ]);
    assert_refused!(&archive, LoadError::TwoDiffIds { .. });
}

#[test]
fn configs_that_make_no_sense() {
    for config in [
        "",
        "[]",
        "null",
        "{}",
        r#"{"rootfs":null}"#,
        r#"{"rootfs":{"diff_ids":["sha256:../../x"]}}"#,
        r#"{"rootfs":{"diff_ids":[]},"rootfs":{"diff_ids":[]}}"#,
        "{\"rootfs\":{\"diff_ids\":[\"\u{0}\"]}}",
    ] {
        let archive = tar(&[
            ("c", config.as_bytes()),
            ("manifest.json", manifest("c", &[], &["l"]).as_bytes()),
        ]);
        assert_refused!(&archive, LoadError::Config { .. });
    }
    // A blob whose content is not what its name says.
    let name = format!("blobs/sha256/{}", "0".repeat(64));
    let image = Image::new(&["a"]);
    let archive = tar(&[
        ("l", &image.layers[0]),
        (&name, &image.config),
        ("manifest.json", manifest(&name, &[], &["l"]).as_bytes()),
    ]);
    assert_refused!(&archive, LoadError::ContentMismatch { .. });
    // The same in a file that promises less: it is said.
    let name = format!("{}.json", "0".repeat(64));
    let archive = tar(&[
        ("l", &image.layers[0]),
        (&name, &image.config),
        ("manifest.json", manifest(&name, &[], &["l"]).as_bytes()),
    ]);
    assert_eq!(Root::new().load_file(&archive).unwrap().warnings.len(), 1);
}

#[test]
fn documents_that_are_too_large() {
    let image = Image::new(&["a"]);
    let large = vec![b' '; (4 << 20) + 1];
    // The manifest grows with the number of images.
    let mut long = large.clone();
    long.extend_from_slice(manifest("c", &[], &["l"]).as_bytes());
    let layer = ("l", image.layers[0].as_slice());
    let archive = tar(&[layer, ("c", &image.config), ("manifest.json", &long)]);
    Root::new().load_file(&archive).unwrap();
    Root::new().load_stream(&archive).unwrap();
    let huge = vec![b' '; (32 << 20) + 1];
    let archive = tar(&[layer, ("manifest.json", &huge)]);
    assert_refused!(&archive, LoadError::TooLarge { .. });
    let archive = tar(&[
        ("c", &large),
        ("manifest.json", manifest("c", &[], &["l"]).as_bytes()),
    ]);
    assert_refused!(&archive, LoadError::TooLarge { .. });
}

/// Many small members: a stream keeps only so much, and says so when it matters.
#[test]
fn documents_of_a_stream_are_bounded_in_total() {
    let image = Image::new(&["a"]);
    let filler = vec![b' '; 4 << 20];
    let mut archive = Tar::new();
    for index in 0..9 {
        archive.file(&format!("filler-{index}"), &filler);
    }
    archive.file("l", &image.layers[0]);
    archive.file("c", &image.config);
    archive.file("manifest.json", manifest("c", &["x:1"], &["l"]).as_bytes());
    let archive = archive.finish();
    let root = Root::new();
    let error = root.load_stream(&archive).unwrap_err();
    assert!(matches!(error, LoadError::NotKept { .. }), "{error}");
    root.load_file(&archive).unwrap();
}

/// An extension header that claims ten gigabytes is refused before it is read.
#[test]
fn extension_headers_are_bounded() {
    for kind in [tar::EntryType::GNULongName, tar::EntryType::XHeader] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_path("x").unwrap();
        header.set_size(10 << 30);
        header.set_cksum();
        let stream = std::io::Cursor::new(header.as_bytes().to_vec()).chain(repeat(b'a'));
        let root = Root::new();
        let input = Input::Stream(Box::new(stream));
        let error = load(&root.graph, input, &LoadOptions::default(), &()).unwrap_err();
        assert!(
            matches!(error, LoadError::Damaged { offset: 0, .. }),
            "{error}"
        );
    }
}

/// Sizes that no file has, and members that end beyond the archive.
#[test]
fn sizes_that_lie() {
    for size in [u64::MAX, i64::MAX as u64, 1 << 40, 700] {
        let mut header = tar::Header::new_gnu();
        header.set_path("manifest.json").unwrap();
        header.set_size(size);
        header.set_cksum();
        let mut archive = header.as_bytes().to_vec();
        archive.extend([b' '; 512]);
        for error in refused(&archive) {
            match error {
                LoadError::Truncated { offset: 1024, .. } => {}
                LoadError::Damaged { offset: 0, .. } => assert!(size > 1 << 40),
                error => panic!("{size}: {error}"),
            }
        }
    }
}

#[test]
fn headers_that_are_damaged() {
    let image = Image::new(&["a"]);
    let archive = image.archive(&["x:1"]);
    // The second member's header.
    let second = 512 + image.layers[0].len().next_multiple_of(512);
    let mut damaged = archive.clone();
    damaged[second + 3] ^= 1;
    for error in refused(&damaged) {
        let LoadError::Damaged { offset, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(offset, second as u64);
    }
    // A lone block of zeros between two members.
    let mut torn = archive[..second].to_vec();
    torn.extend([0; 512]);
    torn.extend(&archive[second..]);
    assert_refused!(&torn, LoadError::Damaged { .. });
}
