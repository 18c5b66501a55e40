//! What a driver from outside supplies: how the tree of a layer is made and removed.

use std::ffi::CStr;
use std::os::fd::BorrowedFd;
use std::path::Path;

use crate::error::BackendError;

/// Where the trees of layers come from and go to.
///
/// A tree is a directory. Everything else of a driver is lith's: what is written into a tree,
/// how it is published, which layers there are, what happens after a crash. All functions may be
/// called by several threads at once. Descriptors are lent for the call.
pub trait Backend: Send + Sync + std::fmt::Debug {
    /// Returns what it is called and what it can do: always the same.
    fn info(&self) -> &BackendInfo;

    /// Makes an empty tree: a directory called `name` in the directory `dir`, owned by the caller,
    /// mode 0700.
    ///
    /// # Errors
    /// When something is there already, or it cannot be made; then nothing new is there.
    fn create(&self, dir: BorrowedFd<'_>, name: &CStr) -> Result<(), BackendError>;

    /// Removes a tree made by `create` or `snapshot`, sealed or not, filled or not. One that is not
    /// there is no error; what an interrupted removal left must be removable.
    ///
    /// # Errors
    /// When it cannot be removed, or only in part.
    fn remove(&self, dir: BorrowedFd<'_>, name: &CStr) -> Result<(), BackendError>;

    /// Makes `name` in `dir` a writable copy of `tree`, an open directory.
    ///
    /// Only called where [`BackendInfo::snapshot`]; without, lith copies files.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    fn snapshot(
        &self,
        tree: BorrowedFd<'_>,
        dir: BorrowedFd<'_>,
        name: &CStr,
    ) -> Result<(), BackendError> {
        let _ = (tree, dir, name);
        Err(BackendError::not_offered("snapshot"))
    }

    /// Makes a finished tree unwritable.
    ///
    /// Only called where [`BackendInfo::seal`].
    ///
    /// # Errors
    /// When it stays writable.
    fn seal(&self, tree: BorrowedFd<'_>) -> Result<(), BackendError> {
        let _ = tree;
        Err(BackendError::not_offered("seal"))
    }

    /// Tells each directory of `tree` (its path below it, empty for `tree` itself) in which something
    /// may differ from `since`, of which it was made by `snapshot`: too many are no harm, one too few is.
    ///
    /// Only called where [`BackendInfo::changed`]; without, lith compares everything.
    ///
    /// # Errors
    /// When not all of them are known.
    fn changed(
        &self,
        tree: BorrowedFd<'_>,
        since: BorrowedFd<'_>,
        found: &mut dyn FnMut(&[u8]),
    ) -> Result<(), BackendError> {
        let _ = (tree, since, found);
        Err(BackendError::not_offered("changed"))
    }

    /// Returns facts for people, as `lith info` shows them.
    ///
    /// # Errors
    /// When the backend cannot say how it is.
    fn status(&self) -> Result<Vec<(String, String)>, BackendError> {
        Ok(Vec::new())
    }
}

/// What a backend is called and what it can do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackendInfo {
    /// The driver's name: the folder of its trees, and what a store remembers.
    pub name: String,
    /// The backend's own version, for people.
    pub version: String,
    /// Whether [`Backend::snapshot`] may be called.
    pub snapshot: bool,
    /// Whether [`Backend::seal`] may be called.
    pub seal: bool,
    /// Whether [`Backend::changed`] may be called.
    pub changed: bool,
}

impl BackendInfo {
    /// Returns that of a backend without optional powers.
    #[must_use]
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            snapshot: false,
            seal: false,
            changed: false,
        }
    }

    /// Returns what `P` says of itself.
    #[must_use]
    pub fn of<P: Plugin>() -> Self {
        Self::new(P::NAME, P::VERSION).with(P::POWERS)
    }

    /// Returns the same with these powers.
    #[must_use]
    pub fn with(self, powers: Powers) -> Self {
        Self {
            snapshot: powers.snapshot,
            seal: powers.seal,
            changed: powers.changed,
            ..self
        }
    }
}

/// The optional functions that a backend has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Powers {
    /// [`Backend::snapshot`].
    pub snapshot: bool,
    /// [`Backend::seal`].
    pub seal: bool,
    /// [`Backend::changed`].
    pub changed: bool,
}

impl Powers {
    /// None of them.
    pub const NONE: Self = Self {
        snapshot: false,
        seal: false,
        changed: false,
    };

    /// These, and [`Backend::snapshot`].
    #[must_use]
    pub const fn with_snapshot(self) -> Self {
        Self {
            snapshot: true,
            ..self
        }
    }

    /// These, and [`Backend::seal`].
    #[must_use]
    pub const fn with_seal(self) -> Self {
        Self { seal: true, ..self }
    }

    /// These, and [`Backend::changed`].
    #[must_use]
    pub const fn with_changed(self) -> Self {
        Self {
            changed: true,
            ..self
        }
    }
}

/// A backend that [`export_driver!`](crate::export_driver) can export.
pub trait Plugin: Backend + Sized + 'static {
    /// The driver's name: 1 to 32 of `a-z`, `0-9` and `-`, the first a letter.
    const NAME: &'static str;
    /// The driver's version, for people: 1 to 64 bytes.
    const VERSION: &'static str;
    /// Which optional functions it has.
    const POWERS: Powers;

    /// Opens the backend on the driver's folder, which is there. The trees lie somewhere below it; the
    /// rest of it is lith's.
    ///
    /// # Errors
    /// When the backend cannot work there; the error says what it needs.
    fn open(home: &Path) -> Result<Self, BackendError>;
}
