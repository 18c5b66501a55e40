//! Why something cannot be added to an output.

use std::io;
use std::path::PathBuf;

use lith_store::{DiffId, ImageId, Reference};

use crate::EngineError;
use crate::config::ConfigError;
use crate::oci::DocumentError;

/// Why a writer refuses or fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The format has no place for an image for several platforms.
    #[error("this format holds no indexes: choose a platform, or write an OCI layout")]
    NoIndexes,
    /// What is to be an index is none.
    #[error("{index} cannot be written as an index")]
    Index {
        /// Its digest.
        index: ImageId,
        /// What is wrong with it.
        source: crate::oci::DocumentError,
    },
    /// An image of an index was not added.
    #[error("index {index} needs image {image}, which was not added")]
    MemberMissing {
        /// The index.
        index: ImageId,
        /// The image.
        image: ImageId,
    },
    /// The archive was closed before.
    #[error("the archive is closed: nothing can be added")]
    Closed,
    /// An earlier failure left the output unusable.
    #[error("the archive is incomplete after an earlier error: nothing can be added")]
    Broken,
    /// The content is not as long as was announced.
    #[error("{name} was announced with {announced} bytes, but has {actual}")]
    Length {
        /// What was being added.
        name: String,
        /// What the caller said.
        announced: u64,
        /// What came; one more than announced when there was at least one more.
        actual: u64,
    },
    /// The content cannot be read.
    #[error("cannot read {name}")]
    Content {
        /// What was being added.
        name: String,
        /// The source's reason.
        source: io::Error,
    },
    /// A layer of the image was not added.
    #[error("image {image} needs layer {layer}, which was not added before it")]
    LayerMissing {
        /// The image.
        image: ImageId,
        /// The layer.
        layer: DiffId,
    },
    /// The config cannot be used.
    #[error("the config of image {image} cannot be used")]
    Config {
        /// The image.
        image: ImageId,
        /// Why.
        source: ConfigError,
    },
    /// One name is to belong to two images.
    #[error("{name} cannot name both {first} and {second}")]
    NameTwice {
        /// The name.
        name: String,
        /// One image.
        first: ImageId,
        /// The other.
        second: ImageId,
    },
    /// A name without a tag, or with a digest.
    #[error("{name} is not of the form name:tag")]
    NotATag {
        /// The name.
        name: Reference,
    },
    /// A compressed layer cannot wait where it should.
    #[error("cannot keep a compressed layer in {}", folder.display())]
    Spool {
        /// The folder.
        folder: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A layer was added where another one has to stand.
    #[error("layer {layer} was not added in its place")]
    OutOfOrder {
        /// The layer.
        layer: DiffId,
    },
    /// A format for one image got another number of them.
    #[error("the format takes exactly one image, but {images} were added")]
    OneImage {
        /// How many.
        images: usize,
    },
    /// A folder to add images to is something else.
    #[error("{} is no OCI layout: {reason}", path.display())]
    NotALayout {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A folder that is to be new has something in it.
    #[error("the folder {} is not empty", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// A document that was there cannot be changed.
    #[error("cannot add to {}", path.display())]
    Document {
        /// The document.
        path: PathBuf,
        /// What is wrong with it.
        source: DocumentError,
    },
    /// A folder or a file in it cannot be written.
    #[error("cannot {action} {}", path.display())]
    Folder {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The engine that is to take the archive is not there, refuses, or hangs up.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The output refuses.
    #[error("cannot write the archive")]
    Output {
        /// The system's reason.
        source: io::Error,
    },
}
