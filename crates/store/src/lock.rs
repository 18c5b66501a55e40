//! Locks that die with their holder and leave nothing behind.
//!
//! All are open-file-description locks: each guard has a description of its own, so they
//! exclude threads of one process as well as processes, the kernel drops them when the
//! holder ends however it ends, and asking who holds one disturbs nobody.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use crate::error::{IoContext, StoreError};

/// Opens, and makes when missing, a file to hold locks on.
pub(crate) fn open(path: &Path) -> Result<File, StoreError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
        .at("open lock file", path)
}

/// How a range is held.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Shared,
    Exclusive,
}

fn range(mode: Mode, slot: u64) -> libc::flock {
    libc::flock {
        l_type: match mode {
            Mode::Shared => libc::F_RDLCK as libc::c_short,
            Mode::Exclusive => libc::F_WRLCK as libc::c_short,
        },
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: (slot & (i64::MAX as u64)) as libc::off_t,
        l_len: 1,
        l_pid: 0,
    }
}

/// Waits for the byte `slot` of a lock file.
pub(crate) fn wait(file: &File, mode: Mode, slot: u64) -> io::Result<()> {
    wait_range(file, range(mode, slot))
}

fn wait_range(file: &File, range: libc::flock) -> io::Result<()> {
    loop {
        match fcntl(file, FcntlArg::F_OFD_SETLKW(&range)) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Takes the byte `slot` of a lock file when it is free.
pub(crate) fn try_take(file: &File, mode: Mode, slot: u64) -> io::Result<bool> {
    let range = range(mode, slot);
    loop {
        match fcntl(file, FcntlArg::F_OFD_SETLK(&range)) {
            Ok(_) => return Ok(true),
            Err(Errno::EAGAIN | Errno::EACCES) => return Ok(false),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Tells whether another description holds the byte `slot`, without taking it.
pub(crate) fn is_held(file: &File, slot: u64) -> io::Result<bool> {
    let mut range = range(Mode::Exclusive, slot);
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut range))?;
    Ok(range.l_type != libc::F_UNLCK as libc::c_short)
}

/// Tries for the byte `slot` until `patience` is over.
pub(crate) fn take_within(
    file: &File,
    mode: Mode,
    slot: u64,
    patience: Duration,
) -> io::Result<bool> {
    let start = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        if try_take(file, mode, slot)? {
            return Ok(true);
        }
        if start.elapsed() >= patience {
            return Ok(false);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Tells whether `path` still names the open `file`: it may have been removed while its
/// lock was waited for.
pub(crate) fn still_named(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match std::fs::symlink_metadata(path) {
        Ok(found) => Ok(found.ino() == ours.ino() && found.dev() == ours.dev()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// A byte of a lock file that stays open, held exclusively until dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    file: &'a File,
}

impl<'a> Turn<'a> {
    /// Waits for the first byte of `file`, which is at `path`.
    pub(crate) fn wait(file: &'a File, path: &Path) -> Result<Turn<'a>, StoreError> {
        wait(file, Mode::Exclusive, 0).at("lock", path)?;
        Ok(Turn { file })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let free = libc::flock {
            l_type: libc::F_UNLCK as libc::c_short,
            ..range(Mode::Exclusive, 0)
        };
        if let Err(error) = fcntl(self.file, FcntlArg::F_OFD_SETLK(&free)) {
            tracing::error!(%error, "cannot let go of a lock");
        }
    }
}

/// More bytes than this are locked as the whole file: the kernel goes through all ranges of a
/// file for each that is added.
const MOST_RANGES: usize = 1000;

/// Bytes of a lock file, held exclusively until dropped.
#[derive(Debug)]
pub(crate) struct SlotLock {
    _file: File,
}

impl SlotLock {
    /// Waits for the byte that stands for `key`; two keys that share a byte only wait for
    /// each other.
    pub(crate) fn wait(path: &Path, key: &[u8; 32]) -> Result<SlotLock, StoreError> {
        SlotLock::wait_all(path, [*key].into_iter())
    }

    /// Waits for the bytes that stand for all of these keys, in the order of the bytes, so that
    /// two who want several of the same wait for each other and not in a circle.
    pub(crate) fn wait_all(
        path: &Path,
        keys: impl Iterator<Item = [u8; 32]>,
    ) -> Result<SlotLock, StoreError> {
        let slot = |[a, b, c, d, e, f, g, h, ..]: [u8; 32]| {
            u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 1
        };
        let slots: BTreeSet<u64> = keys.map(slot).collect();
        let file = open(path)?;
        if slots.len() > MOST_RANGES {
            wait_range(&file, whole()).at("lock", path)?;
        } else {
            for slot in slots {
                wait(&file, Mode::Exclusive, slot).at("lock", path)?;
            }
        }
        Ok(SlotLock { _file: file })
    }
}

/// All bytes that a file can have.
fn whole() -> libc::flock {
    libc::flock {
        l_start: 0,
        // As far as there is.
        l_len: 0,
        ..range(Mode::Exclusive, 0)
    }
}
