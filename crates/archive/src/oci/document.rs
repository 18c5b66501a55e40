//! Manifests and indexes.
//!
//! A document that one tool reads as a manifest and another as an index can show different
//! images to whoever checks and to whoever runs it, so what could be both is refused: members
//! of both kinds, media types that disagree with the members, keys that only some parsers
//! would take for the known ones.

use std::collections::BTreeMap;

use lith_store::Digest;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::descriptor::{null_is_empty, strings};
use super::{Descriptor, Kind, MediaType};
pub use crate::json::MAX_DOCUMENT;
use crate::json::{self, Object};

/// The only version of the documents.
const SCHEMA_VERSION: u64 = 2;

/// What an image consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// What it says it is, or what its members make it when it does not say.
    pub media_type: MediaType,
    /// The image's config.
    pub config: Descriptor,
    /// Its layers, bottom first.
    pub layers: Vec<Descriptor>,
    /// Further facts by name.
    pub annotations: BTreeMap<String, String>,
    /// What it is when it is no image.
    pub artifact_type: Option<String>,
}

/// A list of manifests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// What it says it is, or what its members make it when it does not say.
    pub media_type: MediaType,
    /// The manifests, or further indexes.
    pub manifests: Vec<Descriptor>,
    /// Further facts by name.
    pub annotations: BTreeMap<String, String>,
}

/// A manifest or an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// One image.
    Manifest(Box<Manifest>),
    /// Several.
    Index(Index),
}

/// Why bytes are neither a manifest nor an index that can be trusted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// Larger than any such document.
    #[error("it has {size} bytes, more than the {MAX_DOCUMENT} that are read")]
    TooLarge {
        /// Its size.
        size: u64,
    },
    /// No JSON, or not of the right shape; digests that are none are told here, too.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// A version that is not read here; 1 is that of Docker's oldest registries.
    #[error("its schemaVersion is {}, expected {SCHEMA_VERSION}", shown(found.as_ref()))]
    SchemaVersion {
        /// What stands there, if anything.
        found: Option<u64>,
    },
    /// Members of a manifest and of an index.
    #[error("it has both {first:?} and {second:?}, so it could be read as two different things")]
    Ambiguous {
        /// A member of one kind.
        first: &'static str,
        /// A member of the other.
        second: &'static str,
    },
    /// A key that some parsers take for another one.
    #[error("its member {found:?} is not written {expected:?}")]
    Misspelt {
        /// What stands there.
        found: String,
        /// What it could be taken for.
        expected: &'static str,
    },
    /// Neither members of a manifest nor of an index.
    #[error("it is neither a manifest nor an index: it has no {missing:?}")]
    Incomplete {
        /// What is missing.
        missing: &'static str,
    },
    /// The media type says one thing and the members another.
    #[error("its mediaType is {found}, which does not fit its members")]
    MediaType {
        /// What it says.
        found: MediaType,
    },
}

fn shown(version: Option<&u64>) -> String {
    version.map_or_else(|| "missing".to_owned(), u64::to_string)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: Option<u64>,
    media_type: Option<MediaType>,
    config: Option<Object<Descriptor>>,
    layers: Option<Vec<Object<Descriptor>>>,
    manifests: Option<Vec<Object<Descriptor>>>,
    #[serde(default, deserialize_with = "null_is_empty")]
    annotations: BTreeMap<String, String>,
    artifact_type: Option<String>,
}

/// Members that decide what a document is.
const KNOWN: [&str; 5] = [
    "schemaVersion",
    "mediaType",
    "config",
    "layers",
    "manifests",
];

