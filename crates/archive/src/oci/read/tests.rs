use std::collections::BTreeMap;

use lith_graph::Observer;
use lith_store::{DiffId, Digest};

use super::*;
use crate::members::{Blob, BlobError, Document as Member, FoundLayer};
use crate::oci::{Descriptor, IMAGE_NAME, Manifest, MediaType, REF_NAME};
use crate::source::{LayerData, LayerKey, Ticket};

/// Members in memory.
#[derive(Default)]
pub(crate) struct Fake {
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// Layers have passed; where true, as blobs.
    pub(crate) passed: Option<bool>,
}

impl Contents for Fake {
    fn document(&self, path: &[u8], _: &str) -> Result<Option<Member>, LoadError> {
        let bytes = self.files.get(std::str::from_utf8(path).unwrap());
        Ok(bytes.map(|bytes| Member {
            member: path.to_vec(),
            bytes: bytes.clone(),
        }))
    }

    fn layer(&self, path: &[u8], _: &str) -> Result<Option<FoundLayer>, LoadError> {
        let bytes = self.files.get(std::str::from_utf8(path).unwrap());
        Ok(bytes.map(|bytes| FoundLayer {
            member: path.to_vec(),
            data: match self.passed {
                None => LayerData::There(LayerKey(0)),
                Some(_) => LayerData::Passed(Ticket(0)),
            },
            size: bytes.len() as u64,
            passed: (self.passed == Some(true)).then(|| Blob::of(bytes)),
        }))
    }

    fn diff_ids(&self, _: &[FoundLayer], _: &dyn Observer) -> Result<Vec<DiffId>, LoadError> {
        Err(LoadError::Cancelled)
    }

    fn has(&self, name: &[u8]) -> bool {
        self.files.contains_key(std::str::from_utf8(name).unwrap())
    }

    fn names(&self) -> Result<Vec<Vec<u8>>, LoadError> {
        Ok(self
            .files
            .keys()
            .map(|name| name.as_bytes().to_vec())
            .collect())
    }
}

impl Fake {
    pub(crate) fn layout() -> Fake {
        let mut fake = Fake::default();
        let version = r#"{"imageLayoutVersion":"1.0.0"}"#;
        fake.files.insert("oci-layout".into(), version.into());
        fake
    }

    pub(crate) fn blob(&mut self, media_type: MediaType, bytes: &[u8]) -> Descriptor {
        let digest = Digest::of(bytes);
        let path = format!("blobs/sha256/{}", digest.hex());
        self.files.insert(path, bytes.to_vec());
        Descriptor::new(media_type, digest, bytes.len() as u64)
    }

    /// An image with one layer.
    pub(crate) fn image(&mut self, architecture: &str, layer: &[u8]) -> Descriptor {
        let diff_id = DiffId::of_bytes(layer);
        let config = format!(
            r#"{{"architecture":"{architecture}","os":"linux","rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#
        );
        let manifest = Manifest {
            media_type: MediaType::OciManifest,
            config: self.blob(MediaType::OciConfig, config.as_bytes()),
            layers: vec![self.blob(MediaType::OciLayer, layer)],
            annotations: BTreeMap::new(),
            artifact_type: None,
        };
        self.blob(MediaType::OciManifest, manifest.to_json().as_bytes())
    }

    pub(crate) fn index(&mut self, manifests: Vec<Descriptor>) -> Descriptor {
        let json = index_of(manifests);
        self.blob(MediaType::OciIndex, json.as_bytes())
    }

    fn finish(&mut self, manifests: Vec<Descriptor>) {
        self.files
            .insert("index.json".into(), index_of(manifests).into_bytes());
    }

    fn read(&self) -> Result<Description, LoadError> {
        self.read_with(|_| {})
    }

    fn read_with<'a>(&self, change: impl FnOnce(&mut Ask<'a>)) -> Result<Description, LoadError> {
        let mut ask = Ask {
            images: &[],
            entry: None,
            platform: None,
            all_platforms: false,
            cut_off: false,
            observer: &(),
        };
        change(&mut ask);
        let here: Platform = "linux/amd64".parse().unwrap();
        let ask = Ask {
            platform: ask.platform.or(Some(&here)),
            ..ask
        };
        describe(self, &ask)
    }

    fn error(&self) -> LoadError {
        self.read().unwrap_err()
    }
}

