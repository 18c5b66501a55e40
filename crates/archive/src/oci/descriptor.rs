//! What a document says of something that lies elsewhere.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use lith_store::Digest;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{MediaType, Platform};
use crate::json::{self, Object};

/// The annotation with an image's full name, as containerd writes it.
pub const IMAGE_NAME: &str = "io.containerd.image.name";

/// The annotation with an image's name within its layout: a full name, or only a tag.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Digest, size and media type of a blob, and what else is said of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is said to be; content may say otherwise.
    pub media_type: MediaType,
    /// The digest of its bytes.
    pub digest: Digest,
    /// How many bytes it has.
    pub size: u64,
    /// Where else it can be had. Never fetched here.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub urls: Vec<String>,
    /// Further facts by name.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The platform it is for; only in an index.
    #[serde(default, deserialize_with = "object")]
    pub platform: Option<Platform>,
    /// What it is when it is no image.
    #[serde(default)]
    pub artifact_type: Option<String>,
    /// The bytes themselves, in base64, when they are few.
    #[serde(default)]
    pub data: Option<String>,
}

/// Go writes empty lists and maps as null.
pub(super) fn null_is_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn object<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: DeserializeOwned,
{
    let object: Option<Object<T>> = Option::deserialize(deserializer)?;
    Ok(object.map(|Object(value)| value))
}

impl Descriptor {
    /// Describes `size` bytes with this digest.
    pub fn new(media_type: MediaType, digest: Digest, size: u64) -> Descriptor {
        Descriptor {
            media_type,
            digest,
            size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            platform: None,
            artifact_type: None,
            data: None,
        }
    }

    /// The bytes that stand in the descriptor itself, when they are those that it describes.
    pub(crate) fn inline(&self) -> Option<Vec<u8>> {
        let bytes = BASE64.decode(self.data.as_ref()?).ok()?;
        let right = bytes.len() as u64 == self.size && Digest::of(&bytes) == self.digest;
        right.then_some(bytes)
    }

    /// The descriptor as JSON, members in the order of the specification.
    pub fn to_json(&self) -> String {
        let mut members = vec![
            ("mediaType", json::string(self.media_type.as_str())),
            ("digest", json::string(&self.digest.to_string())),
            ("size", self.size.to_string()),
        ];
        if !self.urls.is_empty() {
            let urls = self.urls.iter().map(|url| json::string(url));
            members.push(("urls", json::list(urls)));
        }
        if !self.annotations.is_empty() {
            members.push(("annotations", strings(&self.annotations)));
        }
        if let Some(platform) = &self.platform {
            members.push(("platform", platform.to_json()));
        }
        if let Some(artifact_type) = &self.artifact_type {
            members.push(("artifactType", json::string(artifact_type)));
        }
        if let Some(data) = &self.data {
            members.push(("data", json::string(data)));
        }
        json::object(members)
    }
}

/// An object of texts.
pub(super) fn strings(map: &BTreeMap<String, String>) -> String {
    json::object(
        map.iter()
            .map(|(key, value)| (key.as_str(), json::string(value))),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inline_bytes_count_only_when_they_are_right() {
        let mut descriptor = Descriptor::new(MediaType::OciConfig, Digest::of(b"{}"), 2);
        assert_eq!(descriptor.inline(), None);
        descriptor.data = Some("e30=".into());
        assert_eq!(descriptor.inline().as_deref(), Some(&b"{}"[..]));
        let read: Descriptor = json::parse_object(descriptor.to_json().as_bytes()).unwrap();
        assert_eq!(read, descriptor);
        for wrong in ["", "e30", "!!!!", "W10="] {
            descriptor.data = Some(wrong.into());
            assert_eq!(descriptor.inline(), None, "{wrong}");
        }
        descriptor.data = Some("e30=".into());
        descriptor.size = 3;
        assert_eq!(descriptor.inline(), None);
    }
}
