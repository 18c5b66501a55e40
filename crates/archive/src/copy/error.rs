//! Why images could not be copied.

use std::io;

use lith_store::{DiffId, ImageId};

use crate::{LoadError, SaveError, WriteError};

/// Why images could not be copied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The source cannot be read, or does not have what was asked for.
    #[error(transparent)]
    Source(Box<LoadError>),
    /// The format of the copy cannot be as was asked for.
    #[error(transparent)]
    Output(Box<SaveError>),
    /// The copy cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A layer cannot be read.
    #[error("cannot read layer {layer}")]
    Layer {
        /// What the source calls it.
        layer: String,
        /// The source's or the decoder's reason.
        source: io::Error,
    },
    /// A layer is not the one that its image needs.
    #[error("layer {layer}: content is {actual}, config declares {expected}")]
    DiffId {
        /// What the source calls it.
        layer: String,
        /// The digest that the config gives.
        expected: DiffId,
        /// The digest of the layer's tar.
        actual: DiffId,
    },
    /// The source does not have all layers of an image.
    #[error(
        "image {image}: the source does not have {}",
        crate::error::join(missing)
    )]
    MissingLayers {
        /// The image.
        image: ImageId,
        /// The layers, bottom first.
        missing: Vec<DiffId>,
    },
    /// Somebody asked the work to stop.
    #[error("the work was cancelled")]
    Cancelled,
}

impl From<LoadError> for CopyError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Cancelled => CopyError::Cancelled,
            error => CopyError::Source(Box::new(error)),
        }
    }
}

impl From<SaveError> for CopyError {
    fn from(error: SaveError) -> Self {
        match error {
            SaveError::Cancelled => CopyError::Cancelled,
            SaveError::Write(error) => CopyError::Write(error),
            error => CopyError::Output(Box::new(error)),
        }
    }
}