impl Document {
    /// Reads a document.
    ///
    /// # Errors
    /// Whatever is not clearly one of the two.
    pub fn parse(bytes: &[u8]) -> Result<Document, DocumentError> {
        let size = bytes.len() as u64;
        if size > MAX_DOCUMENT {
            return Err(DocumentError::TooLarge { size });
        }
        let keys: BTreeMap<String, &RawValue> = serde_json::from_slice(bytes)?;
        check_keys(&keys)?;
        let raw: Raw = json::parse_object(bytes)?;
        if raw.schema_version != Some(SCHEMA_VERSION) {
            let found = raw.schema_version;
            return Err(DocumentError::SchemaVersion { found });
        }
        if keys.contains_key("manifests") {
            index(raw).map(Document::Index)
        } else {
            manifest(raw).map(|manifest| Document::Manifest(Box::new(manifest)))
        }
    }
}

fn check_keys(keys: &BTreeMap<String, &RawValue>) -> Result<(), DocumentError> {
    for key in keys.keys() {
        let close = KNOWN
            .iter()
            .find(|known| *known != key && known.eq_ignore_ascii_case(key));
        if let Some(expected) = close {
            return Err(DocumentError::Misspelt {
                found: key.clone(),
                expected,
            });
        }
    }
    // `fsLayers` is how Docker's schema 1 lists layers.
    let exclude = [
        ("manifests", "layers"),
        ("manifests", "config"),
        ("manifests", "fsLayers"),
        ("layers", "fsLayers"),
    ];
    let both = exclude
        .iter()
        .find(|(first, second)| keys.contains_key(*first) && keys.contains_key(*second));
    match both {
        Some((first, second)) => Err(DocumentError::Ambiguous { first, second }),
        None => Ok(()),
    }
}

fn index(raw: Raw) -> Result<Index, DocumentError> {
    Ok(Index {
        media_type: media_type(raw.media_type, Kind::Index, MediaType::OciIndex)?,
        manifests: plain(raw.manifests),
        annotations: raw.annotations,
    })
}

fn manifest(raw: Raw) -> Result<Manifest, DocumentError> {
    let missing = |missing| DocumentError::Incomplete { missing };
    let config = raw.config.ok_or(missing("config"))?.0;
    let implied = match config.media_type {
        MediaType::DockerConfig => MediaType::DockerManifest,
        _ => MediaType::OciManifest,
    };
    Ok(Manifest {
        media_type: media_type(raw.media_type, Kind::Manifest, implied)?,
        config,
        layers: plain(raw.layers),
        annotations: raw.annotations,
        artifact_type: raw.artifact_type,
    })
}

/// Null is how some engines write that there are none.
fn plain(list: Option<Vec<Object<Descriptor>>>) -> Vec<Descriptor> {
    let list = list.unwrap_or_default();
    list.into_iter()
        .map(|Object(descriptor)| descriptor)
        .collect()
}

fn media_type(
    said: Option<MediaType>,
    kind: Kind,
    implied: MediaType,
) -> Result<MediaType, DocumentError> {
    match said {
        Some(found) if found.as_str().is_empty() => Ok(implied),
        Some(found) if found.kind() != kind => Err(DocumentError::MediaType { found }),
        Some(found) => Ok(found),
        None => Ok(implied),
    }
}

impl Manifest {
    /// The manifest as JSON without a final newline.
    pub fn to_json(&self) -> String {
        let mut members = head(&self.media_type);
        if let Some(artifact_type) = &self.artifact_type {
            members.push(("artifactType", json::string(artifact_type)));
        }
        members.push(("config", self.config.to_json()));
        members.push(("layers", descriptors(&self.layers)));
        tail(members, &self.annotations)
    }
}

impl Index {
    /// The index as JSON without a final newline.
    pub fn to_json(&self) -> String {
        let mut members = head(&self.media_type);
        members.push(("manifests", descriptors(&self.manifests)));
        tail(members, &self.annotations)
    }

    /// The manifest with this digest, when it is listed.
    pub fn find(&self, digest: &Digest) -> Option<&Descriptor> {
        self.manifests.iter().find(|entry| entry.digest == *digest)
    }
}

fn head(media_type: &MediaType) -> Vec<(&'static str, String)> {
    vec![
        ("schemaVersion", SCHEMA_VERSION.to_string()),
        ("mediaType", json::string(media_type.as_str())),
    ]
}

