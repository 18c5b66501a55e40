//! Images: a folder each, with everything as it came.

mod batch;
pub(crate) mod folder;
mod list;
pub(crate) mod members;
pub(crate) mod pending;
pub(crate) mod publish;
pub(crate) mod remove;
mod request;
pub(crate) mod restore;
pub(crate) mod settle;
pub(crate) mod table;

use std::collections::BTreeMap;

use crate::digest::{Digest, ImageId, LayerId};
use crate::error::StoreError;
use crate::layers::hold::list;
use crate::reference::Reference;
use crate::session::SessionId;
pub use members::{ImageIndex, IndexMember};

/// An image, with its documents byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRecord {
    /// The digest of `config`, or of the index.
    pub id: ImageId,
    /// The configuration as it came; an index has none.
    pub config: Vec<u8>,
    /// The manifest as it came, when one did.
    pub manifest: Option<Vec<u8>>,
    /// Its layers, bottom first.
    pub layers: Vec<LayerId>,
    /// The image it was built on, as the archive said; need not be here.
    pub parent: Option<ImageId>,
    /// When it was built, as the configuration has it.
    pub created: Option<String>,
    /// The machine it is for.
    pub architecture: Option<String>,
    /// The system it is for.
    pub os: Option<String>,
    /// The variant of the machine it is for.
    pub variant: Option<String>,
    /// Bytes of file content in its layers.
    pub size: u64,
    /// Further files as they came, by name: `layer-sources.json`; those of an index are what it
    /// lists, by the hex digits of their digests.
    pub extra: BTreeMap<String, Vec<u8>>,
    /// The index, where this is an image for several platforms. It has no layers then.
    pub index: Option<ImageIndex>,
}

impl ImageRecord {
    /// The document whose digest is the ID.
    pub(crate) fn document(&self) -> &[u8] {
        match &self.index {
            Some(index) => &index.document,
            None => &self.config,
        }
    }

    pub(crate) fn members(&self) -> &[IndexMember] {
        self.index.as_ref().map_or(&[], |index| &index.members)
    }
}

/// One line of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageSummary {
    /// The image.
    pub id: ImageId,
    /// Its names, sorted by their familiar form.
    pub names: Vec<Reference>,
    /// The digest of its manifest, when it came with one; that of an index is its own.
    pub manifest: Option<Digest>,
    /// The image it was built on.
    pub parent: Option<ImageId>,
    /// When it was built, as the configuration has it.
    pub created: Option<String>,
    /// The machine it is for.
    pub architecture: Option<String>,
    /// The system it is for.
    pub os: Option<String>,
    /// The variant of the machine it is for.
    pub variant: Option<String>,
    /// Number of its layers.
    pub layers: usize,
    /// Bytes of file content in its layers.
    pub size: u64,
    /// Bytes of file content in layers that no other image has.
    pub unique_size: u64,
    /// Number of its layers whose content nobody has counted: the sizes are without them.
    pub uncounted: usize,
    /// The images in it, where it is an index. What is said of layers goes for all of theirs.
    pub members: Vec<IndexMember>,
    /// Whether an index has it.
    pub in_index: bool,
}

/// What can go wrong with images.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// It is not there.
    #[error("no such image: {image}")]
    NotFound {
        /// The image.
        image: ImageId,
    },
    /// Some of its layers are not in the store.
    #[error(
        "image {image} needs layers that are not in the store: {}",
        list(missing)
    )]
    MissingLayers {
        /// The image.
        image: ImageId,
        /// The layers.
        missing: Vec<LayerId>,
    },
    /// Some images of an index are not in the store.
    #[error(
        "index {index} needs images that are not in the store: {}",
        list(missing)
    )]
    MissingMembers {
        /// The index.
        index: ImageId,
        /// The images.
        missing: Vec<ImageId>,
    },
    /// An index has layers or a configuration, or no images.
    #[error("{index} cannot be an index: it needs members, and neither config nor layers")]
    NoIndex {
        /// What was to be the index.
        index: ImageId,
    },
    /// Indexes have it.
    #[error("image {image} is in use; by index {}", list(indexes))]
    InIndex {
        /// The image.
        image: ImageId,
        /// The indexes.
        indexes: Vec<ImageId>,
    },
    /// The configuration is not that of the image.
    #[error("the document of image {expected} has digest {found}")]
    ConfigDigest {
        /// The image.
        expected: ImageId,
        /// What the configuration hashes to.
        found: ImageId,
    },
    /// The same configuration stands here with other layers.
    #[error(
        "image {image} is already in the store with other layers: {}; expected {}",
        list(found),
        list(expected)
    )]
    OtherLayers {
        /// The image.
        image: ImageId,
        /// What was to be published.
        expected: Vec<LayerId>,
        /// What is there.
        found: Vec<LayerId>,
    },
    /// Names point to it.
    #[error("image {image} is in use; by name {}", list(names))]
    InUse {
        /// The image.
        image: ImageId,
        /// The names.
        names: Vec<Reference>,
    },
    /// Sessions hold its layers.
    #[error("image {image} is in use; by session {}", list(sessions))]
    Held {
        /// The image.
        image: ImageId,
        /// The living sessions.
        sessions: Vec<SessionId>,
    },
    /// A further file cannot have this name.
    #[error(
        "{name:?} cannot be the name of a file of an image: expected lower-case letters, digits, \
         '.', '_' and '-', and none of the names with a meaning"
    )]
    FileName {
        /// The name.
        name: String,
    },
    /// A name could not be set.
    #[error(transparent)]
    Name(Box<crate::names::NameError>),
    /// Anything else.
    #[error(transparent)]
    Store(#[from] StoreError),
}
