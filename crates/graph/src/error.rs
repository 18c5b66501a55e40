//! What can go wrong, one enum for each family of operations.

use std::io;
use std::path::{Path, PathBuf};

use lith_drivers::{ApplyError, DriverError};
use lith_store::{
    DiffId, LayerId, OpenError, PublishLayerError, RemoveLayerError, RetainError, StoreError,
};
use lith_tarsplit::SplitError;

/// Why a graph cannot be opened or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// No layer has this ID or a prefix like it.
    #[error("no such layer: {id}")]
    NotFound {
        /// What was asked for.
        id: String,
    },
    /// Several layers' IDs begin so.
    #[error("the prefix {prefix} is not unique, it fits: {}", list(candidates))]
    Ambiguous {
        /// What was asked for.
        prefix: String,
        /// What it could be.
        candidates: Vec<LayerId>,
    },
    /// A layer ID is to be 64 lower-case hexadecimal digits, a prefix at least one.
    #[error("not a layer ID or a prefix of one: {text}")]
    BadId {
        /// What was given.
        text: String,
    },
    /// What the store says of a layer makes no sense.
    #[error("layer {layer} is damaged: {reason}")]
    Corrupt {
        /// The layer.
        layer: LayerId,
        /// What was expected and found.
        reason: String,
    },
    /// The root's folder cannot be made.
    #[error("cannot make folder {}", path.display())]
    MakeRoot {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The root cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Layers could not be held.
    #[error(transparent)]
    Retain(#[from] RetainError),
    /// The driver failed.
    #[error(transparent)]
    Driver(#[from] DriverError),
}

/// Why a layer was not registered. Nothing of it is kept then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// The content is not what was promised.
    #[error("layer content is {actual}, expected {expected}")]
    DiffIdMismatch {
        /// What a config or a caller says.
        expected: DiffId,
        /// What the bytes say.
        actual: DiffId,
    },
    /// The layer below is not there.
    #[error("layer {layer} cannot be registered: its parent {parent} is not in the store")]
    ParentMissing {
        /// The layer that was to be registered.
        layer: LayerId,
        /// The one that is missing.
        parent: LayerId,
    },
    /// The JSON that came with the layer is none.
    #[error("the JSON of layer {layer} cannot be read")]
    Json {
        /// The layer.
        layer: LayerId,
        /// Where and why.
        source: serde_json::Error,
    },
    /// The bytes cannot be read, or are no tar.
    #[error("the layer's tar cannot be read")]
    Split(#[from] SplitError),
    /// The driver's tree cannot take an entry.
    #[error("the layer cannot be applied")]
    Apply(#[from] ApplyError),
    /// The stream ended for one reader and not for the other: a fault in lith or in a driver.
    #[error("the layer's stream was not read to its end")]
    Unread,
    /// A file of the staging area fails.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was to be done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The graph cannot be read.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The layer or its parent could not be held.
    #[error(transparent)]
    Retain(#[from] RetainError),
    /// The store did not take the layer's folder.
    #[error(transparent)]
    Publish(#[from] PublishLayerError),
    /// The driver failed.
    #[error(transparent)]
    Driver(#[from] DriverError),
}

impl RegisterError {
    /// For `map_err`: names the action and the file.
    pub(crate) fn io(
        action: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.as_ref().to_owned(),
            source,
        }
    }
}

/// Why a layer was not deleted. It is whole then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeleteError {
    /// The layer is mounted.
    #[error("layer {layer} is mounted at {}", target.display())]
    Mounted {
        /// The layer.
        layer: LayerId,
        /// Where.
        target: PathBuf,
    },
    /// The graph cannot be read.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The store refuses, and says who needs the layer.
    #[error(transparent)]
    Remove(#[from] RemoveLayerError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The driver failed.
    #[error(transparent)]
    Driver(#[from] DriverError),
}

/// A layer that does not give back the bytes that were registered.
///
/// Comes out of a [`LayerStream`](crate::LayerStream) inside an [`io::Error`].
#[derive(Debug, thiserror::Error)]
#[error("layer {layer} is damaged: {reason}")]
pub struct Damage {
    /// The layer.
    pub layer: LayerId,
    /// Which file or digest, what was expected, what was found.
    pub reason: String,
}

fn list(ids: &[LayerId]) -> String {
    ids.iter()
        .map(LayerId::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}