fn descriptors(list: &[Descriptor]) -> String {
    json::list(list.iter().map(Descriptor::to_json))
}

fn tail(
    mut members: Vec<(&'static str, String)>,
    annotations: &BTreeMap<String, String>,
) -> String {
    if !annotations.is_empty() {
        members.push(("annotations", strings(annotations)));
    }
    json::object(members)
}

#[cfg(test)]
mod tests {
    use super::super::Platform;
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn config() -> String {
        format!(
            r#"{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{DIGEST}","size":7}}"#
        )
    }

    fn error(text: &str) -> DocumentError {
        Document::parse(text.as_bytes()).unwrap_err()
    }

    /// Written by umoci 0.4.7 and skopeo 1.9.3, shortened.
    #[test]
    fn what_others_write() {
        let umoci = format!(r#"{{"schemaVersion":2,"config":{},"layers":[]}}"#, config());
        let Document::Manifest(manifest) = Document::parse(umoci.as_bytes()).unwrap() else {
            panic!("no manifest")
        };
        assert_eq!(manifest.media_type, MediaType::OciManifest);
        assert_eq!(manifest.config.size, 7);
        let skopeo = format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json",
            "digest":"{DIGEST}","size":11,"annotations":{{"{REF_NAME}":"a:1"}},
            "platform":{{"architecture":"arm","os":"linux","variant":"v7"}}}}]}}"#,
            REF_NAME = super::super::REF_NAME,
        );
        let Document::Index(index) = Document::parse(skopeo.as_bytes()).unwrap() else {
            panic!("no index")
        };
        assert_eq!(index.media_type, MediaType::OciIndex);
        let entry = index.find(&DIGEST.parse().unwrap()).unwrap();
        assert_eq!(
            entry.platform,
            Some("linux/arm/v7".parse::<Platform>().unwrap())
        );
        assert_eq!(entry.annotations[super::super::REF_NAME], "a:1");
    }

    #[test]
    fn lists_may_be_null() {
        let text = format!(
            r#"{{"schemaVersion":2,"config":{},"layers":null,"annotations":null}}"#,
            config()
        );
        assert!(Document::parse(text.as_bytes()).is_ok());
        let parsed = Document::parse(br#"{"schemaVersion":2,"manifests":null}"#).unwrap();
        assert!(matches!(parsed, Document::Index(index) if index.manifests.is_empty()));
    }

    #[test]
    fn two_things_at_once_are_refused() {
        let config = config();
        for text in [
            r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#.to_owned(),
            r#"{"schemaVersion":2,"manifests":null,"layers":null}"#.to_owned(),
            format!(r#"{{"schemaVersion":2,"manifests":[],"config":{config}}}"#),
            r#"{"schemaVersion":2,"manifests":[],"fsLayers":[]}"#.to_owned(),
            format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"fsLayers":[]}}"#),
        ] {
            assert!(
                matches!(error(&text), DocumentError::Ambiguous { .. }),
                "{text}"
            );
        }
        for text in [
            format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"Manifests":[]}}"#),
            format!(r#"{{"schemaVersion":2,"config":{config},"LAYERS":[]}}"#),
        ] {
            assert!(
                matches!(error(&text), DocumentError::Misspelt { .. }),
                "{text}"
            );
        }
        let list = MediaType::DockerList;
        for text in [
            format!(r#"{{"schemaVersion":2,"mediaType":"{list}","config":{config},"layers":[]}}"#),
            format!(
                r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[]}}"#,
                MediaType::OciManifest
            ),
            r#"{"schemaVersion":2,"mediaType":"text/plain","manifests":[]}"#.to_owned(),
        ] {
            assert!(
                matches!(error(&text), DocumentError::MediaType { .. }),
                "{text}"
            );
        }
        // The same member twice.
        let twice = r#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#;
        assert!(matches!(error(twice), DocumentError::Json(_)));
    }

    #[test]
    fn versions_sizes_and_digests_are_checked() {
        let version = |text: &str| match error(text) {
            DocumentError::SchemaVersion { found } => found,
            other => panic!("{other}"),
        };
        assert_eq!(version(r#"{"manifests":[]}"#), None);
        assert_eq!(version(r#"{"schemaVersion":1,"fsLayers":[]}"#), Some(1));
        assert!(matches!(
            error(r#"{"schemaVersion":2}"#),
            DocumentError::Incomplete { missing: "config" }
        ));
        let large = vec![b' '; MAX_DOCUMENT as usize + 1];
        assert!(matches!(
            Document::parse(&large),
            Err(DocumentError::TooLarge { .. })
        ));
        for descriptor in [
            r#"{"mediaType":"x","digest":"sha256:../../etc/passwd","size":1}"#.to_owned(),
            r#"{"mediaType":"x","digest":"sha512:00","size":1}"#.to_owned(),
            format!(r#"{{"mediaType":"x","digest":"{DIGEST}","size":-1}}"#),
            format!(r#"{{"mediaType":"x","digest":"{DIGEST}","size":1.5}}"#),
            format!(r#"{{"mediaType":"x","digest":"{DIGEST}"}}"#),
            format!(r#"{{"digest":"{DIGEST}","size":1}}"#),
            format!(r#"{{"mediaType":"x","digest":"{DIGEST}","size":1,"annotations":{{"a":1}}}}"#),
            format!(r#"["x","{DIGEST}",1]"#),
            format!(
                r#"{{"mediaType":"x","digest":"{DIGEST}","size":1,"platform":["amd64","linux"]}}"#
            ),
        ] {
            let text = format!(r#"{{"schemaVersion":2,"manifests":[{descriptor}]}}"#);
            assert!(matches!(error(&text), DocumentError::Json(_)), "{text}");
        }
        let sha512 = format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"x","digest":"sha512:{}","size":1}}]}}"#,
            "0".repeat(128)
        );
        let told = error(&sha512).to_string();
        assert!(told.contains("\"sha512\" is not supported"), "{told}");
        for text in ["", "[]", "null", "{", "1"] {
            assert!(matches!(error(text), DocumentError::Json(_)), "{text}");
        }
    }

    #[test]
    fn written_is_read() {
        let digest = Digest::of(b"");
        let mut layer = Descriptor::new(MediaType::OciLayerZstd, digest, 3);
        layer.urls = vec!["https://example.org/<x>".into()];
        let mut entry = Descriptor::new(MediaType::OciManifest, digest, 3);
        entry.annotations.insert("a".into(), "b\u{1}".into());
        entry.platform = Some("linux/arm64/v8".parse().unwrap());
        entry.artifact_type = Some("t".into());
        let manifest = Manifest {
            media_type: MediaType::OciManifest,
            config: Descriptor::new(MediaType::OciConfig, digest, 7),
            layers: vec![layer],
            annotations: [("k".to_owned(), "v".to_owned())].into(),
            artifact_type: None,
        };
        let index = Index {
            media_type: MediaType::OciIndex,
            manifests: vec![entry],
            annotations: BTreeMap::new(),
        };
        let read = Document::parse(manifest.to_json().as_bytes()).unwrap();
        assert_eq!(read, Document::Manifest(Box::new(manifest)));
        let read = Document::parse(index.to_json().as_bytes()).unwrap();
        assert_eq!(read, Document::Index(index.clone()));
        assert!(
            index
                .to_json()
                .starts_with(r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index"#)
        );
    }

    /// Every cut and every changed byte is an error or a document, never a panic.
    #[test]
    fn damage_is_survived() {
        let text = format!(r#"{{"schemaVersion":2,"config":{},"layers":[]}}"#, config());
        for end in 0..text.len() {
            assert!(Document::parse(&text.as_bytes()[..end]).is_err());
        }
        for index in 0..text.len() {
            for byte in [0, b'"', b'{', 0xff, b'9'] {
                let mut bytes = text.clone().into_bytes();
                bytes[index] = byte;
                let _ = Document::parse(&bytes);
            }
        }
    }
}
