//! Layers that can be written: made over a layer, mounted as often as one likes, ended by removal.
//!
//! ```text
//! HOME/.writable/<ID>/layer.json   the layer it stands on
//!                    /label        what its owner wanted noted
//!                    /<tree>/      the files: `diff` of overlay, a full copy in `tree` of vfs
//!                    /work/        the kernel's, where there is an overlay to be mounted
//! ```
//!
//! A folder appears complete, by one rename of a draft, and goes by one rename into a work folder:
//! what a killed process leaves is a layer that can be used, or is swept with its drafts.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{FlockOperation, Mode};
use rustix::io::Errno;

use crate::draft::{FindBeneath, LayerDraft};
use crate::driver::{Parent, Placed};
use crate::error::DriverError;
use crate::facts::Facts;
use crate::home::Home;
use crate::id::CacheId;
use crate::tree::settle::Form;
use crate::tree::{LayerTree, handle};
use crate::usage::Usage;
use crate::work::WorkFolder;

/// Where writable layers are, below a driver's folder. No cache ID can have this name.
pub(crate) const FOLDER: &str = ".writable";
/// The kernel's folder beside an upper directory: on the same file system, and nobody else's.
pub(crate) const WORK: &str = "work";
const LABEL: &str = "label";
/// A label is no longer than this.
const LONGEST_LABEL: usize = 16 << 20;

/// Keeps layers that can be written.
///
/// Their IDs are names of their own: a layer and a writable layer may have the same. Nothing of
/// a writable layer is in memory; every process finds those that there are. That the layer below
/// one is not removed is the caller's business, as it is for layers on top of each other.
pub trait WritableLayers: Send + Sync {
    /// Makes a writable layer over `parent`, which shows everything that the parent does, or over
    /// nothing. `label` is kept beside it, of at most 16 MiB.
    ///
    /// It appears in one step. It survives the process and, except for what was written into it
    /// last, the machine.
    ///
    /// # Errors
    /// [`DriverError::Exists`] when there is one of this name; [`DriverError::Missing`] for the
    /// parent. Nothing is left then.
    fn create(
        &self,
        id: &CacheId,
        parent: Option<&CacheId>,
        label: &[u8],
    ) -> Result<(), DriverError>;

    /// Returns all that there are, sorted by ID.
    ///
    /// # Errors
    /// When the driver's folder cannot be read.
    fn list(&self) -> Result<Vec<CacheId>, DriverError>;

    /// Returns what is known of one.
    ///
    /// # Errors
    /// [`DriverError::Missing`] when there is none.
    fn get(&self, id: &CacheId) -> Result<WritableLayer, DriverError>;

    /// Returns those that stand directly on a layer.
    ///
    /// # Errors
    /// When the driver's folder cannot be read.
    fn standing_on(&self, parent: &CacheId) -> Result<Vec<CacheId>, DriverError>;

    /// Replaces what its owner wanted noted, in one step; it is on the disk when this returns.
    ///
    /// # Errors
    /// [`DriverError::MissingWritable`] when there is none.
    fn relabel(&self, id: &CacheId, label: &[u8]) -> Result<(), DriverError>;

    /// Opens its files, together with those of the layers below that show, as they are now.
    ///
    /// # Errors
    /// [`DriverError::Missing`] when there is none.
    fn tree(&self, id: &CacheId) -> Result<LayerTree, DriverError>;

    /// Returns what removing it would give back.
    ///
    /// # Errors
    /// [`DriverError::Missing`] when there is none.
    fn usage(&self, id: &CacheId) -> Result<Usage, DriverError>;

    /// Removes one, with everything that was written: gone in one step. One that is not there is no
    /// error.
    ///
    /// # Errors
    /// [`DriverError::Busy`] while it is mounted.
    fn remove(&self, id: &CacheId) -> Result<(), DriverError>;
}

/// A layer that can be written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WritableLayer {
    /// Its name.
    pub id: CacheId,
    /// The layer it stands on.
    pub parent: Option<CacheId>,
    /// What its owner wanted noted.
    pub label: Vec<u8>,
}

/// The writable layers of a driver that keeps trees.
#[derive(Debug)]
pub(crate) struct Writables {
    pub(crate) home: Arc<Home>,
    /// How they lie, and what they are made over.
    pub(crate) form: Form,
    pub(crate) beneath: FindBeneath,
    /// The layers whose trees show in one, beside its own.
    pub(crate) lowers: fn(&Home, &CacheId) -> Result<Vec<CacheId>, DriverError>,
}

impl WritableLayers for Writables {
    fn create(
        &self,
        id: &CacheId,
        parent: Option<&CacheId>,
        label: &[u8],
    ) -> Result<(), DriverError> {
        self.home.expect_no_writable(id)?;
        let stands_on = parent.map_or(Parent::None, Parent::Known);
        LayerDraft::prepare(&self.home, stands_on, self.form, self.beneath)?
            .publish_writable(id, parent, label)
    }

    fn list(&self) -> Result<Vec<CacheId>, DriverError> {
        self.home.list_writable()
    }

