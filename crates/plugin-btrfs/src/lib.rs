//! A driver of lith that keeps each layer in a subvolume of btrfs.
//!
//! A layer begins as a snapshot of its parent's, which costs the same however many files there are,
//! and is read-only when it is complete. Removing one needs no walk over its files and no quota
//! groups.
//!
//! It is a plugin: `lith --driver ./liblith_btrfs.so`. What lith asks of it is said in `lith-plugin`.

mod changed;
#[allow(unsafe_code)]
mod sys;

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use lith_plugin::{Backend, BackendError, BackendInfo, Plugin, Powers};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

lith_plugin::export_driver!(Btrfs);

/// A folder on btrfs in which subvolumes are made.
#[derive(Debug)]
pub struct Btrfs {
    info: BackendInfo,
}

/// How directories are opened: so that btrfs takes calls on them, and through no link.
const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

impl Plugin for Btrfs {
    const NAME: &'static str = "btrfs";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const POWERS: Powers = Powers::NONE.with_snapshot().with_seal().with_changed();

    fn open(home: &Path) -> Result<Self, BackendError> {
        let folder = rustix::fs::open(home, DIRECTORY, Mode::empty())?;
        if !sys::is_btrfs(folder.as_fd())? {
            return Err(BackendError::new(format!(
                "{} does not lie on btrfs: put the root on a btrfs file system, or use another driver",
                home.display()
            )));
        }
        let this = Self {
            info: BackendInfo::of::<Self>(),
        };
        // Where there is something already, it was tried before that was made: every command opens this.
        if is_empty(folder.as_fd())? {
            this.try_out(folder.as_fd())?;
        }
        Ok(this)
    }
}

impl Btrfs {
    /// Sees whether this process may make and remove subvolumes, before anything depends on it.
    fn try_out(&self, folder: BorrowedFd<'_>) -> Result<(), BackendError> {
        // No layer has such a name, and no other process this one.
        let name = CString::new(format!(".lith-btrfs-trial-{}", std::process::id()));
        let name = name.map_err(|error| BackendError::new(error.to_string()))?;
        let tried = self
            .create(folder, &name)
            .and_then(|()| self.remove(folder, &name));
        tried.map_err(|error| {
            BackendError::new(format!(
                "subvolumes cannot be made and removed here, which root of the machine always can: \
                 {error}"
            ))
        })
    }
}

impl Backend for Btrfs {
    fn info(&self) -> &BackendInfo {
        &self.info
    }

    fn create(&self, dir: BorrowedFd<'_>, name: &CStr) -> Result<(), BackendError> {
        sys::create(dir, name)?;
        let tree = open(dir, name)?;
        // The kernel made it with what the umask leaves.
        Ok(rustix::fs::fchmod(&tree, Mode::RWXU)?)
    }

    fn remove(&self, dir: BorrowedFd<'_>, name: &CStr) -> Result<(), BackendError> {
        let tree = match open(dir, name) {
            Err(Errno::NOENT) => return Ok(()),
            // Nothing of ours: it goes as all other files do.
            Err(Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            tree => tree?,
        };
        if !sys::is_subvolume(tree.as_fd())? {
            return Ok(());
        }
        match sys::destroy(dir, name) {
            // Somebody made subvolumes in one that could be written. They go as directories do.
            Err(Errno::NOTEMPTY) => Ok(sys::set_read_only(tree.as_fd(), false)?),
            Err(Errno::NOENT) => Ok(()),
            done => Ok(done?),
        }
    }

    fn snapshot(
        &self,
        tree: BorrowedFd<'_>,
        dir: BorrowedFd<'_>,
        name: &CStr,
    ) -> Result<(), BackendError> {
        Ok(sys::snapshot(tree, dir, name)?)
    }

    fn seal(&self, tree: BorrowedFd<'_>) -> Result<(), BackendError> {
        Ok(sys::set_read_only(tree, true)?)
    }

    fn changed(
        &self,
        tree: BorrowedFd<'_>,
        since: BorrowedFd<'_>,
        found: &mut dyn FnMut(&[u8]),
    ) -> Result<(), BackendError> {
        changed::directories(tree, since, found)
    }
}

fn open(dir: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(dir, name, DIRECTORY, Mode::empty())
}

fn is_empty(folder: BorrowedFd<'_>) -> Result<bool, Errno> {
    let mut listing = rustix::fs::Dir::read_from(folder)?;
    while let Some(entry) = listing.read() {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}
