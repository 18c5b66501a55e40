//! OCI layouts and docker-dirs that are read: made here, hostile ones too.

use std::fs;
use std::path::Path;

use lith_archive::oci::{Descriptor, Index, Manifest, MediaType, Platform};
use lith_archive::{Format, Input, LoadError, LoadOptions, LoadReport, Target, load};
use lith_store::{Digest, ImageId};

use crate::formats::{options, two_images};
use crate::layout::{Files, files_of_dir, files_of_tar};
use crate::support::{Image, Root, gzip, tar, zstd};

const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// An OCI layout in memory.
#[derive(Clone)]
pub(crate) struct Layout(pub(crate) Files);

impl Layout {
    pub(crate) fn new() -> Layout {
        let version = br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec();
        Layout(Files::from([("oci-layout".to_owned(), version)]))
    }

    pub(crate) fn path(digest: &Digest) -> String {
        format!("blobs/sha256/{}", digest.hex())
    }

    pub(crate) fn blob(&mut self, media_type: MediaType, bytes: &[u8]) -> Descriptor {
        let digest = Digest::of(bytes);
        self.0.insert(Layout::path(&digest), bytes.to_vec());
        Descriptor::new(media_type, digest, bytes.len() as u64)
    }

    /// An image whose layers are transported as `pack` makes them.
    pub(crate) fn image(
        &mut self,
        image: &Image,
        media_type: &MediaType,
        pack: Pack,
    ) -> Descriptor {
        let layers = image.layers.iter();
        let manifest = Manifest {
            media_type: MediaType::OciManifest,
            config: self.blob(MediaType::OciConfig, &image.config),
            layers: layers
                .map(|layer| self.blob(media_type.clone(), &pack(layer)))
                .collect(),
            annotations: Default::default(),
            artifact_type: None,
        };
        self.blob(MediaType::OciManifest, manifest.to_json().as_bytes())
    }

    pub(crate) fn index(&mut self, manifests: Vec<Descriptor>) -> Descriptor {
        self.blob(MediaType::OciIndex, index(manifests).as_bytes())
    }

    pub(crate) fn finish(mut self, manifests: Vec<Descriptor>) -> Layout {
        self.0
            .insert("index.json".into(), index(manifests).into_bytes());
        self
    }

    pub(crate) fn tar(&self) -> Vec<u8> {
        let files: Vec<(&str, &[u8])> = self
            .0
            .iter()
            .map(|(name, bytes)| (name.as_str(), &bytes[..]))
            .collect();
        tar(&files)
    }