    fn get(&self, id: &CacheId) -> Result<WritableLayer, DriverError> {
        self.home.writable(id)
    }

    fn relabel(&self, id: &CacheId, label: &[u8]) -> Result<(), DriverError> {
        self.home.relabel_writable(id, label)
    }

    fn standing_on(&self, parent: &CacheId) -> Result<Vec<CacheId>, DriverError> {
        self.home.writable_on(parent)
    }

    fn tree(&self, id: &CacheId) -> Result<LayerTree, DriverError> {
        self.home.writable_facts(id)?;
        let lowers = (self.lowers)(&self.home, id)?;
        self.home.writable_tree(id, lowers.into_iter())
    }

    fn usage(&self, id: &CacheId) -> Result<Usage, DriverError> {
        self.home.writable_usage(id)
    }

    fn remove(&self, id: &CacheId) -> Result<(), DriverError> {
        self.home.remove_writable(id)
    }
}

/// The lock of one writable layer: nobody mounts or removes it meanwhile.
#[derive(Debug)]
pub(crate) struct WritableLock {
    _folder: OwnedFd,
}

impl Home {
    /// Where one lies below the folder.
    pub(crate) fn writable_below(id: &CacheId) -> String {
        format!("{FOLDER}/{id}")
    }

    pub(crate) fn writable_path(&self, id: &CacheId) -> PathBuf {
        self.path.join(Self::writable_below(id))
    }

    fn writable_exists(&self, id: &CacheId) -> Result<bool, DriverError> {
        match handle::look(self.fd(), Self::writable_below(id).as_bytes()) {
            Ok(found) => Ok(found.is_some()),
            Err(error) => Err(DriverError::io("look at", self.writable_path(id), error)),
        }
    }

    fn writable_missing(&self, id: &CacheId) -> DriverError {
        DriverError::MissingWritable {
            driver: self.driver.clone(),
            id: id.clone(),
        }
    }

    /// Refuses an ID that is taken.
    pub(crate) fn expect_no_writable(&self, id: &CacheId) -> Result<(), DriverError> {
        if self.writable_exists(id)? {
            return Err(DriverError::Exists { id: id.clone() });
        }
        Ok(())
    }

    /// Makes the folder `layer` of a work folder the writable layer `id`.
    pub(crate) fn publish_writable(
        &self,
        work: &WorkFolder,
        layer: &str,
        (id, facts): (&CacheId, &Facts),
        label: &[u8],
    ) -> Result<(), DriverError> {
        write_label(work, &format!("{layer}/{LABEL}"), label)?;
        let folder = self.path.join(FOLDER);
        match rustix::fs::mkdirat(self.fd(), FOLDER, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(DriverError::io("create", folder, error)),
        }
        let place = rustix::fs::openat(self.fd(), FOLDER, handle::LISTING, Mode::empty())
            .map_err(|error| DriverError::io("open", &folder, error))?;
        let meta = self.meta();
        meta.give_to_root(self.fd(), FOLDER.as_bytes())
            .map_err(|error| DriverError::io("set the owner of", &folder, error))?;
        match self.publish_in(place.as_fd(), work, layer, (id, facts), true)? {
            Placed::New => Ok(()),
            Placed::AlreadyThere => Err(DriverError::Exists { id: id.clone() }),
        }
    }

    pub(crate) fn list_writable(&self) -> Result<Vec<CacheId>, DriverError> {
        let path = self.path.join(FOLDER);
        let listing = match rustix::fs::openat(self.fd(), FOLDER, handle::LISTING, Mode::empty()) {
            // None was ever made.
            Err(Errno::NOENT) => return Ok(Vec::new()),
            listing => listing.map_err(|error| DriverError::io("open", &path, error))?,
        };
        let mut found = Self::ids_in(listing, &path)?;
        found.sort();
        Ok(found)
    }

    pub(crate) fn writable(&self, id: &CacheId) -> Result<WritableLayer, DriverError> {
        let facts = self.writable_facts(id)?;
        let parent = facts.parent.as_deref();
        let parent = parent
            .map(|found| self.id_in_facts(id, found))
            .transpose()?;
        let path = self.writable_path(id).join(LABEL);
        let file = format!("{}/{LABEL}", Self::writable_below(id));
        let mut label = Vec::new();
        handle::open_below(self.fd(), file.as_bytes(), handle::READ)
            .map_err(io::Error::from)
            .and_then(|fd| {
                let file = std::fs::File::from(fd);
                file.take(LONGEST_LABEL as u64 + 1).read_to_end(&mut label)
            })
            .map_err(|error| DriverError::io("read", path, error))?;
        Ok(WritableLayer {
            id: id.clone(),
            parent,
            label,
        })
    }

    pub(crate) fn relabel_writable(&self, id: &CacheId, label: &[u8]) -> Result<(), DriverError> {
        let _lock = self.lock_writable(id)?;
        let work = self.work_folder()?;
        write_label(&work, LABEL, label)?;
        let place = format!("{}/{LABEL}", Self::writable_below(id));
        rustix::fs::renameat(work.fd(), LABEL, self.fd(), place.as_str())
            .map_err(|error| DriverError::io("replace", self.path.join(&place), error))?;
        self.sync_parent(&place)?;
        work.remove()
    }

