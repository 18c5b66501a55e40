//! Layers as v1 images, for tools that know nothing newer.

use std::collections::BTreeMap;

use lith_store::{LayerId, LayerRecord, Session};
use serde_json::value::RawValue;

use crate::v1json::{self, is_hex_id, without_algorithm};
use crate::{Graph, GraphError, JsonError};

/// The file in a layer's folder that holds its v1 JSON.
const V1: &str = "v1.json";

/// When a layer was made that came without a word of it. Always the same, so that what is
/// generated is.
const EPOCH: &str = "1970-01-01T00:00:00Z";

impl Graph {
    /// Stores the v1 JSON of a layer as it is; replaces the one before.
    ///
    /// It is on disk when this returns.
    ///
    /// # Errors
    /// [`GraphError::V1Json`] for JSON without a v1 ID of 64 hex digits: no layer above
    /// could name it as its parent. [`GraphError::NotFound`] when the layer is not there.
    pub fn set_v1(&self, session: &Session, id: &LayerId, json: &[u8]) -> Result<(), GraphError> {
        v1_id(json).map_err(|source| GraphError::V1Json { layer: *id, source })?;
        self.set_layer_file(session, id, V1, json)
    }

    /// Returns the v1 JSON of a layer, byte for byte as it was stored or generated.
    ///
    /// # Errors
    /// [`GraphError::V1NotSet`] when there is none yet; [`GraphError::NotFound`] when the layer is
    /// not there.
    pub fn v1(&self, id: &LayerId) -> Result<Vec<u8>, GraphError> {
        self.whole(id)?;
        self.stored_v1(id)?
            .ok_or(GraphError::V1NotSet { layer: *id })
    }

    fn stored_v1(&self, id: &LayerId) -> Result<Option<Vec<u8>>, GraphError> {
        self.layer_file(id, V1)
    }

    /// Returns the v1 JSON of a layer; generates and stores it where it is missing, and that of
    /// all layers below, the lowest first.
    ///
    /// Each is the JSON that the layer was registered with, with the layer's key as `id` and with
    /// the `id` of the v1 JSON below as `parent`. JSON that is there is left as it is, and nothing
    /// below it is looked at.
    ///
    /// # Errors
    /// [`GraphError::NotFound`]; [`GraphError::V1Json`] for stored v1 JSON without an ID. What was
    /// generated before stays.
    pub fn v1_chain(&self, session: &Session, id: &LayerId) -> Result<Vec<u8>, GraphError> {
        self.whole(id)?;
        if let Some(json) = self.stored_v1(id)? {
            return Ok(json);
        }
        let mut missing: Vec<LayerRecord> = Vec::new();
        let mut below: Option<(LayerId, Vec<u8>)> = None;
        for layer in self.store().layer_chain(id)?.into_iter().rev() {
            if let Some(json) = self.stored_v1(&layer.id)? {
                below = Some((layer.id, json));
                break;
            }
            missing.push(layer);
        }
        while let Some(layer) = missing.pop() {
            let parent = below.map(|(layer, json)| {
                v1_id(&json).map_err(|source| GraphError::V1Json { layer, source })
            });
            let json = self.generate(&layer, parent.transpose()?.as_deref())?;
            let added = self.store().add_layer_file(session, &layer.id, V1, &json);
            // What another process set in between counts.
            let there = added.map_err(crate::layer::not_found)?;
            below = Some((layer.id, there.unwrap_or(json)));
        }
        // The last one was the layer itself.
        let (_, json) = below.ok_or_else(|| GraphError::NotFound { id: id.to_string() })?;
        Ok(json)
    }

    /// The v1 JSON of a layer on top of the v1 image `parent`. Members that are not known stay.
    fn generate(&self, layer: &LayerRecord, parent: Option<&str>) -> Result<Vec<u8>, GraphError> {
        let raw = self.stored_json(layer)?.unwrap_or_else(|| b"{}".to_vec());
        let wrong = |error: serde_json::Error| GraphError::Corrupt {
            layer: layer.id,
            reason: format!("its JSON cannot be read: {error}"),
        };
        let mut members: BTreeMap<String, Box<RawValue>> =
            serde_json::from_slice(&raw).map_err(wrong)?;
        let text = |text: &str| serde_json::value::to_raw_value(text).map_err(wrong);
        members.insert("id".to_owned(), text(&layer.id.hex())?);
        match parent {
            Some(parent) => drop(members.insert("parent".to_owned(), text(parent)?)),
            None => drop(members.remove("parent")),
        }
        if !members.contains_key("created") {
            members.insert("created".to_owned(), text(EPOCH)?);
        }
        serde_json::to_vec(&members).map_err(wrong)
    }
}

/// The v1 ID that JSON gives, without the algorithm in front.
fn v1_id(json: &[u8]) -> Result<String, JsonError> {
    let mut members = v1json::object(json)?;
    let id = v1json::text(&mut members, "id")?.ok_or(JsonError::Missing { member: "id" })?;
    let hex = without_algorithm(&id);
    if is_hex_id(hex) {
        return Ok(hex.to_owned());
    }
    Err(JsonError::Member {
        member: "id",
        expected: "64 lower-case hex digits",
        found: format!("{:?}", id.chars().take(80).collect::<String>()),
    })
}