    pub(crate) fn write(&self, place: &Path) {
        let _ = fs::remove_dir_all(place);
        for (name, bytes) in &self.0 {
            let path = place.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }

    /// From a folder, a file and a pipe: all the same.
    pub(crate) fn load_all(&self) -> Vec<Result<(Root, LoadReport), LoadError>> {
        let (dir, file, pipe) = (Root::new(), Root::new(), Root::new());
        let place = dir.path().join("layout");
        self.write(&place);
        let results = [
            load(&dir.graph, Input::File(place), &LoadOptions::default(), &()),
            file.load_file(&self.tar()),
            pipe.load_stream(&self.tar()),
        ];
        let roots = [dir, file, pipe].into_iter();
        roots
            .zip(results)
            .map(|(root, result)| match result {
                Ok(report) => Ok((root, report)),
                Err(error) => {
                    root.assert_empty(&error.to_string());
                    Err(error)
                }
            })
            .collect()
    }

    fn errors(&self) -> Vec<LoadError> {
        let all = self.load_all().into_iter();
        all.map(|result| result.map(|_| ()).unwrap_err()).collect()
    }
}

pub(crate) type Pack = fn(&[u8]) -> Vec<u8>;

fn index(manifests: Vec<Descriptor>) -> String {
    let index = Index {
        media_type: MediaType::OciIndex,
        manifests,
        annotations: Default::default(),
    };
    index.to_json()
}

pub(crate) fn named(mut descriptor: Descriptor, name: &str) -> Descriptor {
    descriptor.annotations.insert(REF_NAME.into(), name.into());
    descriptor
}

pub(crate) fn for_platform(mut descriptor: Descriptor, platform: &Platform) -> Descriptor {
    descriptor.platform = Some(platform.clone());
    descriptor
}

/// All that an error says.
fn told(error: &LoadError) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

pub(crate) fn plain(layer: &[u8]) -> Vec<u8> {
    layer.to_vec()
}

fn gzip_members(layer: &[u8]) -> Vec<u8> {
    let (front, back) = layer.split_at(layer.len() / 2);
    [gzip(front), gzip(back)].concat()
}

fn zstd_frames(layer: &[u8]) -> Vec<u8> {
    let (front, back) = layer.split_at(layer.len() / 2);
    [zstd(front), zstd(back)].concat()
}

#[test]
fn layers_in_every_compression() {
    let image = Image::new(&["a", "b"]);
    let packs: [(MediaType, Pack); 5] = [
        (MediaType::OciLayer, plain),
        (MediaType::OciLayerGzip, gzip),
        (MediaType::OciLayerGzip, gzip_members),
        (MediaType::OciLayerZstd, zstd),
        (MediaType::OciLayerZstd, zstd_frames),
    ];
    for (media_type, pack) in packs {
        let mut layout = Layout::new();
        let manifest = layout.image(&image, &media_type, pack);
        let layout = layout.finish(vec![named(manifest.clone(), "example.com/a:1")]);
        for loaded in layout.load_all() {
            let (root, report) = loaded.unwrap();
            assert_eq!(report.images[0].id, image.id());
            assert_eq!(report.images[0].names[0].to_string(), "example.com/a:1");
            assert_eq!(report.images[0].layers_new, 2);
            assert!(report.warnings.is_empty(), "{:?}", report.warnings);
            // The manifest is kept, and every layer is exact.
            let store = root.graph.store();
            let record = store.image(&image.id()).unwrap().unwrap();
            assert_eq!(Digest::of(&record.manifest.unwrap()), manifest.digest);
            let summary = &store.images().unwrap()[0];
            assert_eq!(summary.manifest, Some(manifest.digest));
            root.save(&["example.com/a:1"]);
        }
    }
}

#[test]
fn media_types_that_are_wrong_are_told() {
    let image = Image::new(&["a"]);
    let mut layout = Layout::new();
    let manifest = layout.image(&image, &MediaType::OciLayerZstd, gzip);
    for loaded in layout.finish(vec![manifest]).load_all() {
        let (_, report) = loaded.unwrap();
        let warning = &report.warnings[0];
        assert!(
            warning.contains("gzip") && warning.contains("+zstd"),
            "{warning}"
        );
    }
}

#[test]
fn layers_that_the_store_has_need_not_be_there() {
    let image = Image::new(&["a", "b"]);
    let root = Root::new();
    root.load_file(&image.archive(&["a:1"])).unwrap();
    let mut layout = Layout::new();
    let manifest = layout.image(&image, &MediaType::OciLayerGzip, gzip);
    for layer in &image.layers {
        layout.0.remove(&Layout::path(&Digest::of(&gzip(layer))));
    }
    let layout = layout.finish(vec![named(manifest, "b:1")]);
    let report = root.load_file(&layout.tar()).unwrap();
    assert_eq!(
        (report.images[0].layers_new, report.images[0].layers_reused),
        (0, 2)
    );
    // Where nobody has them, all are told.
    for error in layout.errors() {
        assert!(
            matches!(&error, LoadError::MissingLayers { missing, .. } if missing.len() == 2),
            "{error}"
        );
    }
}

#[test]
fn layers_elsewhere_are_never_fetched() {
    let image = Image::new(&["a"]);
    let mut layout = Layout::new();
    let foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
    let digest = Digest::of(b"elsewhere");
    let mut layer = Descriptor::new(MediaType::new(foreign), digest, 9);
    layer.urls = vec!["https://example.org/layer".into()];
    let manifest = Manifest {
        media_type: MediaType::OciManifest,
        config: layout.blob(MediaType::OciConfig, &image.config),
        layers: vec![layer],
        annotations: Default::default(),
        artifact_type: None,
    };
    let manifest = layout.blob(MediaType::OciManifest, manifest.to_json().as_bytes());
    for error in layout.finish(vec![manifest]).errors() {
        let text = error.to_string();
        assert!(matches!(error, LoadError::LayersElsewhere { .. }), "{text}");
        assert!(text.contains("https://example.org/layer"), "{text}");
        assert!(text.contains("never fetched"), "{text}");
    }
}

#[test]
fn layers_are_what_their_descriptors_say() {
    let image = Image::new(&["a"]);
    let blob = gzip(&image.layers[0]);
    let mut layout = Layout::new();
    let manifest = layout.image(&image, &MediaType::OciLayerGzip, gzip);
    let path = Layout::path(&Digest::of(&blob));
    // The same tar, compressed otherwise: right for the config, wrong for the manifest.
    let other = gzip_members(&image.layers[0]);
    let mut cut = blob.clone();
    cut.pop();
    let mut padded = blob.clone();
    padded.push(0);
    let mut changed = blob.clone();
    *changed.last_mut().unwrap() ^= 1;
    for (bytes, expected, found) in [
        (&other, blob.len().to_string(), other.len().to_string()),
        (&cut, blob.len().to_string(), cut.len().to_string()),
        (&padded, blob.len().to_string(), padded.len().to_string()),
        (
            &changed,
            Digest::of(&blob).to_string(),
            Digest::of(&changed).to_string(),
        ),
    ] {
        let mut layout = layout.clone();
        layout.0.insert(path.clone(), bytes.clone());
        for error in layout.finish(vec![manifest.clone()]).errors() {
            let text = told(&error);
            assert!(matches!(error, LoadError::Blob { .. }), "{text}");
            assert!(text.contains(&expected) && text.contains(&found), "{text}");
        }
    }
}

#[test]
fn hostile_documents() {
    let image = Image::new(&["a"]);
    let mut layout = Layout::new();
    let good = layout.image(&image, &MediaType::OciLayer, plain);
    let with_index = |json: &str| {
        let mut layout = layout.clone();
        layout
            .0
            .insert("index.json".into(), json.as_bytes().to_vec());
        layout
    };
    let entry = good.to_json();
    for json in [
        format!(r#"{{"schemaVersion":2,"manifests":[{entry}],"layers":[]}}"#),
        format!(r#"{{"schemaVersion":1,"manifests":[{entry}]}}"#),
        format!(r#"{{"schemaVersion":2,"manifests":[{entry}],"manifests":[]}}"#),
        r#"{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:../../../etc/passwd","size":3}]}"#.to_owned(),
        r#"{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"","size":3}]}"#.to_owned(),
        format!(r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"x","digest":"sha512:{}","size":3}}]}}"#, "0".repeat(128)),
    ] {
        for error in with_index(&json).errors() {
            assert!(matches!(error, LoadError::Manifest { .. }), "{json}: {error}");
        }
    }
    let mut huge = good.clone();
    huge.size = 4 << 30;
    for error in layout.clone().finish(vec![huge]).errors() {
        assert!(matches!(error, LoadError::TooLarge { .. }), "{error}");
    }
    let large = " ".repeat((4 << 20) + 1);
    for error in with_index(&large).errors() {
        assert!(matches!(error, LoadError::TooLarge { .. }), "{error}");
    }
    for error in layout.clone().finish(vec![]).errors() {
        assert!(matches!(error, LoadError::NoImages { .. }), "{error}");
    }
}

