//! Which directories of a snapshot have changed since it was made.
//!
//! Every inode knows the transaction that changed it last, and every block of the tree that it lies
//! in, too: blocks that are older than the snapshot are not looked into, however many files there
//! are.

use std::collections::BTreeSet;
use std::os::fd::BorrowedFd;

use lith_plugin::BackendError;
use rustix::io::Errno;

use crate::sys::{self, Subvolume};

/// Tells each directory of `tree`, a snapshot of `since`, in which something was changed.
pub(crate) fn directories(
    tree: BorrowedFd<'_>,
    since: BorrowedFd<'_>,
    found: &mut dyn FnMut(&[u8]),
) -> Result<(), BackendError> {
    // What the kernel has only noted to be written is in no tree yet.
    rustix::fs::syncfs(tree)?;
    let (new, old) = (sys::subvolume(tree)?, sys::subvolume(since)?);
    expect_snapshot(&new, &old)?;
    let mut directories = BTreeSet::new();
    for inode in sys::changed_inodes(tree, new.made_in)? {
        if inode.is_directory {
            directories.insert(inode.number);
        }
        // Its name, too, may be new or another.
        directories.extend(sys::parents(tree, inode.number)?);
    }
    for directory in directories {
        match sys::path(tree, directory) {
            Ok(path) => found(&path),
            // Removed meanwhile: then the one above has changed, too.
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn expect_snapshot(new: &Subvolume, old: &Subvolume) -> Result<(), BackendError> {
    if new.snapshot_of != old.uuid {
        return Err(BackendError::new("it is no snapshot of the other one"));
    }
    if old.changed_in > new.made_in {
        let message = "the one that it is a snapshot of has changed since";
        return Err(BackendError::new(message));
    }
    Ok(())
}
