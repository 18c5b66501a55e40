//! Room kept aside: a full disk must keep nobody from making room, or from taking images away.
//!
//! To remove an image takes room, too: for the session's folder, for intents, for the log of the
//! index. So a root has a file of [`SIZE`] bytes with nothing in it. Work that needs little room
//! gives it up when the file system is full; other work makes it again where there is plenty.
//! Nothing depends on the file being there: what goes wrong with it is not worth an error.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::statvfs::statvfs;

use crate::root::Root;

/// Bytes kept aside.
const SIZE: u64 = 512 << 10;

/// A file system with less room than this is not made fuller.
const PLENTY: u64 = 32 << 20;

/// Makes the reserve, where there is none and plenty of room.
pub(crate) fn keep(root: &Root) {
    let path = root.reserve();
    if fs::symlink_metadata(&path).is_ok() || room(root.path()).is_none_or(|room| room < PLENTY) {
        return;
    }
    if let Err(error) = make(&path) {
        tracing::debug!(%error, path = %path.display(), "cannot keep room aside");
        let _ = fs::remove_file(&path);
    }
}

/// Gives the reserve up, where there is less room left than it takes.
pub(crate) fn spend(root: &Root) {
    if room(root.path()).is_none_or(|room| room >= SIZE) {
        return;
    }
    let path = root.reserve();
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, path = %path.display(), "cannot give up the room kept aside");
        }
        _ => {}
    }
}

fn make(path: &Path) -> io::Result<()> {
    let file = File::create_new(path)?;
    let size = i64::try_from(SIZE).map_err(io::Error::other)?;
    fallocate(&file, FallocateFlags::empty(), 0, size)?;
    Ok(())
}

/// Bytes that may still be written there.
fn room(path: &Path) -> Option<u64> {
    let there = statvfs(path).ok()?;
    Some(
        there
            .blocks_available()
            .saturating_mul(there.fragment_size()),
    )
}
