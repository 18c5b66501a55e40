//! Layers: their records, publication, holders and removal.

mod bulk;
mod claims;
pub(crate) mod hold;
pub(crate) mod publish;
pub(crate) mod publish_all;
mod query;
pub(crate) mod remove;
pub(crate) mod revise;
mod synced;
pub(crate) mod table;

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::digest::{DiffId, LayerId};
use crate::error::{IoContext, StoreError};

pub use bulk::LayerUse;
pub(crate) use claims::Outside;
pub use claims::{LayerClaims, OutsideClaims};
pub use hold::RetainError;
pub use publish::{PublishLayerError, Published};
pub use publish_all::NewLayer;
pub use remove::{Removal, RemoveLayerError};

/// The file in a layer's folder that keeps it though no image has it.
pub(crate) const KEEP: &str = "keep";
/// The folder in a layer's folder for payloads that its tree cannot give back.
pub(crate) const KEPT: &str = "kept";

/// What is known of a layer: the content of its `layer.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerRecord {
    /// The ID it is kept under.
    pub id: LayerId,
    /// The layer below it.
    pub parent: Option<LayerId>,
    /// The digest of its uncompressed tar, when it was loaded from one.
    pub diff_id: Option<DiffId>,
    /// The driver's ID of its tree.
    pub cache: String,
    /// The driver's ID of the tree below, as of when this one was made over it; a layer cannot
    /// stand where its parent's tree is another. `None` where nobody said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_cache: Option<String>,
    /// Bytes of file content, as docker counts; `None` when nobody has counted them
    /// ([`Store::set_layer_size`](crate::Store::set_layer_size)).
    pub size: Option<u64>,
    /// Bytes of the uncompressed tar.
    pub tar_size: u64,
    /// Whether its folder has a record to give the tar back exactly.
    pub has_record: bool,
    /// When it was registered here, RFC 3339.
    pub created: String,
    /// Whether its tree is known to be on disk. In the file: as it was when published; the
    /// index knows better.
    pub synced: bool,
    /// The kernel's ID of the boot in which it was published, where the kernel tells one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
    /// Further facts for whoever uses the store; kept as they are.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl LayerRecord {
    /// Describes a layer without parent and record, whose content nobody has counted,
    /// registered now.
    pub fn new(id: LayerId, cache: impl Into<String>) -> LayerRecord {
        LayerRecord {
            id,
            parent: None,
            diff_id: None,
            cache: cache.into(),
            parent_cache: None,
            size: None,
            tar_size: 0,
            has_record: false,
            created: crate::time::now(),
            synced: false,
            boot: crate::boot::boot_id().map(str::to_owned),
            extra: Map::new(),
        }
    }

    /// Whether its tree was made over the tree that the driver knows by `cache`, as far as that
    /// is known.
    pub fn stands_on(&self, cache: Option<&str>) -> bool {
        self.parent_cache.is_none() || self.parent_cache.as_deref() == cache
    }

    /// Whether files of its tree may be lost: nobody knows it to be on disk, and the machine may
    /// have gone down since it was published.
    pub fn is_doubtful(&self) -> bool {
        let boot = crate::boot::boot_id();
        !self.synced && (boot.is_none() || self.boot.as_deref() != boot)
    }

    /// The name of the file that describes a layer, in its folder.
    pub const FILE: &str = "layer.json";

    /// Returns the content of that file.
    ///
    /// # Errors
    /// None that is known: further facts that are no JSON cannot be put there.
    pub fn to_json(&self) -> Result<Vec<u8>, std::io::Error> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        Ok(text)
    }

    /// Reads the `layer.json` in the folder of the layer `id`.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when it does not describe that layer.
    pub fn read(folder: &Path, id: &LayerId) -> Result<LayerRecord, StoreError> {
        let path = folder.join(LayerRecord::FILE);
        let text = std::fs::read(&path).at("read", &path)?;
        let record: LayerRecord =
            serde_json::from_slice(&text).map_err(|error| StoreError::Damaged {
                path: path.clone(),
                reason: format!("not a layer: {error}"),
            })?;
        if record.id != *id {
            let reason = format!("expected layer {id}, found {}", record.id);
            return Err(StoreError::Damaged { path, reason });
        }
        Ok(record)
    }
}
