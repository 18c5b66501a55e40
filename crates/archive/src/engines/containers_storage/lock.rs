//! The locks of a containers-storage, taken as podman takes them to read.
//!
//! Each list has a lock file beside it, and whoever uses the list holds a record lock on all of
//! that file: shared to read, exclusive to write. A layer that is being read out keeps the lock of
//! the layers shared until its reader is closed. The content of the file tells who wrote last; it
//! is not touched here. Ours are open-file-description locks, which exclude and are excluded by
//! the process locks of podman and do not vanish when another handle of the file is closed.

use std::fs::File;
use std::io;
use std::time::Duration;

use lith_graph::Observer;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use crate::LoadError;
use crate::engines::EngineError;
use crate::folder::Folder;

/// How long to wait before the next try: a writer may hold a lock for as long as it takes to
/// extract a layer, and whoever waits wants to be able to stop.
const AGAIN: Duration = Duration::from_millis(20);

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub(super) struct Shared {
    _file: Option<File>,
}

/// Waits until nobody writes what the lock file `below` protects.
///
/// Where there is no lock file nobody can be at work: a copy of a store, or one that was never
/// used.
pub(super) fn shared(
    store: &Folder,
    below: &str,
    observer: &dyn Observer,
) -> Result<Shared, LoadError> {
    let Some(file) = store.file(below)? else {
        return Ok(Shared { _file: None });
    };
    while !try_shared(&file).map_err(|source| EngineError::Io {
        action: "lock",
        path: store.path(below),
        source,
    })? {
        if observer.cancelled() {
            return Err(LoadError::Cancelled);
        }
        std::thread::sleep(AGAIN);
    }
    Ok(Shared { _file: Some(file) })
}

fn try_shared(file: &File) -> io::Result<bool> {
    let whole = libc::flock {
        l_type: libc::F_RDLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    loop {
        match fcntl(file, FcntlArg::F_OFD_SETLK(&whole)) {
            Ok(_) => return Ok(true),
            Err(Errno::EAGAIN | Errno::EACCES) => return Ok(false),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
