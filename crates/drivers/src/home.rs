//! A driver's folder: one folder for each layer, and one for work in progress.
//!
//! ```text
//! HOME/<cache ID>/layer.json     parent and some of those below (see `chain`), and whether the
//!                                layer hides them
//!                /<tree>/        the files: `diff` of overlay, `tree` of vfs
//!                /links/         what is recorded of symbolic links, where anything is
//! HOME/.work/<random>/<number>/  drafts and removals, held by a lock of this process
//! HOME/.writable/<ID>/           layers that can be written: see `writable`
//! ```

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags, XattrFlags};
use rustix::io::Errno;

use crate::driver::Placed;
use crate::error::DriverError;
use crate::facts::{self, FACTS, Facts};
use crate::files::TreeFiles;
use crate::id::CacheId;
use crate::id_maps::IdMaps;
use crate::mount::MountInfo;
use crate::mount::table::{self, Entry};
use crate::options::{DriverOptions, Ownership};
use crate::tree::handle;
use crate::tree::meta::Meta;
use crate::tree::recorded::{Means, XATTR};
use crate::trees::{LAYER, Trees};
use crate::work::{self, Shops, WorkFolder};
use crate::writable;

/// How the mount table's names of overlays of ours begin: those of layers, and of writable ones.
const SOURCE: &str = "lith:";
const WRITABLE_SOURCE: &str = "lith-rw:";

/// A driver's folder.
#[derive(Debug)]
pub(crate) struct Home {
    /// Name of the driver.
    pub(crate) driver: String,
    /// What a layer's files lie in, and how that is made.
    pub(crate) trees: Trees,
    pub(crate) path: PathBuf,
    pub(crate) ownership: Ownership,
    maps: Option<Arc<IdMaps>>,
    /// As the store has them, for people.
    told_maps: Option<String>,
    means: Means,
    fd: OwnedFd,
    shops: Shops,
    /// Tells this folder's mounts from those of others.
    mark: String,
}

impl Home {
    /// Opens the folder, and makes it if that is wanted.
    pub(crate) fn open(
        driver: &str,
        trees: Trees,
        path: &Path,
        options: &DriverOptions,
    ) -> Result<Self, DriverError> {
        let (maps, means) = owners(path, options)?;
        let meta = Meta::new(maps.clone(), means);
        let path = Self::make(path, options)?;
        let failed = |action, error: io::Error| DriverError::io(action, &path, error);
        let fd = rustix::fs::open(&path, handle::LISTING, Mode::empty())
            .map_err(|error| failed("open", error.into()))?;
        if options.create {
            make_folder(&path.join(work::FOLDER), &meta)?;
        }
        refuse_folding(&fd, &path)?;
        if means.records() {
            expect_user_xattrs(&fd, &path)?;
        }
        let stat = rustix::fs::fstat(&fd).map_err(|error| failed("look at", error.into()))?;
        let mark = format!("{:x}.{:x}", stat.st_dev, stat.st_ino);
        let home = Self {
            driver: driver.to_owned(),
            shops: Shops::new(trees.clone()),
            trees,
            path,
            ownership: options.ownership,
            maps,
            told_maps: options.id_maps.as_ref().map(IdMaps::to_string),
            means,
            fd,
            mark,
        };
        if options.sweep {
            // What is left behind does no harm: it must not keep a store from being opened.
            if let Err(error) = home.sweep() {
                tracing::warn!(%error, "cannot sweep");
            }
        }
        Ok(home)
    }

