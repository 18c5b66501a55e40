//! What can go wrong in any operation, always with what was being done and where.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use crate::digest::LayerId;

/// An error of the store itself, whatever the operation was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was being done: "create folder", "rename".
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The index refused.
    #[error("cannot {action} in index {}: {source}", path.display())]
    Index {
        /// What was being done.
        action: &'static str,
        /// The index file.
        path: PathBuf,
        /// Why not.
        source: rusqlite::Error,
    },
    /// Another process has held the index for longer than anything sane takes.
    #[error(
        "cannot {action}: index {} is held by another process for more than {seconds} seconds",
        path.display()
    )]
    Busy {
        /// What was being done.
        action: &'static str,
        /// The index file.
        path: PathBuf,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The index is damaged. The folders are the truth: it can be made anew from them with
    /// [`rebuild_index`](crate::rebuild_index).
    #[error(
        "index {} is damaged ({reason}); move it away while nobody uses the store, and the next \
         command makes it anew from the folders beside it",
        path.display()
    )]
    IndexDamaged {
        /// The index file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// A file of the store does not hold what it should.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found, and what was expected.
        reason: String,
    },
    /// A layer is not there.
    #[error("no such layer: {layer}")]
    NoLayer {
        /// The layer.
        layer: LayerId,
    },
    /// A file of a layer cannot have this name.
    #[error(
        "{name:?} cannot be the name of a further file of a layer: expected letters, digits, \
         '.', '_' and '-', and none of the names with a meaning"
    )]
    LayerFileName {
        /// The name.
        name: String,
    },
    /// The caller's part of a recovery did not succeed; it is tried again next time.
    #[error("cannot remove abandoned tree {cache}: {source}")]
    AbandonedTree {
        /// The driver's ID of the tree.
        cache: String,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StoreError {
    /// Whether the disk is full: nothing is wrong with the store.
    pub fn is_no_space(&self) -> bool {
        match self {
            StoreError::Io { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            ),
            StoreError::Index { source, .. } => {
                source.sqlite_error_code() == Some(ErrorCode::DiskFull)
            }
            _ => false,
        }
    }

    /// Sorts an error of the index.
    pub(crate) fn index(action: &'static str, path: &Path, source: rusqlite::Error) -> StoreError {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy {
                action,
                path,
                seconds: crate::index::PATIENCE.as_secs(),
            },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                StoreError::IndexDamaged {
                    path,
                    reason: source.to_string(),
                }
            }
            _ => match source {
                // A column that does not hold what only this program writes there.
                rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::IntegralValueOutOfRange(..) => StoreError::IndexDamaged {
                    path,
                    reason: source.to_string(),
                },
                source => StoreError::Index {
                    action,
                    path,
                    source,
                },
            },
        }
    }
}

/// Puts action and path to an `io::Error` where the call happens.
pub(crate) trait IoContext<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, StoreError>;
}

impl<T> IoContext<T> for Result<T, io::Error> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Io {
            action,
            path: path.to_owned(),
            source,
        })
    }
}

impl<T> IoContext<T> for Result<T, nix::errno::Errno> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, StoreError> {
        self.map_err(io::Error::from).at(action, path)
    }
}

/// Whether there is anything, a dangling link included, at `path`.
pub(crate) fn is_there(path: &Path) -> Result<bool, StoreError> {
    match path.symlink_metadata() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).at("inspect", path),
    }
}
