//! What a layer is to be registered as, and what came of it.

use lith_store::{ChainId, DiffId, LayerId, LayerRecord};

use crate::v1json::without_algorithm;
use crate::{JsonError, RegisterError, V1Json, layer};

/// What a layer is to be registered as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// Its key in the graph. Loaded layers have their chain ID.
    pub id: LayerId,
    /// The layer below. It must be registered.
    pub parent: Option<LayerId>,
    /// What the digest of the uncompressed tar must be, where that is known.
    pub diff_id: Option<DiffId>,
    /// The layer's JSON, kept byte for byte.
    pub json: Option<Vec<u8>>,
}

impl Descriptor {
    /// Describes the layer with digest `diff` on top of `parent`, under its chain ID.
    pub fn chain(parent: Option<&ChainId>, diff: &DiffId) -> Self {
        Self {
            id: LayerId::from(&ChainId::of(parent, diff)),
            parent: parent.map(LayerId::from),
            diff_id: Some(*diff),
            json: None,
        }
    }

    /// Describes a layer by its v1 JSON: its `id`, and as parent its `parent` or `parent_id`.
    ///
    /// JSON without an `id` takes the `key` it is known by elsewhere.
    ///
    /// # Errors
    /// [`JsonError`] for what is no JSON of a layer, for an ID or a parent that can be none, and
    /// when neither JSON nor caller give an ID.
    pub fn from_json(key: Option<&LayerId>, json: Vec<u8>) -> Result<Self, JsonError> {
        let read = V1Json::parse(&json)?;
        let id = match (key, read.id.as_deref()) {
            (Some(key), _) => *key,
            (None, Some(id)) => layer_id("id", id)?,
            (None, None) => return Err(JsonError::Missing { member: "id" }),
        };
        let parent = read.parent.as_deref();
        let parent = parent.map(|id| layer_id("parent", id)).transpose()?;
        Ok(Self {
            id,
            parent,
            diff_id: None,
            json: Some(json),
        })
    }

    /// Refuses JSON that later readers could not use, or that is that of another layer.
    pub(crate) fn check(&self) -> Result<(), RegisterError> {
        let Some(json) = &self.json else {
            return Ok(());
        };
        let read = V1Json::parse(json).map_err(|source| RegisterError::Json {
            layer: self.id,
            source,
        })?;
        match layer::other_id(&self.id, &read) {
            Some(found) => Err(RegisterError::JsonId {
                layer: self.id,
                found: found.to_owned(),
            }),
            None => Ok(()),
        }
    }
}

fn layer_id(member: &'static str, text: &str) -> Result<LayerId, JsonError> {
    without_algorithm(text)
        .parse()
        .map_err(|_| JsonError::Member {
            member,
            expected: "a layer ID of 64 lower-case hex digits",
            found: format!("{:?}", text.chars().take(80).collect::<String>()),
        })
}

/// What came of a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// The layer's key.
    pub id: LayerId,
    /// False when it was there already, so that nothing was written.
    pub new: bool,
    /// The digest of its uncompressed tar.
    pub diff_id: Option<DiffId>,
    /// Bytes of regular files, as docker counts; `None` when nobody has counted them.
    pub size: Option<u64>,
    /// Bytes of the uncompressed tar.
    pub tar_size: u64,
}

impl Registered {
    pub(crate) fn of(record: &LayerRecord, new: bool) -> Self {
        Self {
            id: record.id,
            new,
            diff_id: record.diff_id,
            size: record.size,
            tar_size: record.tar_size,
        }
    }
}