    /// Makes the folder itself, if that is wanted, and returns where it really is.
    pub(crate) fn make(path: &Path, options: &DriverOptions) -> Result<PathBuf, DriverError> {
        if options.create {
            let (maps, means) = owners(path, options)?;
            make_folder(path, &Meta::new(maps, means))?;
        }
        path.canonicalize()
            .map_err(|error| DriverError::io("open", path, error))
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Whether overlay mounts are to look for the attributes that a user can set.
    pub(crate) fn user_xattrs(&self) -> bool {
        self.means.records()
    }

    /// How attributes lie on the disk here.
    pub(crate) fn meta(&self) -> Meta {
        Meta::new(self.maps.clone(), self.means)
    }

    pub(crate) fn sweep(&self) -> Result<usize, DriverError> {
        work::sweep(self.fd(), &self.path, &self.trees)
    }

    pub(crate) fn work_folder(&self) -> Result<WorkFolder, DriverError> {
        self.shops.work_folder(self.fd(), &self.path)
    }

    /// Where a layer's files are, below the folder.
    pub(crate) fn tree_of(&self, id: &CacheId) -> String {
        format!("{id}/{}", self.trees.name)
    }

    pub(crate) fn layer_path(&self, id: &CacheId) -> PathBuf {
        self.path.join(id.as_str())
    }

    pub(crate) fn exists(&self, id: &CacheId) -> Result<bool, DriverError> {
        handle::look(self.fd(), id.as_str().as_bytes())
            .map(|found| found.is_some())
            .map_err(|error| DriverError::io("look at", self.layer_path(id), error))
    }

    pub(crate) fn expect(&self, id: &CacheId) -> Result<(), DriverError> {
        if self.exists(id)? {
            Ok(())
        } else {
            Err(self.missing(id))
        }
    }

    /// The same, and the layer's files are where they should be.
    pub(crate) fn expect_tree(&self, id: &CacheId) -> Result<(), DriverError> {
        let tree = self.tree_of(id);
        match handle::look(self.fd(), tree.as_bytes()) {
            Ok(Some(_)) => Ok(()),
            Ok(None) => {
                self.expect(id)?;
                Err(DriverError::Damaged {
                    id: id.clone(),
                    path: self.path.join(tree),
                    reason: "it is missing".to_owned(),
                })
            }
            Err(error) => Err(DriverError::io("look at", self.path.join(tree), error)),
        }
    }

    pub(crate) fn missing(&self, id: &CacheId) -> DriverError {
        DriverError::Missing {
            driver: self.driver.clone(),
            id: id.clone(),
        }
    }

    pub(crate) fn list(&self) -> Result<Vec<CacheId>, DriverError> {
        let failed = |error: Errno| DriverError::io("read", &self.path, error);
        let listing =
            rustix::fs::openat(self.fd(), c".", handle::LISTING, Mode::empty()).map_err(failed)?;
        Self::ids_in(listing, &self.path)
    }

    /// The folders in a folder whose names are IDs.
    pub(crate) fn ids_in(listing: OwnedFd, path: &Path) -> Result<Vec<CacheId>, DriverError> {
        let failed = |error: Errno| DriverError::io("read", path, error);
        let mut dir = rustix::fs::Dir::new(listing).map_err(failed)?;
        let mut found = Vec::new();
        while let Some(entry) = dir.read() {
            let entry = entry.map_err(failed)?;
            let folder = matches!(entry.file_type(), FileType::Directory | FileType::Unknown);
            // Anything else is not ours.
            if let (true, Ok(Ok(id))) = (folder, entry.file_name().to_str().map(str::parse)) {
                found.push(id);
            }
        }
        Ok(found)
    }

    /// Opens a layer's tree.
    pub(crate) fn open_tree(&self, id: &CacheId) -> Result<OwnedFd, DriverError> {
        self.open_tree_with(id, handle::DIRECTORY)
    }

    /// The same, by a handle through which it can be listed and copied.
    pub(crate) fn open_tree_for_reading(&self, id: &CacheId) -> Result<OwnedFd, DriverError> {
        self.open_tree_with(id, handle::LISTING)
    }

    fn open_tree_with(&self, id: &CacheId, flags: OFlags) -> Result<OwnedFd, DriverError> {
        self.expect(id)?;
        handle::open_below(self.fd(), self.tree_of(id).as_bytes(), flags).map_err(|error| {
            DriverError::io("open", self.layer_path(id).join(self.trees.name), error)
        })
    }

    /// Whether layers begin as copies of their parents' trees. What is recorded beside a tree is
    /// not in such a copy.
    pub(crate) fn can_snapshot(&self) -> bool {
        self.trees.can_snapshot() && !self.means.records()
    }

    pub(crate) fn files(&self, id: &CacheId) -> Result<TreeFiles, DriverError> {
        self.open_tree(id).map(TreeFiles::new)
    }

    /// Makes the folder `layer` of a work folder the layer `id`; `synced` or not until
    /// [`Home::sync`].
    pub(crate) fn publish(
        &self,
        work: &WorkFolder,
        layer: &str,
        layer_and_facts: (&CacheId, &Facts),
        synced: bool,
    ) -> Result<Placed, DriverError> {
        self.publish_in(self.fd(), work, layer, layer_and_facts, synced)
    }

    /// The same in a folder of this one.
    pub(crate) fn publish_in(
        &self,
        place: BorrowedFd<'_>,
        work: &WorkFolder,
        layer: &str,
        (id, facts): (&CacheId, &Facts),
        synced: bool,
    ) -> Result<Placed, DriverError> {
        let path = work.path().join(layer).join(FACTS);
        facts::write(work, layer, facts, synced)
            .map_err(|error| DriverError::io("write", &path, error))?;
        let meta = self.meta();
        meta.give_to_root(work.fd(), layer.as_bytes())
            .and_then(|()| meta.give_to_root(work.fd(), format!("{layer}/{FACTS}").as_bytes()))
            .map_err(|error| DriverError::io("set the owner of", path, error))?;
        match rustix::fs::renameat(work.fd(), layer, place, id.as_str()) {
            Ok(()) => {}
            // A folder of a layer is never empty, so that none is ever replaced.
            Err(Errno::EXIST | Errno::NOTEMPTY) => return Ok(Placed::AlreadyThere),
            Err(error) => return Err(DriverError::io("publish", self.layer_path(id), error)),
        }
        if synced {
            rustix::fs::openat(place, c".", handle::LISTING, Mode::empty())
                .and_then(rustix::fs::fsync)
                .map_err(|error| DriverError::io("sync", &self.path, error))?;
        }
        Ok(Placed::New)
    }

    /// Waits until the names beside a folder of this one are on the disk.
    pub(crate) fn sync_parent(&self, folder: &str) -> Result<(), DriverError> {
        let (parent, _) = crate::tree::name::split(folder.as_bytes());
        handle::open_below(self.fd(), parent, handle::LISTING)
            .and_then(rustix::fs::fsync)
            .map_err(|error| DriverError::io("sync", &self.path, error))
    }

    pub(crate) fn sync(&self) -> Result<(), DriverError> {
        rustix::fs::syncfs(&self.fd).map_err(|error| DriverError::io("sync", &self.path, error))
    }

    /// Removes a layer that no mount needs.
    pub(crate) fn remove(&self, id: &CacheId) -> Result<(), DriverError> {
        self.remove_below(id.as_str())
    }

    /// Removes a folder of this one: renamed aside first, so that it is gone in one step.
    pub(crate) fn remove_below(&self, folder: &str) -> Result<(), DriverError> {
        let work = self.work_folder()?;
        match rustix::fs::renameat(self.fd(), folder, work.fd(), LAYER) {
            Ok(()) => self.sync_parent(folder)?,
            Err(Errno::NOENT) => {}
            Err(error) => return Err(DriverError::io("remove", self.path.join(folder), error)),
        }
        work.remove()
    }

    /// What the mount table calls an overlay of this layer.
    pub(crate) fn mount_source(&self, id: &CacheId, writable: bool) -> String {
        let word = if writable { WRITABLE_SOURCE } else { SOURCE };
        format!("{word}{id}:{}", self.mark)
    }

    /// Finds this folder's layers in the mount table.
    pub(crate) fn mounts(&self) -> Result<Vec<MountInfo>, DriverError> {
        let table = table::read()
            .map_err(|error| DriverError::io("read", "/proc/self/mountinfo", error))?;
        let place = table::place_of(&self.path, &table);
        let ours = |entry: &Entry| -> Option<(CacheId, bool)> {
            if entry.kind == "overlay" {
                let source = std::str::from_utf8(&entry.source).ok()?;
                let (writable, named) = match source.strip_prefix(WRITABLE_SOURCE) {
                    Some(named) => (true, named),
                    None => (false, source.strip_prefix(SOURCE)?),
                };
                let (id, mark) = named.split_once(':')?;
                return if mark == self.mark {
                    Some((id.parse().ok()?, writable))
                } else {
                    None
                };
            }
            let (home, place) = place
                .as_ref()
                .filter(|(home, _)| home.device == entry.device)?;
            if home.id == entry.id {
                return None;
            }
            let below = entry.root.strip_prefix(place).ok()?.to_str()?;
            let (writable, below) = match below.strip_prefix(writable::FOLDER) {
                Some(below) => (true, below.strip_prefix('/')?),
                None => (false, below),
            };
            let (id, tree) = below.split_once('/')?;
            if tree == self.trees.name {
                Some((id.parse().ok()?, writable))
            } else {
                None
            }
        };
        let on_top: HashMap<&Path, u64> = table
            .iter()
            .map(|entry| (entry.target.as_path(), entry.id))
            .collect();
        let found = table.iter().filter_map(|entry| {
            let (layer, writable) = ours(entry)?;
            Some(MountInfo {
                layer,
                writable,
                target: entry.target.clone(),
                read_only: entry.read_only,
                covered: on_top.get(entry.target.as_path()) != Some(&entry.id),
            })
        });
        Ok(found.collect())
    }

    /// Returns what the kernel calls the file system of the folder.
    pub(crate) fn backing(&self) -> String {
        let table = table::read().unwrap_or_default();
        table::place_of(&self.path, &table)
            .map_or_else(String::new, |(entry, _)| entry.kind.clone())
    }

    pub(crate) fn status(&self) -> Vec<(String, String)> {
        let mut status = vec![
            ("Folder".to_owned(), self.path.display().to_string()),
            ("Backing file system".to_owned(), self.backing()),
            ("Ownership".to_owned(), self.ownership.to_string()),
        ];
        if let Some(maps) = &self.told_maps {
            status.push(("ID maps".to_owned(), maps.clone()));
        }
        status.extend(self.trees.status());
        status
    }
}

/// Returns by which maps owners are shifted, and what this process can put on files.
fn owners(
    path: &Path,
    options: &DriverOptions,
) -> Result<(Option<Arc<IdMaps>>, Means), DriverError> {
    let given = options.id_maps.is_some();
    if given != (options.ownership == Ownership::Mapped) {
        let ownership = options.ownership;
        return Err(DriverError::IdMaps { ownership, given });
    }
    let means = means(options).map_err(|reason| DriverError::Unsuitable {
        path: path.to_owned(),
        reason,
    })?;
    let maps = options.id_maps.as_ref().map(|maps| match means {
        Means::Namespace => maps.inside(),
        _ => maps.clone(),
    });
    Ok((maps.map(Arc::new), means))
}

/// Says what this process can put on files, or why it cannot work.
fn means(options: &DriverOptions) -> Result<Means, String> {
    let root = rustix::process::geteuid().is_root();
    match options.ownership {
        Ownership::Recorded => Ok(Means::Own),
        Ownership::Real if root => Ok(Means::All),
        Ownership::Mapped if root && options.in_namespace => Ok(Means::Namespace),
        Ownership::Mapped if root => Ok(Means::Shifted),
        Ownership::Real => Err("ownership real needs root".to_owned()),
        Ownership::Mapped => {
            Err("ownership mapped needs root, or a user namespace with the ID maps".to_owned())
        }
    }
}

/// Where no file can carry a record, nobody would know what it is to be.
fn expect_user_xattrs(fd: &OwnedFd, path: &Path) -> Result<(), DriverError> {
    if rustix::fs::fgetxattr(fd, XATTR, &mut [0; 2]).is_ok() {
        return Ok(());
    }
    match rustix::fs::fsetxattr(fd, XATTR, b"::", XattrFlags::empty()) {
        Ok(()) => Ok(()),
        Err(Errno::NOTSUP) => Err(DriverError::Unsuitable {
            path: path.to_owned(),
            reason: "its file system has no extended attributes of users, in which owners are \
                     recorded"
                .to_owned(),
        }),
        Err(error) => Err(DriverError::io("set an extended attribute of", path, error)),
    }
}

/// Makes a folder for our eyes only, unless it is there.
fn make_folder(path: &Path, meta: &Meta) -> Result<(), DriverError> {
    match rustix::fs::mkdir(path, Mode::RWXU) {
        Ok(()) => rustix::fs::chmod(path, Mode::RWXU)
            .and_then(|()| meta.give_to_root(rustix::fs::CWD, path.as_os_str().as_bytes()))
            .map_err(|error| DriverError::io("set mode and owner of", path, error)),
        Err(Errno::EXIST) => Ok(()),
        Err(Errno::NOENT) => match path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            Some(parent) if !parent.exists() => {
                make_folder(parent, meta)?;
                make_folder(path, meta)
            }
            _ => Err(DriverError::io("create", path, Errno::NOENT)),
        },
        Err(error) => Err(DriverError::io("create", path, error)),
    }
}

/// Where `a` and `A` are one file, a layer that has both would lose one.
fn refuse_folding(fd: &OwnedFd, path: &Path) -> Result<(), DriverError> {
    let folded = work::FOLDER.to_uppercase();
    match handle::look(fd.as_fd(), folded.as_bytes()) {
        Ok(None) => Ok(()),
        Ok(Some(_)) => Err(DriverError::Unsuitable {
            path: path.to_owned(),
            reason: "its file system does not tell upper from lower case".to_owned(),
        }),
        Err(error) => Err(DriverError::io("look at", path, error)),
    }
}
