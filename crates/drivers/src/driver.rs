//! The contract: what every driver does.

use std::io::{Read, Write};
use std::path::PathBuf;

use crate::error::DriverError;
use crate::files::TreeFiles;
use crate::id::CacheId;
use crate::mount::{Mount, MountInfo, MountRequest};
use crate::tree::{LayerTree, TreeDraft};
use crate::usage::Usage;
use crate::writable::WritableLayers;

/// Turns layers into directories.
///
/// Layers are named by [`CacheId`]s that the caller gives; a driver knows of no digest and no
/// image. All methods may be called from several threads and several processes at once; that a
/// layer is not removed while another process needs it is the caller's business.
pub trait Driver: Send + Sync {
    /// Returns what the driver is and can do.
    fn info(&self) -> &DriverInfo;

    /// Starts a layer.
    ///
    /// # Errors
    /// A known parent that does not exist is refused at once.
    fn prepare(&self, parent: Parent<'_>) -> Result<Box<dyn Draft>, DriverError>;

    /// Returns whether the driver has this layer: one call of the system, whatever the layer holds.
    ///
    /// # Errors
    /// Only when the driver's folder cannot be looked at.
    fn exists(&self, id: &CacheId) -> Result<bool, DriverError>;

    /// Returns every layer the driver has, in no particular order.
    ///
    /// # Errors
    /// When the driver's folder cannot be read.
    fn list(&self) -> Result<Vec<CacheId>, DriverError>;

    /// Removes a layer: gone in one step, its space given back before this returns.
    ///
    /// Removing a layer that is not there is no error. That no other layer stands on it is the
    /// caller's business.
    ///
    /// # Errors
    /// [`DriverError::Busy`] while it, or a layer that stands on it and needs it, is mounted.
    fn remove(&self, id: &CacheId) -> Result<(), DriverError>;

    /// Opens the layer's own files, to read payloads back.
    ///
    /// # Errors
    /// [`DriverError::Missing`] when there is no such layer.
    fn files(&self, id: &CacheId) -> Result<LayerFiles, DriverError>;

    /// Returns what removing the layer would give back. Walks all of its files.
    ///
    /// Something that is mounted inside the layer's folder is not counted.
    ///
    /// # Errors
    /// [`DriverError::Missing`] when there is no such layer, also when it is removed meanwhile.
    fn usage(&self, id: &CacheId) -> Result<Usage, DriverError>;

    /// Returns how many bytes the layer's own regular files have, holes included, one with several
    /// names once.
    ///
    /// A driver that keeps what each layer adds sums that up. One that keeps full trees compares
    /// with `parent` (attributes first, then content, so that this may read both trees) and counts
    /// the files that differ; without a parent, all.
    ///
    /// # Errors
    /// [`DriverError::Missing`] when there is no such layer or, where it is looked at, parent.
    fn diff_size(&self, id: &CacheId, parent: Option<&CacheId>) -> Result<u64, DriverError>;

    /// Makes the layer, with everything below it, appear at a directory.
    ///
    /// # Errors
    /// When the kernel refuses, or the request asks for what the driver cannot do.
    fn mount(&self, request: &MountRequest<'_>) -> Result<Mount, DriverError>;

    /// Opens the layer's files together with those of the layers below that show, to be compared and
    /// written as a tar without a mount.
    ///
    /// # Errors
    /// [`DriverError::Missing`] when there is no such layer; [`DriverError::Unsupported`] by a driver
    /// that keeps no trees.
    fn tree(&self, id: &CacheId) -> Result<LayerTree, DriverError> {
        let _ = id;
        Err(DriverError::Unsupported {
            driver: self.info().name.clone(),
            what: "reading layers as trees".to_owned(),
        })
    }

    /// Returns the driver's layers that can be written, where [`Powers::writable`] says that it can
    /// have any.
    fn writable(&self) -> Option<&dyn WritableLayers> {
        None
    }

    /// Returns which of the driver's layers are mounted where, as the kernel's mount table of
    /// this process says.
    ///
    /// # Errors
    /// When the table cannot be read.
    fn mounts(&self) -> Result<Vec<MountInfo>, DriverError>;

    /// Returns facts for people, as names and values.
    ///
    /// # Errors
    /// When the driver's folder cannot be looked at.
    fn status(&self) -> Result<Vec<(String, String)>, DriverError>;

    /// Removes what dead processes left behind: drafts and half-done removals. What a living
    /// process holds is left alone. Returns how many were removed.
    ///
    /// # Errors
    /// At the first that cannot be removed.
    fn sweep(&self) -> Result<usize, DriverError>;

    /// Waits until every layer committed so far is on the disk.
    ///
    /// # Errors
    /// When the file system reports that something could not be written.
    fn sync(&self) -> Result<(), DriverError>;
}

/// What a driver is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DriverInfo {
    /// Its name, as given to [`open_driver`](crate::open_driver).
    pub name: String,
    /// Its version.
    pub version: String,
    /// The file system its layers lie on, as the kernel calls it.
    pub backing: String,
    /// The folder its layers lie in.
    pub home: PathBuf,
    /// Whether a layer can be applied before its parent is known ([`Parent::Later`]).
    pub stand_alone: bool,
    /// Whether a layer's files are copied from the layers below, too: what is read back of the
    /// layer's own then tells nothing of these.
    pub copies_parents: bool,
    /// What it can do beyond what every driver does.
    pub powers: Powers,
}

impl DriverInfo {
    /// Returns the description of a driver that can do nothing beyond what every driver does.
    #[must_use]
    pub fn new(name: &str, version: &str, home: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            backing: String::new(),
            home,
            stand_alone: false,
            copies_parents: false,
            powers: Powers::default(),
        }
    }
}

