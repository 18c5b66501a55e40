//! `index.json` beside `manifest.json`, as engines since docker 25 write it: it adds what it
//! can, and decides nothing.

use lith_archive::{LoadError, LoadReport};
use lith_store::{Digest, ImageRecord};
use serde_json::{Value, json};

use crate::support::{Image, Root, Tar, gzip};

const NAME: &str = "example.com/app:1";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

fn blob(bytes: &[u8]) -> String {
    format!("blobs/sha256/{}", Digest::of(bytes).hex())
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": Digest::of(bytes).to_string(), "size": bytes.len() })
}

/// A docker-archive in an OCI layout; what is not said is as it should be.
struct Made {
    image: Image,
    /// As they stand in the archive.
    layers: Vec<Vec<u8>>,
    /// The layers that the OCI manifest lists.
    listed: Vec<Value>,
    tags: Value,
    sources: Value,
    /// Put in the index before and after the manifest.
    before: Vec<Value>,
    after: Vec<Value>,
    annotations: Value,
    more: Vec<Vec<u8>>,
    /// In the place of the whole index.
    index: Option<String>,
}

impl Made {
    fn new() -> Made {
        Made::of(Image::new(&["a", "b"]), false)
    }

    fn of(image: Image, packed: bool) -> Made {
        let layers: Vec<Vec<u8>> = match packed {
            true => image.layers.iter().map(|layer| gzip(layer)).collect(),
            false => image.layers.clone(),
        };
        let media_type = if packed {
            &format!("{LAYER}+gzip")
        } else {
            LAYER
        };
        let listed = layers.iter().map(|layer| descriptor(media_type, layer));
        Made {
            listed: listed.collect(),
            layers,
            image,
            tags: json!([NAME]),
            sources: Value::Null,
            before: Vec::new(),
            after: Vec::new(),
            annotations: json!({ "io.containerd.image.name": NAME }),
            more: Vec::new(),
            index: None,
        }
    }

    fn manifest(&self) -> Vec<u8> {
        let config = descriptor(
            "application/vnd.oci.image.config.v1+json",
            &self.image.config,
        );
        json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": self.listed })
            .to_string()
            .into_bytes()
    }

    fn archive(&self) -> Vec<u8> {
        let manifest = self.manifest();
        let mut entry = descriptor(MANIFEST, &manifest);
        entry["annotations"] = self.annotations.clone();
        let mut entries = self.before.clone();
        entries.push(entry);
        entries.extend(self.after.clone());
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries });
        let index = self.index.clone().unwrap_or(index.to_string());
        let paths: Vec<String> = self.layers.iter().map(|layer| blob(layer)).collect();
        let item = json!([{
            "Config": blob(&self.image.config), "RepoTags": self.tags, "Layers": paths,
            "LayerSources": self.sources,
        }]);
        let mut tar = Tar::new();
        let blobs = self.layers.iter().chain(&self.more);
        for bytes in blobs.chain([&self.image.config, &manifest]) {
            tar.file(&blob(bytes), bytes);
        }
        tar.file("index.json", index.as_bytes());
        tar.file("manifest.json", item.to_string().as_bytes());
        tar.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
        tar.finish()
    }

    /// Loads from a file and from a pipe, and lets `check` look.
    fn both(&self, check: impl Fn(&Root, &LoadReport, &ImageRecord)) {
        let archive = self.archive();
        for stream in [false, true] {
            let root = Root::new();
            let report = match stream {
                false => root.load_file(&archive),
                true => root.load_stream(&archive),
            };
            let report = report.unwrap();
            assert_eq!(report.images.len(), 1);
            assert_eq!(report.images[0].id, self.image.id());
            let record = root.graph.store().image(&self.image.id());
            check(&root, &report, &record.unwrap().unwrap());
        }
    }

    /// Loaded, but without what the index has, and with so many warnings.
    fn is_only_docker(&self, warnings: usize) {
        self.both(|_, report, record| {
            assert!(record.manifest.is_none());
            assert_eq!(report.warnings.len(), warnings, "{:?}", report.warnings);
            assert_eq!(report.images[0].names[0].to_string(), NAME);
        });
    }
}

#[test]
fn the_manifest_is_kept() {
    for packed in [false, true] {
        let made = Made::of(Image::new(&["a", "b"]), packed);
        made.both(|_, report, record| {
            assert_eq!(record.manifest.as_deref(), Some(&made.manifest()[..]));
            assert!(report.warnings.is_empty(), "{:?}", report.warnings);
        });
    }
}

