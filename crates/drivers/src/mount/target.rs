//! The directory on which something is to be mounted.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::tree::handle;

/// A directory, held, so that what is mounted lands on it whatever becomes of its name.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) path: PathBuf,
    pub(crate) fd: OwnedFd,
}

impl Target {
    /// Links on the way there, and a last one, are followed: the name is the user's, not a layer's.
    pub(crate) fn open(target: &Path) -> io::Result<Self> {
        let path = target.canonicalize()?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::open(&path, flags, Mode::empty())?;
        Ok(Self { path, fd })
    }

    /// A path for calls that take none but paths.
    pub(crate) fn magic_path(&self) -> String {
        handle::magic_path(self.fd.as_fd())
    }
}
