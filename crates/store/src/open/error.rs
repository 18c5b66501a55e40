//! Why a root cannot be opened.

use std::path::PathBuf;

use crate::error::StoreError;
use crate::idmap::{IdMapError, IdMaps};
use crate::ownership::Ownership;

/// Why a root cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no root folder, or an empty one, and none was to be made.
    #[error("there is no store at {}", path.display())]
    Missing {
        /// Where it was expected.
        path: PathBuf,
    },
    /// The folder holds something else.
    #[error("{} is not a store: it has no `format` file but holds {found:?}", path.display())]
    NotAStore {
        /// The folder.
        path: PathBuf,
        /// Something that does not belong in an empty store.
        found: String,
    },
    /// A newer version of the program made the root.
    #[error(
        "store {} has format {found}, made by a newer version: expected at most {supported}",
        path.display()
    )]
    NewerFormat {
        /// The root.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that is understood.
        supported: u32,
    },
    /// A newer version of the program made the index.
    #[error(
        "index {} has schema {found}, made by a newer version: expected at most {supported}",
        path.display()
    )]
    NewerIndex {
        /// The index.
        path: PathBuf,
        /// Its schema version.
        found: i32,
        /// The newest that is understood.
        supported: i32,
    },
    /// The root was made with another driver.
    #[error("store {} was made with driver {found}, not {expected}", path.display())]
    OtherDriver {
        /// The root.
        path: PathBuf,
        /// The driver it was made with.
        found: String,
        /// The driver that was asked for.
        expected: String,
    },
    /// The root was made with another kind of ownership.
    #[error(
        "store {} was made with ownership {found}, not {expected}: to convert it, save its images \
         and load them into a root that is made with ownership {expected}",
        path.display()
    )]
    OtherOwnership {
        /// The root.
        path: PathBuf,
        /// What it was made with.
        found: Ownership,
        /// What was asked for.
        expected: Ownership,
    },
    /// The root was made with other maps of IDs, or with none.
    #[error(
        "store {} was made with {}, not with {expected}: to convert it, save its images and load \
         them into a root that is made with these maps",
        path.display(),
        found.as_ref().map_or("no maps of IDs".to_owned(), ToString::to_string)
    )]
    OtherIdMaps {
        /// The root.
        path: PathBuf,
        /// What it was made with.
        found: Option<Box<IdMaps>>,
        /// What was asked for.
        expected: Box<IdMaps>,
    },
    /// A root has to be made whose owners are mapped, and nobody said how.
    #[error("making a store at {} with ownership mapped needs maps of IDs", path.display())]
    IdMapsNeeded {
        /// The root.
        path: PathBuf,
    },
    /// Maps were given for a root that is to be made without using any.
    #[error(
        "maps of IDs were given for a store at {} with ownership {ownership}, which has none",
        path.display()
    )]
    IdMapsUnused {
        /// The root.
        path: PathBuf,
        /// What it is to be made with.
        ownership: Ownership,
    },
    /// The maps that were given cannot be used.
    #[error(transparent)]
    IdMaps(#[from] IdMapError),
    /// A root has to be made and nobody said with which driver.
    #[error("making a store at {} needs the name of a driver", path.display())]
    DriverNeeded {
        /// The root.
        path: PathBuf,
    },
    /// The name of the driver cannot be the name of a folder.
    #[error("{name:?} is not a driver name: expected lower-case letters, digits, '_', '.' and '-'")]
    DriverName {
        /// What was given.
        name: String,
    },
    /// The index has to be replaced while others use it.
    #[error("the index of store {} must be rebuilt, but other processes use it", path.display())]
    InUse {
        /// The root.
        path: PathBuf,
    },
    /// Anything else.
    #[error(transparent)]
    Store(#[from] StoreError),
}
