//! Why an engine's images cannot be read.

use std::io;
use std::path::PathBuf;

use lith_store::{DiffId, ImageId};

use crate::folder::FolderError;

/// Why another engine's images cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The folder is no store of the kind that was said.
    #[error("{} is not {kind}: {reason}", path.display())]
    NotAStore {
        /// The folder.
        path: PathBuf,
        /// What it should be.
        kind: &'static str,
        /// What was looked for and what was found.
        reason: String,
    },
    /// Several stores in one folder, by different storage drivers.
    #[error("{} has images of several storage drivers: choose one of {}", path.display(), drivers.join(", "))]
    SeveralDrivers {
        /// The folder.
        path: PathBuf,
        /// The drivers.
        drivers: Vec<String>,
    },
    /// A storage driver whose layers cannot be read here.
    #[error("layers of the storage driver {driver} cannot be read: only those of {}", readable.join(", "))]
    Driver {
        /// The driver.
        driver: String,
        /// The drivers that can be read.
        readable: &'static [&'static str],
    },
    /// A file of the store cannot be opened or read.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was to be done.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Something in the store's folder cannot be read.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A file that must be there is not.
    #[error("{} is not there", path.display())]
    Missing {
        /// Its path.
        path: PathBuf,
    },
    /// A document that cannot be read.
    #[error("{} cannot be read", path.display())]
    Document {
        /// The document.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// An ID or digest that is none.
    #[error("{} has {text:?} for {what}: expected 64 lower-case hex digits", path.display())]
    BadId {
        /// The document.
        path: PathBuf,
        /// Which ID.
        what: &'static str,
        /// What stands there.
        text: String,
    },
    /// No image of the store is the one that was asked for.
    #[error(
        "{} has no image {wanted}: it has {}",
        path.display(), crate::error::join(available)
    )]
    NoImage {
        /// The store.
        path: PathBuf,
        /// What was asked for.
        wanted: String,
        /// Names, or IDs where there are none, of what it has.
        available: Vec<String>,
    },
    /// The store has no images at all.
    #[error("{} holds no image", path.display())]
    Empty {
        /// The store.
        path: PathBuf,
    },
    /// The IDs of several images begin so.
    #[error("the ID {wanted} is not unique, it fits: {}", candidates.join(", "))]
    Ambiguous {
        /// What was asked for.
        wanted: String,
        /// What it could be.
        candidates: Vec<String>,
    },
    /// The config of an image is not there.
    #[error("image {image} has no config: {} is not there", path.display())]
    NoConfig {
        /// The image.
        image: ImageId,
        /// Where the config should be.
        path: PathBuf,
    },
    /// The config of an image has another digest.
    #[error("image {image} is damaged: its config has digest {actual}")]
    ConfigChanged {
        /// The image.
        image: ImageId,
        /// The digest of what is there.
        actual: ImageId,
    },
    /// A layer that is needed is not in the store's list.
    #[error("image {image} needs layer {layer}, which {} does not have", path.display())]
    NoLayer {
        /// The image.
        image: ImageId,
        /// The layer's ID in that store.
        layer: String,
        /// The list, or the folder.
        path: PathBuf,
    },
    /// Layers that are each other's parents.
    #[error("layer {layer} is its own ancestor")]
    Loop {
        /// The layer's ID in that store.
        layer: String,
    },
    /// Config and store disagree about a layer.
    #[error("layer {layer}: the store says it is {found}, the config of image {image} {expected}")]
    OtherLayer {
        /// The layer's ID in that store.
        layer: String,
        /// The image.
        image: ImageId,
        /// What the config says.
        expected: DiffId,
        /// What the store says.
        found: String,
    },
    /// A layer without the record that its tar could be put together with.
    #[error(
        "layer {layer} has no tar-split record ({}), so its exact bytes are not known any more: {hint}",
        path.display()
    )]
    NoRecord {
        /// The layer's ID in that store.
        layer: String,
        /// Where the record should be.
        path: PathBuf,
        /// What makes such layers, and what helps.
        hint: &'static str,
    },
    /// An address that is none, or that nothing here can talk to.
    #[error("{address:?} is no address of an engine: {reason}")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No engine answers there.
    #[error("no engine answers at {address}")]
    Unreachable {
        /// Where.
        address: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The engine does not do what it was asked for.
    #[error("the engine at {address} refuses: {message}")]
    Refused {
        /// Where.
        address: String,
        /// What it says.
        message: String,
    },
    /// The connection ended in the middle.
    #[error("the engine at {address} hung up half-way")]
    HungUp {
        /// Where.
        address: String,
        /// What happened to the connection.
        source: io::Error,
    },
    /// The engine gave another number of images than one.
    #[error("the engine at {address} gave {images} images for {wanted}, expected one")]
    NotOne {
        /// Where.
        address: String,
        /// What was asked for.
        wanted: String,
        /// How many came.
        images: usize,
    },
    /// The work was stopped while the engine was waited for.
    #[error("stopped while waiting for the engine at {address}")]
    Stopped {
        /// Where.
        address: String,
    },
    /// A layer whose files are not kept as a tree.
    #[error("layer {layer} is kept as a composefs image, which cannot be read")]
    Composefs {
        /// The layer's ID in that store.
        layer: String,
    },
}
