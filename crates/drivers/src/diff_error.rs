//! What can go wrong when trees are compared or written as a tar.

use std::io;
use std::path::PathBuf;

use crate::id_maps::IdKind;

/// Why two trees could not be compared, or the difference not be written.
///
/// Paths are those inside the layer, control characters escaped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiffError {
    /// A tree cannot be read, or something vanished while it was.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was to be done.
        action: &'static str,
        /// To which path inside the layer.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
    /// A file became shorter while it was read.
    #[error("{} was changed while it was read: expected {expected} bytes, found {found}", path.display())]
    Changed {
        /// The path inside the layer.
        path: PathBuf,
        /// The size that it had.
        expected: u64,
        /// How many bytes there were.
        found: u64,
    },
    /// No layer can hold a file of this name: every reader takes it for an order to remove another.
    #[error("no layer can hold {}: a name that begins with .wh. means that a file is removed; rename it", path.display())]
    Reserved {
        /// The path inside the layer.
        path: PathBuf,
    },
    /// An owner, or an ID in the attributes, is outside the ID maps of the store.
    #[error("{}: {kind} {id} is outside the ID maps", path.display())]
    Unmapped {
        /// The path inside the layer.
        path: PathBuf,
        /// Whether it is a user or a group.
        kind: IdKind,
        /// The ID on the disk.
        id: u32,
    },
    /// The tar cannot be written.
    #[error("cannot write the tar")]
    Output {
        /// The error.
        source: io::Error,
    },
}

impl DiffError {
    pub(crate) fn output(source: io::Error) -> Self {
        Self::Output { source }
    }
}
