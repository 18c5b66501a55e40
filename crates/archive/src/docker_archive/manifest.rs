//! `manifest.json`: bytes to value and back, no files.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::Error as _;
use serde_json::value::RawValue;

use crate::json;

/// One image of a `manifest.json`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Item {
    /// Member with the image's config.
    pub(crate) config: Option<String>,
    /// Names; null and empty mean the same.
    pub(crate) repo_tags: Option<Vec<String>>,
    /// Members with the layers, bottom first.
    pub(crate) layers: Option<Vec<String>>,
    /// ID of the image that this one was built on.
    pub(crate) parent: Option<String>,
    /// Where layers come from, by diff ID.
    pub(crate) layer_sources: Option<BTreeMap<String, Box<RawValue>>>,
}

/// More images than this are none: an item may be two bytes long, and each takes memory.
const MAX_IMAGES: usize = 100_000;

/// Reads a `manifest.json`. Null holds no image.
pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<Item>, serde_json::Error> {
    let items: Option<Vec<&RawValue>> = serde_json::from_slice(bytes)?;
    let items = items.unwrap_or_default();
    if items.len() > MAX_IMAGES {
        let message = format!(
            "{} images, more than the {MAX_IMAGES} that are read",
            items.len()
        );
        return Err(serde_json::Error::custom(message));
    }
    items
        .into_iter()
        .map(|item| json::parse_object(item.get().as_bytes()))
        .collect()
}

/// One image to be written to a `manifest.json`.
pub(crate) struct OutItem {
    pub(crate) config: String,
    /// None is written as null.
    pub(crate) repo_tags: Option<Vec<String>>,
    pub(crate) layers: Option<Vec<String>>,
    pub(crate) parent: Option<String>,
    /// Values are JSON.
    pub(crate) layer_sources: BTreeMap<String, String>,
}

/// Writes a `manifest.json` without a final newline.
pub(crate) fn write(items: &[OutItem]) -> String {
    json::list(items.iter().map(|item| {
        let strings = |texts: &Option<Vec<String>>| match texts {
            Some(texts) => json::list(texts.iter().map(|text| json::string(text))),
            None => "null".to_owned(),
        };
        let mut members = vec![
            ("Config", json::string(&item.config)),
            ("RepoTags", strings(&item.repo_tags)),
            ("Layers", strings(&item.layers)),
        ];
        if let Some(parent) = &item.parent {
            members.push(("Parent", json::string(parent)));
        }
        if !item.layer_sources.is_empty() {
            let sources = item.layer_sources.iter();
            let sources = sources.map(|(diff_id, source)| (diff_id.as_str(), source.clone()));
            members.push(("LayerSources", json::object(sources)));
        }
        json::object(members)
    }))
}

/// Writes a `repositories`: repository to tag to v1 ID.
pub(crate) fn repositories(names: &BTreeMap<String, BTreeMap<String, String>>) -> String {
    json::object(names.iter().map(|(repository, tags)| {
        let tags = tags
            .iter()
            .map(|(tag, id)| (tag.as_str(), json::string(id)));
        (repository.as_str(), json::object(tags))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_and_empty_hold_nothing() {
        assert!(parse(b"null").unwrap().is_empty());
        assert!(parse(b" [] ").unwrap().is_empty());
        assert!(parse(b"{}").is_err());
        assert!(parse(b"").is_err());
        assert!(parse(b"[[]]").is_err());
        let many = format!("[{}{{}}]", "{},".repeat(MAX_IMAGES));
        let error = parse(many.as_bytes()).unwrap_err();
        assert!(error.to_string().starts_with("100001 images"), "{error}");
        assert!(parse(br#"[{"Config":"a","Config":"b"}]"#).is_err());
    }

    #[test]
    fn written_is_read() {
        let item = OutItem {
            config: "c.json".into(),
            repo_tags: Some(vec![]),
            layers: Some(vec!["l.tar".into()]),
            parent: None,
            layer_sources: BTreeMap::new(),
        };
        let text = write(&[item]);
        assert_eq!(
            text,
            r#"[{"Config":"c.json","RepoTags":[],"Layers":["l.tar"]}]"#
        );
        let read = parse(text.as_bytes()).unwrap();
        assert_eq!(read[0].layers.as_deref(), Some(&["l.tar".to_owned()][..]));
        assert_eq!(repositories(&BTreeMap::new()), "{}");
    }
}