/// A platform that this machine is not.
pub(crate) fn other_platform() -> Platform {
    "linux/s390x".parse().unwrap()
}

/// A layout with an image for this machine and one for another behind one name.
pub(crate) fn for_two_platforms(name: &str) -> (Layout, Image, Image) {
    let here = Platform::here();
    let (one, two) = (Image::new(&["here"]), Image::new(&["there"]));
    let mut layout = Layout::new();
    let list = vec![
        for_platform(
            layout.image(&two, &MediaType::OciLayerGzip, gzip),
            &other_platform(),
        ),
        for_platform(layout.image(&one, &MediaType::OciLayerGzip, gzip), &here),
    ];
    let list = layout.index(list);
    (layout.finish(vec![named(list, name)]), one, two)
}

#[test]
fn platforms_are_chosen() {
    let (layout, one, _) = for_two_platforms("m:1");
    for loaded in layout.load_all() {
        let (root, report) = loaded.unwrap();
        let ids: Vec<ImageId> = report.images.iter().map(|image| image.id).collect();
        assert_eq!(ids, [one.id()]);
        let mut options = LoadOptions::default();
        options.platform = Some("linux/ppc64le".parse().unwrap());
        let error = root.load_file_with(&layout.tar(), &options).unwrap_err();
        assert!(error.to_string().contains("linux/s390x"), "{error}");
    }
}