/// What a driver can do beyond what every driver does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Powers {
    /// Layers are kept and given back as raw streams: they need no record.
    pub raw_stream: bool,
    /// There are layers that can be written: [`Driver::writable`].
    pub writable: bool,
    /// Changes between two layers can be found without walking both.
    pub native_diff: bool,
    /// Owners can be shifted while mounting.
    pub id_mapped_mounts: bool,
    /// The size of a writable layer can be limited.
    pub quota: bool,
}

/// What a new layer stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parent<'a> {
    /// Nothing: it is the lowest.
    None,
    /// This layer.
    Known(&'a CacheId),
    /// To be said when it is committed.
    Later,
}

/// A layer being filled; dropping it discards the work.
pub trait Draft: Send {
    /// Returns the way to fill it.
    fn body(&mut self) -> DraftBody<'_>;

    /// Says that the draft is filled, and lets go of the descriptors and the memory that filling
    /// needs: any number of such layers may wait for their parents.
    ///
    /// # Errors
    /// When the draft is incomplete, or what is left of it cannot be written.
    fn park(self: Box<Self>) -> Result<Box<dyn Parked>, DriverError>;

    /// Publishes the draft at once: [`Draft::park`], then [`Parked::commit`].
    ///
    /// # Errors
    /// As these two.
    fn commit(
        self: Box<Self>,
        id: &CacheId,
        parent: Option<&CacheId>,
    ) -> Result<Placed, DriverError> {
        self.park()?.commit(id, parent)
    }
}

/// A layer that was filled and waits for its place; dropping it discards the work.
pub trait Parked: Send {
    /// Publishes the draft as layer `id` over `parent`, in one step.
    ///
    /// Does what had to wait for the parent: hard links into lower layers, attributes of
    /// directories that no entry described. The tree is not waited for to reach the disk
    /// ([`Driver::sync`]), the driver's own facts are.
    ///
    /// # Errors
    /// A hard link without a target is refused with the entry's name. After any error nothing
    /// of the draft is left.
    fn commit(
        self: Box<Self>,
        id: &CacheId,
        parent: Option<&CacheId>,
    ) -> Result<Placed, DriverError>;

    /// As [`Parked::commit`], but the driver's own facts are not waited for either: after many of
    /// these, one [`Driver::sync`] does it for all.
    ///
    /// # Errors
    /// As [`Parked::commit`].
    fn commit_unsynced(
        self: Box<Self>,
        id: &CacheId,
        parent: Option<&CacheId>,
    ) -> Result<Placed, DriverError> {
        self.commit(id, parent)
    }
}

/// How a draft is filled.
pub enum DraftBody<'a> {
    /// Entry by entry.
    Tree(&'a mut TreeDraft),
    /// With the raw tar, which such a driver gives back as it came.
    Stream(&'a mut dyn Write),
}

impl std::fmt::Debug for DraftBody<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tree(_) => "Tree",
            Self::Stream(_) => "Stream",
        })
    }
}

/// What became of a draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// It is the layer now.
    New,
    /// The layer was there already; the draft was discarded.
    AlreadyThere,
}

/// A layer's own content, to be read back.
pub enum LayerFiles {
    /// Files by name; with the record they make the layer's tar.
    Tree(TreeFiles),
    /// The layer's tar itself.
    Stream(Box<dyn Read + Send>),
}

impl std::fmt::Debug for LayerFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tree(_) => "Tree",
            Self::Stream(_) => "Stream",
        })
    }
}
