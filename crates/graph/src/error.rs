//! What can go wrong, one enum for each family of operations.

use std::io;
use std::path::{Path, PathBuf};

use lith_drivers::{ApplyError, CacheId, DiffError, DriverError, InvalidIdMaps};
use lith_store::{
    DiffId, LayerId, OpenError, PublishLayerError, RemoveLayerError, RetainError, StoreError,
};
use lith_tarsplit::SplitError;

use crate::JsonError;

/// Why a graph cannot be opened or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// The driver of a store is a plugin that cannot be had as it was.
    #[error(
        "store {} was made with driver {driver}, a plugin that was at {} ({reason}): say where it is \
         now with --driver PATH.so",
        root.display(), plugin.display()
    )]
    PluginGone {
        /// The root.
        root: PathBuf,
        /// The driver.
        driver: String,
        /// Where the plugin was.
        plugin: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
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
    /// Several writable layers' IDs begin so.
    #[error(
        "the prefix {prefix} is not unique, it fits: {}",
        writable_list(candidates)
    )]
    AmbiguousWritable {
        /// What was asked for.
        prefix: String,
        /// What it could be.
        candidates: Vec<CacheId>,
    },
    /// A layer ID is to be 64 lower-case hexadecimal digits, a prefix at least one.
    #[error("not a layer ID or a prefix of one: {text}")]
    BadId {
        /// What was given.
        text: String,
    },
    /// A layer is stored under another ID than it gives itself.
    #[error("layer {key} is damaged: it says that it is {found}")]
    IdMismatch {
        /// Where it is stored.
        key: LayerId,
        /// What its JSON or its record says.
        found: String,
    },
    /// A layer is registered but its files are gone. Registering it again brings them back.
    #[error("layer {layer} is damaged: the driver has no files of it under {cache}")]
    NoTree {
        /// The layer.
        layer: LayerId,
        /// The driver's ID of the files that are missing.
        cache: String,
    },
    /// A layer was registered without a record, and its driver does not keep the tar.
    #[error("layer {layer} has no record, and its driver cannot give its tar")]
    NoRecord {
        /// The layer.
        layer: LayerId,
    },
    /// What is stored of a layer is not what was registered.
    #[error("layer {layer} is damaged: {reason}")]
    Corrupt {
        /// The layer.
        layer: LayerId,
        /// What was expected and found.
        reason: String,
    },
    /// A layer was not known to be on disk when the machine went down, and is not what it was.
    #[error(
        "layer {layer} lost files when the machine went down: {reason}; load the archive it came \
         from again, which makes it anew"
    )]
    LostInCrash {
        /// The layer.
        layer: LayerId,
        /// What was expected and found.
        reason: String,
    },
    /// Nobody has said what the digest of the layer was when it was transported.
    #[error("layer {layer} has no digest of its transport")]
    DigestNotSet {
        /// The layer.
        layer: LayerId,
    },
    /// The layer has no v1 JSON yet.
    #[error("layer {layer} has no v1 JSON")]
    V1NotSet {
        /// The layer.
        layer: LayerId,
    },
    /// What is, or is to be, the v1 JSON of a layer cannot be that.
    #[error("v1 JSON of layer {layer}: {source}")]
    V1Json {
        /// The layer.
        layer: LayerId,
        /// What is wrong with it.
        source: JsonError,
    },
    /// The file system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was to be done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The ID maps cannot be used.
    #[error(transparent)]
    IdMaps(#[from] InvalidIdMaps),
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

/// Why the difference between two trees was not staged as a layer. Nothing is kept then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StageDiffError {
    /// A tree cannot be read, or holds what no layer can.
    #[error(transparent)]
    Diff(#[from] DiffError),
    /// What was written cannot be staged.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// The system has no more pipes, say.
    #[error("cannot pass the layer on")]
    Pipe {
        /// What the system said.
        source: io::Error,
    },
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
    /// The JSON that came with the layer is not that of a layer.
    #[error("the JSON of layer {layer} cannot be used")]
    Json {
        /// The layer.
        layer: LayerId,
        /// Where and why.
        source: JsonError,
    },
    /// The JSON that came with the layer is that of another one.
    #[error("the JSON of layer {layer} says that it is {found}")]
    JsonId {
        /// The layer that was to be registered.
        layer: LayerId,
        /// The ID that the JSON gives.
        found: String,
    },
    /// No data was given, and no layer that is there can stand in for it.
    #[error("layer {layer} cannot be registered without data: no layer can give {diff_id}")]
    NoData {
        /// The layer.
        layer: LayerId,
        /// The content it is to have.
        diff_id: DiffId,
    },
    /// The driver has a layer under an ID that was just made up.
    #[error("layer {layer} cannot be registered: the driver has another layer as {cache}")]
    Leftover {
        /// The layer.
        layer: LayerId,
        /// The driver's ID.
        cache: String,
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
    Publish(PublishLayerError),
    /// The driver failed.
    #[error(transparent)]
    Driver(#[from] DriverError),
}

impl GraphError {
    /// Whether it says that a layer is damaged, as opposed to not there, or not to be had now.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::IdMismatch { .. }
            | Self::NoTree { .. }
            | Self::NoRecord { .. }
            | Self::LostInCrash { .. }
            | Self::Corrupt { .. } => true,
            Self::Driver(error) => matches!(
                error,
                DriverError::Missing { .. } | DriverError::Damaged { .. }
            ),
            _ => false,
        }
    }
}

/// Why several layers were not published.
#[derive(Debug, thiserror::Error)]
#[error("layer {index} of those to be published cannot be registered")]
pub struct PublishError {
    /// Which one was refused, counted from 0; the first where all failed together.
    pub index: usize,
    /// Why.
    pub source: RegisterError,
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

impl From<PublishLayerError> for RegisterError {
    fn from(error: PublishLayerError) -> Self {
        match error {
            PublishLayerError::MissingParent { layer, parent } => {
                Self::ParentMissing { layer, parent }
            }
            PublishLayerError::Store(error) => Self::Store(error),
            error => Self::Publish(error),
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

/// Why a layer was not spooled. Nothing of it is left in staging.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// The layer does not give back what was registered.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The observer asked for that.
    #[error("spooling layer {layer} was cancelled")]
    Cancelled {
        /// The layer.
        layer: LayerId,
    },
    /// The staging area refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was to be done.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The layer's stream cannot be opened.
    #[error(transparent)]
    Graph(#[from] GraphError),
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

fn writable_list(ids: &[CacheId]) -> String {
    ids.iter()
        .map(CacheId::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}

fn list(ids: &[LayerId]) -> String {
    ids.iter()
        .map(LayerId::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}