fn index_of(manifests: Vec<Descriptor>) -> String {
    let index = Index {
        media_type: MediaType::OciIndex,
        manifests,
        annotations: BTreeMap::new(),
    };
    index.to_json()
}

fn with(mut descriptor: Descriptor, key: &str, value: &str) -> Descriptor {
    descriptor.annotations.insert(key.into(), value.into());
    descriptor
}

fn platform(mut descriptor: Descriptor, text: &str) -> Descriptor {
    descriptor.platform = Some(text.parse().unwrap());
    descriptor
}

fn names(description: &Description) -> Vec<Vec<String>> {
    let familiar = |image: &SourceImage| image.names.iter().map(|name| name.familiar()).collect();
    description.images.iter().map(familiar).collect()
}

fn architecture(description: &Description) -> &str {
    description.images[0].facts.architecture.as_deref().unwrap()
}

#[test]
fn images_with_their_names() {
    let mut fake = Fake::layout();
    let (one, two, three) = (
        fake.image("amd64", b"1"),
        fake.image("amd64", b"2"),
        fake.image("arm64", b"3"),
    );
    fake.finish(vec![
        with(
            with(one.clone(), IMAGE_NAME, "docker.io/library/a:1"),
            REF_NAME,
            "1",
        ),
        with(one.clone(), REF_NAME, "localhost:5000/b:2"),
        with(two, REF_NAME, "latest"),
        three,
    ]);
    let description = fake.read().unwrap();
    assert_eq!(
        names(&description),
        [vec!["a:1", "localhost:5000/b:2"], vec![], vec![]]
    );
    assert_eq!(description.warnings.len(), 1);
    assert!(description.warnings[0].contains("\"latest\" names no repository"));
    let image = &description.images[0];
    let manifest = image.manifest.as_ref().unwrap();
    assert_eq!(manifest.digest, one.digest);
    assert_eq!(Digest::of(&manifest.bytes), one.digest);
    let blob = image.layers[0].blob.as_ref().unwrap();
    assert_eq!(blob.expected, Blob::of(b"1"));
}

#[test]
fn one_by_what_the_index_calls_it_or_by_its_name() {
    let mut fake = Fake::layout();
    let (one, two) = (fake.image("amd64", b"1"), fake.image("amd64", b"2"));
    fake.finish(vec![
        with(one, REF_NAME, "docker.io/library/a:1"),
        with(two, REF_NAME, "latest"),
    ]);
    let read = |text: &'static str| fake.read_with(|ask| ask.entry = Some(text));
    assert_eq!(names(&read("a:1").unwrap()), [["a:1"]]);
    assert_eq!(names(&read("docker.io/library/a:1").unwrap()), [["a:1"]]);
    assert_eq!(read("latest").unwrap().images.len(), 1);
    let LoadError::NotInArchive { available, .. } = read("b").unwrap_err() else {
        panic!()
    };
    assert_eq!(available, ["docker.io/library/a:1", "latest"]);
    // What is not asked for need not be whole.
    let wanted = ["a".to_owned()];
    let described = fake.read_with(|ask| ask.images = &wanted).unwrap();
    assert_eq!(described.images.len(), 1);
}