    pub(crate) fn writable_facts(&self, id: &CacheId) -> Result<Facts, DriverError> {
        if !self.writable_exists(id)? {
            return Err(self.writable_missing(id));
        }
        self.facts_in(&Self::writable_below(id), id)
    }

    pub(crate) fn writable_on(&self, parent: &CacheId) -> Result<Vec<CacheId>, DriverError> {
        let bases = self.bases()?.into_iter();
        Ok(bases
            .filter(|(base, _)| base == parent)
            .map(|(_, writable)| writable)
            .collect())
    }

    /// Which layers have writable ones standing on them, each with one of those.
    pub(crate) fn bases(&self) -> Result<Vec<(CacheId, CacheId)>, DriverError> {
        let mut bases = Vec::new();
        for id in self.list_writable()? {
            match self.writable_facts(&id) {
                Ok(facts) => {
                    if let Some(parent) = facts.parent {
                        bases.push((self.id_in_facts(&id, &parent)?, id.clone()));
                    }
                }
                // Removed meanwhile.
                Err(DriverError::MissingWritable { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(bases)
    }

    /// Waits until nobody else mounts or removes it.
    pub(crate) fn lock_writable(&self, id: &CacheId) -> Result<WritableLock, DriverError> {
        let path = self.writable_path(id);
        let below = Self::writable_below(id);
        let failed = |error: Errno| DriverError::io("lock", &path, error);
        let folder = match handle::open_below(self.fd(), below.as_bytes(), handle::LISTING) {
            Err(Errno::NOENT) => return Err(self.writable_missing(id)),
            folder => folder.map_err(failed)?,
        };
        loop {
            match rustix::fs::flock(&folder, FlockOperation::LockExclusive) {
                Err(Errno::INTR) => {}
                done => break done.map_err(failed)?,
            }
        }
        // It may have been removed while we waited.
        let held = rustix::fs::fstat(&folder).map_err(failed)?;
        let there = handle::look(self.fd(), below.as_bytes()).map_err(failed)?;
        let of = |stat: &rustix::fs::Stat| (stat.st_dev, stat.st_ino);
        if there.as_ref().map(of) != Some(of(&held)) {
            return Err(self.writable_missing(id));
        }
        Ok(WritableLock { _folder: folder })
    }

    /// Refuses to go on while it is mounted.
    pub(crate) fn expect_unmounted(&self, id: &CacheId) -> Result<(), DriverError> {
        let mut mounts = self.mounts()?.into_iter();
        match mounts.find(|mount| mount.writable && mount.layer == *id) {
            Some(mount) => Err(DriverError::Busy {
                id: id.clone(),
                target: mount.target,
            }),
            None => Ok(()),
        }
    }

    pub(crate) fn remove_writable(&self, id: &CacheId) -> Result<(), DriverError> {
        let _lock = match self.lock_writable(id) {
            Err(DriverError::MissingWritable { .. }) => return Ok(()),
            lock => lock?,
        };
        self.expect_unmounted(id)?;
        self.remove_below(&Self::writable_below(id))
    }

    pub(crate) fn writable_usage(&self, id: &CacheId) -> Result<Usage, DriverError> {
        if !self.writable_exists(id)? {
            return Err(self.writable_missing(id));
        }
        self.usage_below(&Self::writable_below(id), &|| self.writable_missing(id))
    }

    /// The trees that show in one over these, as paths below the folder.
    pub(crate) fn writable_tree(
        &self,
        id: &CacheId,
        lowers: impl Iterator<Item = CacheId>,
    ) -> Result<LayerTree, DriverError> {
        let own = format!("{}/{}", Self::writable_below(id), self.trees.name);
        let lowers: Vec<String> = lowers.map(|id| self.tree_of(&id)).collect();
        self.layer_tree(std::iter::once(own).chain(lowers))
    }

    pub(crate) fn layer_tree(
        &self,
        trees: impl Iterator<Item = String>,
    ) -> Result<LayerTree, DriverError> {
        let home = self.fd().try_clone_to_owned();
        let home = home.map_err(|error| DriverError::io("open", &self.path, error))?;
        Ok(LayerTree::new(
            home,
            trees.map(String::into_bytes).collect(),
            self.meta(),
            self.trees.clone(),
        ))
    }
}

/// Writes a label to a file of a work folder, and waits until it is on the disk.
fn write_label(work: &WorkFolder, file: &str, label: &[u8]) -> Result<(), DriverError> {
    let failed = |error: io::Error| DriverError::io("write", work.path().join(file), error);
    if label.len() > LONGEST_LABEL {
        return Err(failed(Errno::FBIG.into()));
    }
    let mode = Mode::RUSR | Mode::WUSR;
    let fd = rustix::fs::openat(work.fd(), file, handle::CREATE, mode)
        .map_err(|error| failed(error.into()))?;
    let mut file = std::fs::File::from(fd);
    file.write_all(label).map_err(failed)?;
    file.sync_all().map_err(failed)
}
