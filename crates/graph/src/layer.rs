//! What is known of a layer, and where its JSON is kept.

use std::fs;
use std::io;

use lith_store::{BlobId, Digest, LayerId, LayerRecord, Session, StoreError};

use crate::record::{self, JSON_DIGEST};
use crate::{Graph, GraphError, V1Json};

/// A registered layer.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Layer {
    /// What the store keeps: ID, parent in the graph, diff ID, sizes.
    pub record: LayerRecord,
    /// What the JSON says that was registered with it; empty where there was none.
    ///
    /// Its `parent` may differ from that of the record, which is the one that counts.
    pub json: V1Json,
    /// That JSON, byte for byte.
    pub raw_json: Option<Vec<u8>>,
    /// The digest of the layer as it was transported, where somebody
    /// [set](Graph::set_layer_digest) it.
    pub checksum: Option<BlobId>,
}

impl Layer {
    /// Returns the layer's key in the graph: also its ID where its JSON gives none.
    pub fn id(&self) -> &LayerId {
        &self.record.id
    }

    /// Returns the layer below in the graph, whatever the JSON says.
    pub fn parent(&self) -> Option<&LayerId> {
        self.record.parent.as_ref()
    }

    /// Returns the parent that the JSON gives, which for layers of other tools is not always
    /// that of the graph.
    pub fn json_parent(&self) -> Option<&str> {
        self.json.parent.as_deref()
    }

    /// Returns when it was made, as its JSON says; else when it was registered here.
    pub fn created(&self) -> &str {
        self.json.created.as_deref().unwrap_or(&self.record.created)
    }
}

impl Graph {
    /// Returns the metadata of a layer.
    ///
    /// # Errors
    /// [`GraphError::NotFound`]; [`GraphError::IdMismatch`] and [`GraphError::Corrupt`] when what
    /// is stored is not what was registered.
    pub fn layer(&self, id: &LayerId) -> Result<Layer, GraphError> {
        self.describe(self.whole(id)?)
    }

    /// Returns the JSON that a layer was registered with, byte for byte; `None` when it came
    /// without.
    ///
    /// # Errors
    /// [`GraphError::NotFound`]; [`GraphError::Corrupt`] when it is not what was registered.
    pub fn raw_json(&self, id: &LayerId) -> Result<Option<Vec<u8>>, GraphError> {
        self.stored_json(&self.whole(id)?)
    }

    /// Reads what lies beside a record.
    pub(crate) fn describe(&self, record: LayerRecord) -> Result<Layer, GraphError> {
        let raw_json = self.stored_json(&record)?;
        let json = match &raw_json {
            Some(raw) => V1Json::parse(raw).map_err(|error| GraphError::Corrupt {
                layer: record.id,
                reason: format!("its JSON cannot be read: {error}"),
            })?,
            None => V1Json::default(),
        };
        check_id(&record.id, &json)?;
        let checksum = self.stored_digest(&record.id)?;
        Ok(Layer {
            record,
            json,
            raw_json,
            checksum,
        })
    }

    /// A further file in a layer's folder.
    pub(crate) fn layer_file(
        &self,
        id: &LayerId,
        name: &str,
    ) -> Result<Option<Vec<u8>>, GraphError> {
        self.store().layer_file(id, name).map_err(not_found)
    }

    /// Puts a further file into a layer's folder; it is on disk when this returns.
    pub(crate) fn set_layer_file(
        &self,
        session: &Session,
        id: &LayerId,
        name: &str,
        bytes: &[u8],
    ) -> Result<(), GraphError> {
        self.store()
            .set_layer_file(session, id, name, bytes)
            .map_err(not_found)
    }

    /// The JSON of a layer, compared with the digest that was noted when it was registered.
    pub(crate) fn stored_json(&self, layer: &LayerRecord) -> Result<Option<Vec<u8>>, GraphError> {
        let path = record::json_path(&self.store().root().layer(&layer.id));
        let corrupt = |reason: String| GraphError::Corrupt {
            layer: layer.id,
            reason,
        };
        let json = match fs::read(&path) {
            Ok(json) => Some(json),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(corrupt(format!("cannot read {}: {error}", path.display()))),
        };
        let expected = layer
            .extra
            .get(JSON_DIGEST)
            .and_then(|digest| digest.as_str());
        match (json, expected) {
            (None, Some(expected)) => Err(corrupt(format!(
                "{} is missing, expected {expected}",
                path.display()
            ))),
            (Some(json), Some(expected)) => {
                let actual = Digest::of(&json).to_string();
                if actual == expected {
                    return Ok(Some(json));
                }
                Err(corrupt(format!(
                    "{} is {actual}, expected {expected}",
                    path.display()
                )))
            }
            (json, None) => Ok(json),
        }
    }
}

/// The store's word for a layer that is not there is that of the graph.
pub(crate) fn not_found(error: StoreError) -> GraphError {
    match error {
        StoreError::NoLayer { layer } => GraphError::NotFound {
            id: layer.to_string(),
        },
        error => error.into(),
    }
}

/// The ID that a layer's JSON gives must be its key; JSON without one takes the key.
fn check_id(key: &LayerId, json: &V1Json) -> Result<(), GraphError> {
    match other_id(key, json) {
        Some(found) => Err(GraphError::IdMismatch {
            key: *key,
            found: found.to_owned(),
        }),
        None => Ok(()),
    }
}

/// The ID that JSON gives, when it is not `key`.
pub(crate) fn other_id<'a>(key: &LayerId, json: &'a V1Json) -> Option<&'a str> {
    let found = json.id.as_deref()?;
    (crate::v1json::without_algorithm(found) != key.hex()).then_some(found)
}
