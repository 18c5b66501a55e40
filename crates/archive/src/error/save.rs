//! Why images cannot be saved.

use std::io;

use lith_graph::GraphError;
use lith_store::{ImageId, LayerId, StoreError};

use super::{SelectError, WriteError};
use crate::Format;

/// Why images could not be saved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SaveError {
    /// Names were given for more than one image.
    #[error("names can be given to one image only, but {images} are to be saved")]
    TagsNeedOneImage {
        /// How many there are.
        images: usize,
    },
    /// A name without a tag, or with a digest.
    #[error("{name} is not of the form name:tag")]
    NotATag {
        /// What was given.
        name: String,
    },
    /// A format for one image, and several are to be saved.
    #[error(
        "{format} holds one image, but {} are to be saved: {}; {} hold several",
        images.len(),
        super::join(images),
        super::join(several)
    )]
    OneImage {
        /// The format.
        format: Format,
        /// Names, or IDs where there are none.
        images: Vec<String>,
        /// The formats that take several.
        several: Vec<Format>,
    },
    /// A format that is a folder was to be written to a file, or the other way round.
    #[error("{format} is {}: it cannot be written to {target}", format.kind())]
    Target {
        /// The format.
        format: Format,
        /// Where it was to be written to.
        target: &'static str,
    },
    /// A layout of docker-archives was asked for, and another format.
    #[error("{format} has no layouts to choose from: that is for docker-archive")]
    Layout {
        /// The format.
        format: Format,
    },
    /// What was asked for is not there, or not for the platform.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// A layer is damaged or cannot be read.
    #[error("cannot read layer {layer}")]
    Layer {
        /// The layer.
        layer: LayerId,
        /// The graph's reason, which names the file.
        source: io::Error,
    },
    /// The image's config and its layers do not fit together.
    #[error("image {image} is damaged: {reason}")]
    Image {
        /// The image.
        image: ImageId,
        /// What was expected and found.
        reason: String,
    },
    /// The archive could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The graph's reason.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The store's reason.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Somebody asked the work to stop.
    #[error("the work was cancelled")]
    Cancelled,
}
