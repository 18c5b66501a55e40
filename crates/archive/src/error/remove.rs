//! Why names or images cannot be removed.

use std::path::PathBuf;

use lith_graph::{DeleteError, GraphError};
use lith_store::{ImageError, ImageId, NameError, StoreError};

use super::{SelectError, join};
use crate::prune::PruneReport;
use crate::remove::RemoveReport;

/// Why names or images could not be removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoveError {
    /// What was asked for is not there, or not clear.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// A name was to be removed, and an ID was given.
    #[error(
        "{wanted} is the ID of an image, not a name of it; its names: {}",
        join(names)
    )]
    NotAName {
        /// What was given.
        wanted: String,
        /// The image's names.
        names: Vec<String>,
    },
    /// Asked for by ID, and several names point there.
    #[error(
        "image {image} has several names, and all would go with it; force that, or remove them: {}",
        join(names)
    )]
    SeveralNames {
        /// The image.
        image: ImageId,
        /// Its names.
        names: Vec<String>,
    },
    /// Asked for by ID, and an index needs it.
    #[error("image {image} is part of {}: remove that", join(indexes))]
    InIndex {
        /// The image.
        image: ImageId,
        /// The indexes, by name where they have one.
        indexes: Vec<String>,
    },
    /// It would go while it shows somewhere.
    #[error(
        "image {image} is mounted at {}: unmount it first, or force that; its layers then stay \
         until it is unmounted",
        join(&places.iter().map(|place| place.display()).collect::<Vec<_>>())
    )]
    Mounted {
        /// The image.
        image: ImageId,
        /// Where.
        places: Vec<PathBuf>,
    },
    /// It would go while somebody writes over it.
    #[error(
        "image {image} is in use: writable layer {} stands on it; commit or discard that first, or \
         force it; its layers then stay until that is done",
        join(layers)
    )]
    Written {
        /// The image.
        image: ImageId,
        /// IDs of the writable layers.
        layers: Vec<String>,
    },
    /// Something failed, or somebody asked the work to stop, after the first step.
    #[error("stopped before all was done")]
    Stopped {
        /// What was done until then.
        done: Box<RemoveReport>,
        /// Why it was not all.
        source: Box<RemoveError>,
    },
    /// As [`RemoveError::Stopped`], when everything that nobody needs was to go.
    #[error("stopped before all was done")]
    Pruned {
        /// What was done until then.
        done: Box<PruneReport>,
        /// Why it was not all.
        source: Box<RemoveError>,
    },
    /// Somebody asked the work to stop.
    #[error("the work was cancelled")]
    Cancelled,
    /// The graph's reason.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A layer could not be deleted.
    #[error(transparent)]
    Delete(#[from] DeleteError),
    /// An image could not be removed.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A name could not be removed.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The store's reason.
    #[error(transparent)]
    Store(#[from] StoreError),
}
