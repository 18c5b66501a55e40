//! IDs and JSON of the v1 image format, which docker-archives still carry beside the rest.

use std::collections::BTreeMap;

use lith_store::{ChainId, DiffId, Digest};
use serde_json::value::RawValue;

use crate::json;

/// What the top layer's JSON takes from the image's config.
const FROM_CONFIG: [&str; 7] = [
    "architecture",
    "config",
    "container",
    "container_config",
    "created",
    "docker_version",
    "os",
];

/// A layer of an image as a v1 image of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct V1Layer {
    /// 64 hex digits: the name of its folder.
    pub(crate) id: String,
    /// What its `json` holds.
    pub(crate) json: String,
    pub(crate) diff_id: DiffId,
}

/// The v1 images of a stack of layers, bottom first; `config` describes the top one.
///
/// # Errors
/// When `config` is no JSON object.
pub(crate) fn layers(
    config: &[u8],
    diff_ids: &[DiffId],
) -> Result<Vec<V1Layer>, serde_json::Error> {
    let config: BTreeMap<String, &RawValue> = serde_json::from_slice(config)?;
    let mut layers: Vec<V1Layer> = Vec::with_capacity(diff_ids.len());
    for (index, (diff_id, chain)) in diff_ids.iter().zip(ChainId::chain(diff_ids)).enumerate() {
        let mut members: BTreeMap<&str, String> = BTreeMap::new();
        if let Some(parent) = layers.last() {
            members.insert("parent", json::string(&parent.id));
        }
        if index + 1 == diff_ids.len() {
            for key in FROM_CONFIG {
                let value = config.get(key).map_or("null", |value| value.get());
                members.insert(key, json::compact(value));
            }
        }
        members.insert("layer_id", json::string(&chain.to_string()));
        let id = Digest::of(json::object(members.clone()).as_bytes()).hex();
        members.remove("layer_id");
        members.insert("id", json::string(&id));
        layers.push(V1Layer {
            id,
            json: json::object(members),
            diff_id: *diff_id,
        });
    }
    Ok(layers)
}
