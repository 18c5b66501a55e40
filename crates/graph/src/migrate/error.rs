//! Why a store was not moved to another driver.

use std::path::PathBuf;

use lith_drivers::DriverError;
use lith_store::{LayerId, RootCopyError, StoreError};

use crate::{GraphError, RegisterError};

/// Why a store was not moved to another driver. But for [`MigrateError::OldTrees`] it is what it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// Somebody else does that.
    #[error("another process moves the store at {} to another driver", root.display())]
    UnderWay {
        /// The store.
        root: PathBuf,
    },
    /// The last step has to be done alone.
    #[error(
        "everything is ready, but other processes use the store at {}: end them (commands in mounted \
         images, `lith events --follow`), then run this again, which goes on from here",
        root.display()
    )]
    InUse {
        /// The store.
        root: PathBuf,
    },
    /// Layers show somewhere, and would have to go.
    #[error(
        "layers are mounted at {}: unmount them first (lith umount)",
        list(targets.iter().map(|target| target.display().to_string()))
    )]
    Mounted {
        /// Where.
        targets: Vec<PathBuf>,
    },
    /// There are layers that can be written, which are the driver's alone.
    #[error(
        "layers that can be written cannot be moved: commit or discard {} first (lith commit, lith \
         umount --discard)",
        list(layers.iter().cloned())
    )]
    Writable {
        /// Their IDs.
        layers: Vec<String>,
    },
    /// What is damaged cannot be moved.
    #[error(
        "the store is damaged: {}; load the archives that these came from again, or remove their \
         images (lith rmi, lith prune)",
        list(problems.iter().cloned())
    )]
    Damaged {
        /// What is wrong with what.
        problems: Vec<String>,
    },
    /// The new driver does not give back what it got.
    #[error("layer {layer} does not come back from driver {driver} as it is: {reason}")]
    Unverified {
        /// The layer.
        layer: LayerId,
        /// The driver.
        driver: String,
        /// What was expected and found.
        reason: String,
    },
    /// The disk is full.
    #[error(
        "there is no room for the trees of driver {driver}; those that were made are removed again, and \
         the store is what it was"
    )]
    NoSpace {
        /// The driver.
        driver: String,
        /// What was refused.
        source: Box<MigrateError>,
    },
    /// It is done, but for removing the former driver's trees.
    #[error(
        "the store has driver {driver} now, but the trees of driver {former} are not all removed; the \
         next command tries that again"
    )]
    OldTrees {
        /// The new driver.
        driver: String,
        /// The former one.
        former: String,
        /// Why not.
        source: Box<MigrateError>,
    },
    /// The observer asked for that.
    #[error("the move to driver {driver} was cancelled; run it again to go on from here")]
    Cancelled {
        /// The driver.
        driver: String,
    },
    /// Another process changes the store faster than it can be copied.
    #[error("the copy of the store at {} changes again and again", root.display())]
    Restless {
        /// The store.
        root: PathBuf,
    },
    /// The new root cannot be filled.
    #[error(transparent)]
    Copy(#[from] RootCopyError),
    /// A layer cannot be made for the new driver.
    #[error("layer {layer} cannot be made for driver {driver}")]
    Register {
        /// The layer.
        layer: LayerId,
        /// The driver.
        driver: String,
        /// Why not.
        source: Box<RegisterError>,
    },
    /// The graph cannot be read.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A driver failed.
    #[error(transparent)]
    Driver(#[from] DriverError),
}

impl MigrateError {
    /// Whether the disk is full.
    pub(super) fn is_no_space(&self) -> bool {
        let mut next: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = next {
            if let Some(store) = error.downcast_ref::<StoreError>()
                && store.is_no_space()
            {
                return true;
            }
            if let Some(io) = error.downcast_ref::<std::io::Error>()
                && matches!(
                    io.kind(),
                    std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
                )
            {
                return true;
            }
            next = error.source();
        }
        false
    }
}

/// The first few of many.
fn list(all: impl ExactSizeIterator<Item = String>) -> String {
    const SHOWN: usize = 8;
    let more = all.len().saturating_sub(SHOWN);
    let mut text = all.take(SHOWN).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text.push_str(&format!(", and {more} more"));
    }
    text
}