#[test]
fn platforms_of_nested_indexes() {
    let mut fake = Fake::layout();
    let list = ["amd64", "arm64"].map(|architecture| {
        let image = fake.image(architecture, architecture.as_bytes());
        platform(image, &format!("linux/{architecture}"))
    });
    // Says nothing: its config does.
    let ppc = fake.image("ppc64le", b"ppc64le");
    let attested = platform(fake.image("unknown", b"x"), "unknown/unknown");
    let inner = fake.index(list.into_iter().chain([attested, ppc]).collect());
    let outer = fake.index(vec![inner]);
    fake.finish(vec![with(outer, REF_NAME, "m:1")]);
    assert_eq!(architecture(&fake.read().unwrap()), "amd64");
    for wanted in ["arm64", "ppc64le"] {
        let platform = format!("linux/{wanted}").parse().unwrap();
        let described = fake
            .read_with(|ask| ask.platform = Some(&platform))
            .unwrap();
        assert_eq!(architecture(&described), wanted);
        assert_eq!(names(&described), [["m:1"]]);
    }
    let other = "linux/s390x".parse().unwrap();
    let error = fake
        .read_with(|ask| ask.platform = Some(&other))
        .unwrap_err();
    let LoadError::NoPlatform { available, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(available, ["linux/amd64", "linux/arm64", "linux/ppc64le"]);
}

#[test]
fn one_name_for_several_platforms() {
    let mut fake = Fake::layout();
    let all = ["arm64", "amd64"].map(|architecture| {
        let image = fake.image(architecture, architecture.as_bytes());
        with(
            platform(image, &format!("linux/{architecture}")),
            REF_NAME,
            "m:1",
        )
    });
    fake.finish(all.to_vec());
    let described = fake.read().unwrap();
    assert_eq!(described.images.len(), 1);
    assert_eq!(architecture(&described), "amd64");
}

#[test]
fn a_single_manifest_is_taken_whatever_it_is_for() {
    let mut fake = Fake::layout();
    let one = platform(fake.image("s390x", b"1"), "linux/s390x");
    fake.finish(vec![one]);
    assert_eq!(architecture(&fake.read().unwrap()), "s390x");
}

#[test]
fn what_is_no_image_is_left_out() {
    let mut fake = Fake::layout();
    let artifact = Manifest {
        media_type: MediaType::OciManifest,
        config: fake.blob(MediaType::new("application/vnd.oci.empty.v1+json"), b"{}"),
        layers: vec![],
        annotations: BTreeMap::new(),
        artifact_type: Some("application/vnd.example".into()),
    };
    let artifact = fake.blob(MediaType::OciManifest, artifact.to_json().as_bytes());
    let chart = fake.blob(MediaType::new("application/x-chart"), b"chart");
    fake.finish(vec![artifact.clone(), chart.clone()]);
    let LoadError::NoImages { left_out } = fake.error() else {
        panic!()
    };
    assert!(
        left_out[0].contains("application/vnd.example"),
        "{left_out:?}"
    );
    assert!(left_out[1].contains("application/x-chart"), "{left_out:?}");
    let image = fake.image("amd64", b"1");
    fake.finish(vec![artifact, chart, image]);
    let described = fake.read().unwrap();
    assert_eq!((described.images.len(), described.warnings.len()), (1, 2));
    fake.finish(vec![]);
    assert!(matches!(fake.error(), LoadError::NoImages { left_out } if left_out.is_empty()));
}

#[test]
fn bytes_are_what_descriptors_say() {
    let mut fake = Fake::layout();
    let image = fake.image("amd64", b"layer");
    let layer = Blob::of(b"layer");
    let path = format!("blobs/sha256/{}", layer.digest.hex());
    fake.finish(vec![image.clone()]);
    let size = |error| match error {
        LoadError::Blob {
            source: BlobError::Size { expected, actual },
            ..
        } => (expected, actual),
        other => panic!("{other:?}"),
    };
    fake.files.insert(path.clone(), b"longer".to_vec());
    assert_eq!(size(fake.error()), (5, 6));
    // Of what has passed, the digest is known.
    fake.files.insert(path.clone(), b"lAyer".to_vec());
    assert!(
        fake.read().is_ok(),
        "the content is checked when it is read"
    );
    fake.passed = Some(true);
    let error = fake.error();
    let LoadError::Blob {
        source: BlobError::Digest { expected, .. },
        ..
    } = error
    else {
        panic!("{error}")
    };
    assert_eq!(expected, layer.digest);
    fake.passed = Some(false);
    assert!(matches!(fake.error(), LoadError::Unverified { .. }));
    fake.passed = None;
    // The manifest: size, then content.
    let mut wrong = image.clone();
    wrong.size += 1;
    fake.finish(vec![wrong]);
    assert_eq!(size(fake.error()), (image.size + 1, image.size));
    let path = format!("blobs/sha256/{}", image.digest.hex());
    let changed = vec![b' '; image.size as usize];
    fake.finish(vec![image.clone()]);
    fake.files.insert(path.clone(), changed);
    assert!(matches!(fake.error(), LoadError::Blob { .. }));
    fake.files.remove(&path);
    assert!(matches!(fake.error(), LoadError::MissingMember { .. }));
    let mut huge = image;
    huge.size = u64::MAX;
    fake.finish(vec![huge]);
    assert!(matches!(
        fake.error(),
        LoadError::TooLarge { size: u64::MAX, .. }
    ));
}

#[test]
fn documents_are_of_the_kind_that_was_promised() {
    let mut fake = Fake::layout();
    let mut image = fake.image("amd64", b"1");
    image.media_type = MediaType::OciIndex;
    fake.finish(vec![image]);
    assert!(matches!(fake.error(), LoadError::OtherKind { .. }));
    let image = fake.image("amd64", b"1");
    let mut index = fake.index(vec![image.clone()]);
    index.media_type = MediaType::OciManifest;
    fake.finish(vec![index]);
    assert!(matches!(fake.error(), LoadError::OtherKind { .. }));
    let manifest = fake.files[&format!("blobs/sha256/{}", image.digest.hex())].clone();
    fake.files.insert("index.json".into(), manifest);
    assert!(matches!(fake.error(), LoadError::OtherKind { .. }));
    fake.files.insert(
        "index.json".into(),
        br#"{"schemaVersion":2,"manifests":[],"layers":[]}"#.to_vec(),
    );
    assert!(matches!(fake.error(), LoadError::Manifest { .. }));
    fake.files.remove("index.json");
    assert!(matches!(fake.error(), LoadError::MissingMember { .. }));
    fake.files.insert(
        "oci-layout".into(),
        br#"{"imageLayoutVersion":"2.0.0"}"#.to_vec(),
    );
    assert!(matches!(fake.error(), LoadError::LayoutVersion { found } if found == "2.0.0"));
}

#[test]
fn indexes_are_not_nested_without_end() {
    let mut fake = Fake::layout();
    let mut index = fake.image("amd64", b"1");
    for _ in 0..16 {
        index = fake.index(vec![index]);
    }
    fake.finish(vec![index.clone()]);
    assert!(fake.read().is_ok());
    let deeper = fake.index(vec![index]);
    fake.finish(vec![deeper]);
    assert!(matches!(fake.error(), LoadError::TooMany { limit: 16, .. }));
    // 2^15 ways to one manifest.
    let mut index = fake.image("amd64", b"1");
    for _ in 0..15 {
        index = fake.index(vec![index.clone(), index]);
    }
    fake.finish(vec![index]);
    assert!(matches!(
        fake.error(),
        LoadError::TooMany { limit: 10_000, .. }
    ));
    // An index that lists itself cannot have that digest.
    let digest = Digest::of(b"itself");
    let itself = Descriptor::new(MediaType::OciIndex, digest, index_of(vec![]).len() as u64);
    let json = index_of(vec![itself.clone()]);
    let itself = Descriptor::new(MediaType::OciIndex, digest, json.len() as u64);
    fake.files
        .insert(format!("blobs/sha256/{}", digest.hex()), json.into_bytes());
    fake.finish(vec![itself]);
    assert!(matches!(fake.error(), LoadError::Blob { .. }));
}

#[test]
fn inline_bytes_serve_for_blobs_that_are_not_there() {
    use base64::Engine as _;
    let mut fake = Fake::layout();
    let mut image = fake.image("amd64", b"1");
    let path = format!("blobs/sha256/{}", image.digest.hex());
    let manifest = fake.files.remove(&path).unwrap();
    image.data = Some(base64::engine::general_purpose::STANDARD.encode(manifest));
    fake.finish(vec![image.clone()]);
    assert_eq!(fake.read().unwrap().images.len(), 1);
    image.data = Some("e30=".into());
    fake.finish(vec![image]);
    assert!(matches!(fake.error(), LoadError::MissingMember { .. }));
}