#[test]
fn broken_indexes_add_nothing() {
    let mut made = Made::new();
    for (index, warnings) in [
        (r#"{"schemaVersion":2,"manifests":null}"#, 0),
        (r#"{"schemaVersion":2,"manifests":[]}"#, 0),
        ("", 1),
        ("null", 1),
        ("{}", 1),
        (r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#, 1),
        (r#"{"schemaVersion":2,"manifests":[{"digest":"../x"}]}"#, 1),
    ] {
        made.index = Some(index.to_owned());
        made.is_only_docker(warnings);
    }
    made.index = Some(" ".repeat(5 << 20));
    made.is_only_docker(1);
}

#[test]
fn manifests_that_disagree_are_not_taken() {
    let mut made = Made::new();
    made.listed.reverse();
    made.is_only_docker(1);
    made.listed.clear();
    made.is_only_docker(1);
    // One of another image, which is not there.
    let mut made = Made::new();
    let other = Made::of(Image::new(&["c"]), false).manifest();
    made.index = Some(
        json!({ "schemaVersion": 2, "manifests": [descriptor(MANIFEST, &other)] }).to_string(),
    );
    made.is_only_docker(0);
    made.more = vec![other];
    made.is_only_docker(0);
}

#[test]
fn what_is_no_image_is_skipped() {
    let mut made = Made::new();
    let mut attestation = descriptor(MANIFEST, b"{}");
    attestation["platform"] = json!({ "architecture": "unknown", "os": "unknown" });
    made.before.push(attestation);
    // For another platform, and not there.
    let mut elsewhere = descriptor(MANIFEST, b"not there");
    elsewhere["platform"] = json!({ "architecture": "s390x", "os": "linux" });
    made.after.push(elsewhere);
    made.both(|_, report, record| {
        assert!(record.manifest.is_some());
        assert!(report.warnings.is_empty(), "{:?}", report.warnings);
    });
    // A blob that is not what its name says.
    let mut damaged = descriptor(MANIFEST, b"{ }");
    damaged["size"] = json!(9);
    made.more.push(b"{ }".to_vec());
    made.after.push(damaged);
    made.both(|_, report, record| {
        assert!(record.manifest.is_some());
        assert_eq!(report.warnings.len(), 1, "{:?}", report.warnings);
    });
}

/// As newer engines save an image for several platforms: one index within the other.
#[test]
fn nested_indexes() {
    let mut made = Made::new();
    let mut inner = descriptor(MANIFEST, &made.manifest());
    inner["platform"] = json!({ "architecture": "amd64", "os": "linux" });
    let inner = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [inner] });
    let inner = inner.to_string().into_bytes();
    made.index =
        Some(json!({ "schemaVersion": 2, "manifests": [descriptor(INDEX, &inner)] }).to_string());
    made.more = vec![inner];
    made.both(|_, _, record| assert!(record.manifest.is_some()));
}

#[test]
fn names_only_where_the_manifest_has_none() {
    let mut made = Made::new();
    made.annotations = json!({ "io.containerd.image.name": "example.com/other:2" });
    made.both(|_, report, _| {
        let names = &report.images[0].names;
        assert_eq!(names.len(), 1);
        assert_eq!(names[0].to_string(), NAME);
    });
    made.tags = Value::Null;
    made.both(|_, report, _| {
        assert_eq!(report.images[0].names[0].to_string(), "example.com/other:2");
    });
    // A tag alone is no name.
    made.annotations = json!({ "org.opencontainers.image.ref.name": "latest" });
    made.both(|_, report, _| assert!(report.images[0].names.is_empty()));
}

/// A blob whose bytes make the right layer, but are others than the index promises.
#[test]
fn blobs_are_what_their_names_say() {
    let image = Image::new(&["a"]);
    let mut made = Made::of(image, false);
    let mut longer = made.layers[0].clone();
    longer.extend([0; 512]);
    let bytes = made.archive();
    // The same digest as a name, other bytes: the config's diff ID tells.
    let root = Root::new();
    let mut changed = bytes.clone();
    changed[512 + 600] ^= 1;
    assert!(matches!(
        root.load_file(&changed).unwrap_err(),
        LoadError::Layer { .. } | LoadError::Blob { .. }
    ));
    root.load_stream(&changed).unwrap_err();
    root.assert_empty("changed");
    made.listed[0]["size"] = json!(longer.len());
    made.is_only_docker(1);
}

#[test]
fn layers_that_live_elsewhere() {
    let image = Image::new(&["a", "b"]);
    let mut made = Made::of(image.clone(), false);
    let gone = made.layers.remove(1);
    let mut source = descriptor(
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        b"x",
    );
    source["urls"] = json!(["https://example.com/foreign"]);
    made.sources = json!({ image.diff_id(1).to_string(): source });
    // It has a path, but nothing is there.
    let archive = {
        let mut tar = Tar::new();
        for (name, (_, _, content)) in crate::support::members(&made.archive()) {
            if name != "manifest.json" {
                tar.file(&name, &content);
            }
        }
        let item = json!([{
            "Config": blob(&image.config), "RepoTags": [NAME],
            "Layers": [blob(&image.layers[0]), blob(&gone)], "LayerSources": made.sources,
        }]);
        tar.file("manifest.json", item.to_string().as_bytes());
        tar.finish()
    };
    let root = Root::new();
    for error in [
        root.load_file(&archive).unwrap_err(),
        root.load_stream(&archive).unwrap_err(),
    ] {
        let told = error.to_string();
        assert!(told.contains("https://example.com/foreign"), "{told}");
        assert!(told.contains(&image.diff_id(1).to_string()), "{told}");
        assert!(told.contains("never"), "{told}");
        root.assert_empty("foreign");
    }
    // When the store has it, nothing has to be fetched.
    root.load_file(&image.archive(&["example.com/whole:1"]))
        .unwrap();
    root.load_file(&archive).unwrap();
}
