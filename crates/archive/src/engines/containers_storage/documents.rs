//! `images.json` and `layers.json`: bytes to values, no files.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json;

/// One image of an `images.json`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Image {
    pub(super) id: String,
    /// Digest of its manifest.
    pub(super) digest: Option<String>,
    pub(super) names: Option<Vec<String>>,
    /// Its top layer; none for an image without layers.
    pub(super) layer: Option<String>,
    #[serde(rename = "big-data-digests")]
    pub(super) digests: Option<std::collections::BTreeMap<String, String>>,
}

/// One layer of a `layers.json`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Layer {
    pub(super) id: String,
    pub(super) parent: Option<String>,
    /// Digest of the uncompressed tar.
    pub(super) diff_digest: Option<String>,
    /// Digest of a table of contents: the layer was fetched in parts.
    pub(super) toc_digest: Option<String>,
}

impl Image {
    /// Digests of its manifests.
    pub(super) fn manifests(&self) -> impl Iterator<Item = &str> {
        let big = self.digests.iter().flatten();
        let big = big.filter(|(name, _)| name.starts_with("manifest"));
        big.map(|(_, digest)| digest.as_str())
            .chain(self.digest.as_deref())
    }
}

/// Reads a list of objects; null is an empty one.
pub(super) fn parse<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> Result<Vec<T>, serde_json::Error> {
    let items: Option<Vec<&RawValue>> = serde_json::from_slice(bytes)?;
    let items = items.unwrap_or_default().into_iter();
    items
        .map(|item| json::parse_object(item.get().as_bytes()))
        .collect()
}

/// The file that holds an image's big data of this name.
///
/// Names of small letters, digits and dots are taken as they are, all others in base64 behind an
/// equals sign.
pub(super) fn big_data_file(name: &str) -> String {
    let plain = |byte: u8| matches!(byte, b'.' | b'0'..=b'9' | b'a'..=b'z');
    if name.bytes().all(plain) {
        return name.to_owned();
    }
    use base64::Engine as _;
    format!(
        "={}",
        base64::engine::general_purpose::STANDARD.encode(name)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seen in stores of podman 4.3.1.
    #[test]
    fn big_data_is_called_as_podman_calls_it() {
        assert_eq!(big_data_file("manifest"), "manifest");
        let id = "42dcf335746c15ae66aacfc8b9f95c85387639687f6418fcdbe9ae3782701e98";
        let file = "=c2hhMjU2OjQyZGNmMzM1NzQ2YzE1YWU2NmFhY2ZjOGI5Zjk1Yzg1Mzg3NjM5Njg3ZjY0MThmY2RiZTlhZTM3ODI3MDFlOTg=";
        assert_eq!(big_data_file(&format!("sha256:{id}")), file);
    }

    #[test]
    fn lists_may_be_null_and_have_more_than_is_known() {
        assert!(parse::<Image>(b"null").unwrap().is_empty());
        let text = br#"[{"id":"a","names":null,"created":"x","diff-digest":"d","toc-digest":"t"}]"#;
        assert_eq!(parse::<Image>(text).unwrap()[0].id, "a");
        let layers = parse::<Layer>(text).unwrap();
        assert_eq!(layers[0].diff_digest.as_deref(), Some("d"));
        assert_eq!(layers[0].toc_digest.as_deref(), Some("t"));
        for bad in [&b"{}"[..], b"[[]]", b"[{}]", b"", b"[{\"id\":1}]"] {
            assert!(parse::<Image>(bad).is_err());
        }
    }
}
