//! Why an image could not be made.

use lith_drivers::CacheId;
use lith_graph::{GraphError, RegisterError, StageDiffError};
use lith_store::{ImageError, ImageId, StoreError};

use crate::ConfigError;

/// Why an image was not made. Nothing of it is kept then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// What was noted of a writable layer when it was made cannot be read: perhaps another program
    /// made it.
    #[error("writable layer {id} does not say which image it was made of: {reason}")]
    Label {
        /// The writable layer.
        id: CacheId,
        /// What is wrong with the note.
        reason: String,
    },
    /// It was committed already.
    #[error("writable layer {id} was committed already, as image {image}")]
    Committed {
        /// The writable layer.
        id: CacheId,
        /// What it was committed as.
        image: ImageId,
    },
    /// The layer that a writable layer stands on is not listed.
    #[error(
        "the layer that writable layer {id} stands on is not in the store any more: load its image again"
    )]
    BaseGone {
        /// The writable layer.
        id: CacheId,
    },
    /// The config of the image that was written over has other layers than those it stands on.
    #[error("writable layer {id} stands on other layers than the config of its image says")]
    OtherBase {
        /// The writable layer.
        id: CacheId,
    },
    /// The config cannot be made or read.
    #[error("the image's config cannot be made")]
    Config {
        /// What is wrong with it.
        source: ConfigError,
    },
    /// No time is so far away.
    #[error("{epoch} seconds since 1970 is no time that can be written down")]
    Epoch {
        /// What was given.
        epoch: i64,
    },
    /// There was nothing to import, not even an empty tar: whoever was to write it has failed, say.
    #[error("there is nothing to import: not one byte came")]
    Empty,
    /// The layer could not be written.
    #[error(transparent)]
    Diff(#[from] StageDiffError),
    /// The layer could not be registered.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// The graph's reason.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The image could not be published.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The store's reason.
    #[error(transparent)]
    Store(#[from] StoreError),
}