#[test]
fn one_image_as_the_index_calls_it() {
    let (one, two) = (Image::new(&["1"]), Image::new(&["2"]));
    let mut layout = Layout::new();
    let list = vec![
        named(
            layout.image(&one, &MediaType::OciLayer, plain),
            "docker.io/library/a:1",
        ),
        named(layout.image(&two, &MediaType::OciLayer, plain), "latest"),
    ];
    let layout = layout.finish(list);
    let root = Root::new();
    let (place, file) = (root.path().join("layout"), root.path().join("file"));
    layout.write(&place);
    fs::write(&file, layout.tar()).unwrap();
    for place in [place, file] {
        for (text, image, names) in [("a:1", &one, 1), ("latest", &two, 0)] {
            let input = Input::Entry(place.clone(), text.into());
            let report = load(&root.graph, input, &LoadOptions::default(), &()).unwrap();
            assert_eq!(report.images.len(), 1);
            assert_eq!(report.images[0].id, image.id());
            assert_eq!(report.images[0].names.len(), names);
            assert_eq!(report.warnings.len(), 1 - names);
        }
        let input = Input::Entry(place, "other".into());
        let error = load(&root.graph, input, &LoadOptions::default(), &()).unwrap_err();
        let LoadError::NotInArchive { available, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(available, ["docker.io/library/a:1", "latest"]);
    }
}

/// What lith writes in each format, lith reads, and gives back the same.
#[test]
fn there_and_back() {
    let root = two_images();
    let names = ["example.com/team/tiny:1", "example.com/team/tiny2:latest"];
    let expected = root.save(&names);
    for compression in [None, Some("none"), Some("zstd")] {
        let mut options = options(Format::OciDir);
        options.compression = compression.map(|text| text.parse().unwrap());
        let place = root.path().join(format!("{compression:?}"));
        root.save_to(&names, Target::Folder(&place), &options)
            .unwrap();
        options.format = Format::OciArchive;
        let archive = root.save_stream(&names, &options);
        let (dir, file, pipe) = (Root::new(), Root::new(), Root::new());
        load(
            &dir.graph,
            Input::File(place.clone()),
            &LoadOptions::default(),
            &(),
        )
        .unwrap();
        file.load_file(&archive).unwrap();
        pipe.load_stream(&archive).unwrap();
        for other in [&dir, &file, &pipe] {
            assert!(other.save(&names) == expected, "{compression:?}");
            // With the manifests it came with, it is written as it was.
            assert_eq!(
                files_of_tar(
                    &other.save_stream(&names, &crate::formats::options(Format::OciArchive))
                ),
                files_of_tar(&archive)
            );
        }
        options.format = Format::DockerDir;
        let place = root.path().join(format!("{compression:?}-dir"));
        root.save_to(&names[..1], Target::Folder(&place), &options)
            .unwrap();
        let (dir, file) = (Root::new(), Root::new());
        load(
            &dir.graph,
            Input::File(place.clone()),
            &LoadOptions::default(),
            &(),
        )
        .unwrap();
        let files = files_of_dir(&place);
        file.load_file(&Layout(files.clone()).tar()).unwrap();
        for other in [&dir, &file] {
            let images = other.graph.store().images().unwrap();
            assert!(images[0].names.is_empty());
            let id = images[0].id.to_string();
            let place = root.path().join(format!("{compression:?}-again"));
            let _ = fs::remove_dir_all(&place);
            let options = crate::formats::options(Format::DockerDir);
            other
                .save_to(&[&id], Target::Folder(&place), &options)
                .unwrap();
            assert_eq!(files_of_dir(&place), files);
        }
    }
}

#[test]
fn signatures_of_a_docker_dir_are_kept() {
    let root = two_images();
    let place = root.path().join("dir");
    let options = options(Format::DockerDir);
    root.save_to(
        &["example.com/team/tiny:1"],
        Target::Folder(&place),
        &options,
    )
    .unwrap();
    fs::write(place.join("signature-1"), "one").unwrap();
    fs::write(place.join("signature-2"), "two").unwrap();
    let other = Root::new();
    load(
        &other.graph,
        Input::File(place.clone()),
        &LoadOptions::default(),
        &(),
    )
    .unwrap();
    let id = other.graph.store().images().unwrap()[0].id.to_string();
    let again = root.path().join("again");
    other
        .save_to(&[&id], Target::Folder(&again), &options)
        .unwrap();
    assert_eq!(files_of_dir(&again), files_of_dir(&place));
    // Another format has no place for them.
    let options = crate::formats::options(Format::OciArchive);
    let report = other
        .save_to(&[&id], Target::Stream(&mut Vec::new()), &options)
        .unwrap();
    assert!(report.warnings[0].contains("2 signatures"), "{report:?}");
}

#[test]
fn a_manifest_stays_when_the_image_comes_again_without() {
    let image = Image::new(&["a"]);
    let mut layout = Layout::new();
    let manifest = layout.image(&image, &MediaType::OciLayerGzip, gzip);
    let root = Root::new();
    let layout = layout.finish(vec![manifest.clone()]);
    root.load_file(&layout.tar()).unwrap();
    root.load_file(&image.archive(&["a:1"])).unwrap();
    let summary = &root.graph.store().images().unwrap()[0];
    assert_eq!(summary.manifest, Some(manifest.digest));
    assert_eq!(summary.names.len(), 1);
}

#[test]
fn a_docker_dir_for_several_platforms() {
    let here = Platform::here();
    let other: Platform = "linux/s390x".parse().unwrap();
    let (one, two) = (Image::new(&["here"]), Image::new(&["there"]));
    let mut layout = Layout::new();
    let list = vec![
        for_platform(layout.image(&two, &MediaType::OciLayerGzip, gzip), &other),
        for_platform(layout.image(&one, &MediaType::OciLayerGzip, gzip), &here),
    ];
    let mut files = Files::new();
    for (name, bytes) in layout.0 {
        let Some(hex) = name.strip_prefix("blobs/sha256/") else {
            continue;
        };
        match list.iter().any(|entry| entry.digest.hex() == hex) {
            true => files.insert(format!("{hex}.manifest.json"), bytes),
            false => files.insert(hex.to_owned(), bytes),
        };
    }
    files.insert(
        "version".into(),
        b"Directory Transport Version: 1.1\n".to_vec(),
    );
    files.insert("manifest.json".into(), index(list).into_bytes());
    let root = Root::new();
    let place = root.path().join("dir");
    let dir = Layout(files);
    dir.write(&place);
    let mut options = LoadOptions::default();
    for (platform, image) in [(None, &one), (Some(other), &two)] {
        options.platform = platform;
        let report = load(&root.graph, Input::File(place.clone()), &options, &()).unwrap();
        assert_eq!(report.images[0].id, image.id());
    }
    fs::write(place.join("version"), "Directory Transport Version: 2.0\n").unwrap();
    let error = load(&root.graph, Input::File(place), &options, &()).unwrap_err();
    assert!(matches!(error, LoadError::DirVersion { .. }), "{error}");
}
