//! Work folders: drafts and removals, told apart from the leftovers of dead processes by a lock.
//!
//! All work folders of one open home lie in one folder, its *shop*, which holds the one lock: a
//! thousand drafts may wait for their parents and need no descriptor.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::fs::{FlockOperation, Mode};
use rustix::io::Errno;

use crate::error::DriverError;
use crate::id::CacheId;
use crate::tree::{handle, remove};
use crate::trees::Trees;

/// Where work folders are, below a driver's folder. No cache ID can have this name.
pub(crate) const FOLDER: &str = ".work";
const LOCK: &str = "lock";

/// The shop of a home, for as long as there is work in it.
#[derive(Debug)]
pub(crate) struct Shops {
    current: Mutex<Weak<Shop>>,
    trees: Trees,
}

impl Shops {
    /// For work on trees of this kind.
    pub(crate) fn new(trees: Trees) -> Self {
        let current = Mutex::default();
        Self { current, trees }
    }

    /// Makes a work folder.
    pub(crate) fn work_folder(
        &self,
        home: BorrowedFd<'_>,
        home_path: &Path,
    ) -> Result<WorkFolder, DriverError> {
        let shop = {
            let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
            match current.upgrade() {
                Some(shop) => shop,
                None => {
                    let shop = Arc::new(Shop::create(home, home_path, &self.trees)?);
                    *current = Arc::downgrade(&shop);
                    shop
                }
            }
        };
        WorkFolder::create(shop)
    }
}

/// A folder of this process alone. Dropping it removes it with everything in it.
#[derive(Debug)]
struct Shop {
    parent: OwnedFd,
    name: String,
    path: PathBuf,
    fd: OwnedFd,
    trees: Trees,
    next: AtomicU64,
    /// Held as long as the folder is ours; the kernel lets go of it when we die.
    _lock: File,
}

impl Shop {
    fn create(home: BorrowedFd<'_>, home_path: &Path, trees: &Trees) -> Result<Self, DriverError> {
        let path = home_path.join(FOLDER);
        let parent = rustix::fs::openat(home, FOLDER, handle::DIRECTORY, Mode::empty())
            .map_err(|error| DriverError::io("open", &path, error))?;
        // Somebody sweeping may take it before it is locked: then another one is made.
        for _ in 0..1000 {
            let name = CacheId::random().to_string();
            let path = path.join(&name);
            match Self::try_create(&parent, &name) {
                Ok(Some((fd, lock))) => {
                    return Ok(Self {
                        parent,
                        name,
                        path,
                        fd,
                        trees: trees.clone(),
                        next: AtomicU64::new(0),
                        _lock: lock,
                    });
                }
                Ok(None) => {}
                Err(error) => return Err(DriverError::io("create", path, error)),
            }
        }
        Err(DriverError::io(
            "create",
            path,
            io::Error::other("it is swept away again and again"),
        ))
    }

    fn try_create(parent: &OwnedFd, name: &str) -> io::Result<Option<(OwnedFd, File)>> {
        rustix::fs::mkdirat(parent, name, Mode::RWXU)?;
        let fd = match rustix::fs::openat(parent, name, handle::DIRECTORY, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            fd => fd?,
        };
        let lock = match rustix::fs::openat(&fd, LOCK, handle::CREATE, Mode::RUSR | Mode::WUSR) {
            Err(Errno::NOENT | Errno::EXIST) => return Ok(None),
            lock => lock?,
        };
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Ok(None),
            done => done?,
        }
        let still_there = rustix::fs::fstat(&lock)?.st_nlink > 0;
        Ok(still_there.then(|| (fd, File::from(lock))))
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        let removed = remove_folder(self.parent.as_fd(), &self.name, &self.fd, &self.trees);
        if let Err(error) = removed {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove a work folder");
        }
    }
}

/// A folder for one piece of work, open. Dropping it removes it with everything in it.
#[derive(Debug)]
pub(crate) struct WorkFolder {
    fd: OwnedFd,
    place: ParkedFolder,
}

/// A work folder that nobody looks into for now: it needs no descriptor. Dropping it removes it
/// as well.
#[derive(Debug)]
pub(crate) struct ParkedFolder {
    shop: Arc<Shop>,
    name: String,
    path: PathBuf,
    removed: bool,
}

impl WorkFolder {
    fn create(shop: Arc<Shop>) -> Result<Self, DriverError> {
        let name = shop.next.fetch_add(1, Ordering::Relaxed).to_string();
        let path = shop.path.join(&name);
        rustix::fs::mkdirat(&shop.fd, name.as_str(), Mode::RWXU)
            .map_err(|error| DriverError::io("create", &path, error))?;
        let removed = false;
        ParkedFolder {
            shop,
            name,
            path,
            removed,
        }
        .open()
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.place.path
    }

    /// Where it lies below the driver's folder.
    pub(crate) fn below_home(&self) -> String {
        format!("{FOLDER}/{}/{}", self.place.shop.name, self.place.name)
    }

    /// Closes it.
    pub(crate) fn park(self) -> ParkedFolder {
        self.place
    }

    /// Removes it, and says if that fails.
    pub(crate) fn remove(mut self) -> Result<(), DriverError> {
        self.place
            .remove()
            .map_err(|error| DriverError::io("remove", &self.place.path, error))
    }
}

impl ParkedFolder {
    /// Opens it again.
    pub(crate) fn open(self) -> Result<WorkFolder, DriverError> {
        let flags = handle::DIRECTORY;
        let fd = rustix::fs::openat(&self.shop.fd, self.name.as_str(), flags, Mode::empty())
            .map_err(|error| DriverError::io("open", &self.path, error))?;
        Ok(WorkFolder { fd, place: self })
    }

    fn remove(&mut self) -> io::Result<()> {
        // A failure is told once.
        self.removed = true;
        let shop = &self.shop;
        shop.trees
            .remove_work(shop.fd.as_fd(), self.name.as_bytes())
    }
}

impl Drop for ParkedFolder {
    fn drop(&mut self) {
        if self.removed {
            return;
        }
        if let Err(error) = self.remove() {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove a work folder");
        }
    }
}

/// Removes everything else before the lock, so that who finds the rest can tell it is dead.
fn remove_folder(
    parent: BorrowedFd<'_>,
    name: &str,
    fd: &OwnedFd,
    trees: &Trees,
) -> io::Result<()> {
    let listing = match rustix::fs::openat(fd, c".", handle::LISTING, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        listing => listing?,
    };
    let mut dir = rustix::fs::Dir::new(listing)?;
    while let Some(entry) = dir.read() {
        let entry = entry?;
        let found = entry.file_name().to_bytes();
        if found != b"." && found != b".." && found != LOCK.as_bytes() {
            trees.remove_work(fd.as_fd(), found)?;
        }
    }
    // Nothing but the lock is left.
    remove::remove(parent, name.as_bytes())
}

/// Removes the work folders of dead processes. Returns how many.
pub(crate) fn sweep(
    home: BorrowedFd<'_>,
    home_path: &Path,
    trees: &Trees,
) -> Result<usize, DriverError> {
    let path = home_path.join(FOLDER);
    let failed = |action, error: io::Error| DriverError::io(action, &path, error);
    let listing = match rustix::fs::openat(home, FOLDER, handle::LISTING, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(0),
        listing => listing.map_err(|error| failed("open", error.into()))?,
    };
    let parent = listing.try_clone().map_err(|error| failed("open", error))?;
    let mut dir = rustix::fs::Dir::new(listing).map_err(|error| failed("read", error.into()))?;
    let mut swept = 0;
    while let Some(entry) = dir.read() {
        let entry = entry.map_err(|error| failed("read", error.into()))?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            let name = String::from_utf8_lossy(name);
            let removed = sweep_one(parent.as_fd(), &name, trees);
            swept += usize::from(
                removed.map_err(|error| DriverError::io("remove", path.join(&*name), error))?,
            );
        }
    }
    Ok(swept)
}

fn sweep_one(parent: BorrowedFd<'_>, name: &str, trees: &Trees) -> io::Result<bool> {
    let fd = match rustix::fs::openat(parent, name, handle::DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(false),
        // No folder: nothing of ours, but nothing anybody needs.
        Err(Errno::NOTDIR) => return remove::remove(parent, name.as_bytes()).map(|()| true),
        fd => fd?,
    };
    let flags = handle::CREATE.difference(rustix::fs::OFlags::EXCL);
    let lock = match rustix::fs::openat(&fd, LOCK, flags, Mode::RUSR | Mode::WUSR) {
        Err(Errno::NOENT) => return Ok(false),
        lock => lock?,
    };
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
        Ok(()) => remove_folder(parent, name, &fd, trees).map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_folders_of_the_dead_are_swept() {
        let temp = tempfile::tempdir().unwrap();
        let home = rustix::fs::open(temp.path(), handle::DIRECTORY, Mode::empty()).unwrap();
        rustix::fs::mkdirat(&home, FOLDER, Mode::RWXU).unwrap();
        let trees = Trees::plain("tree");
        let shops = Shops::new(trees.clone());
        let alive = shops.work_folder(home.as_fd(), temp.path()).unwrap();
        let parked = shops.work_folder(home.as_fd(), temp.path()).unwrap().park();
        std::fs::write(alive.path().join("file"), "x").unwrap();
        let dead = temp.path().join(FOLDER).join("dead");
        std::fs::create_dir_all(dead.join("layer/tree")).unwrap();
        std::fs::write(dead.join("lock"), "").unwrap();
        std::fs::create_dir(temp.path().join(FOLDER).join("never-locked")).unwrap();
        assert_eq!(sweep(home.as_fd(), temp.path(), &trees).unwrap(), 2);
        assert!(!dead.exists() && alive.path().join("file").exists());
        let path = alive.path().to_owned();
        drop(alive);
        assert!(!path.exists());
        let parked = parked.open().unwrap();
        assert!(parked.path().exists());
        parked.remove().unwrap();
        let work = temp.path().join(FOLDER);
        assert_eq!(std::fs::read_dir(work).unwrap().count(), 0);
        assert_eq!(sweep(home.as_fd(), temp.path(), &trees).unwrap(), 0);
    }
}
