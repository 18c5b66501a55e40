//! Reading a layer's files back by the names of its record.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::tree::handle;
use crate::tree::name;

/// A layer's own regular files, by name.
///
/// Names mean what they meant when the layer was applied: `..` and absolute names stay inside the
/// layer. No link is followed on the way or at the end, nothing but a regular file is read, and
/// no open ever blocks. Cheap when consecutive names share their directory.
#[derive(Debug)]
pub struct TreeFiles {
    root: OwnedFd,
    held: Option<(Vec<u8>, OwnedFd)>,
    follow: bool,
}

impl TreeFiles {
    pub(crate) fn new(root: OwnedFd) -> Self {
        Self {
            root,
            held: None,
            follow: false,
        }
    }

    /// Opens a tree that another tool extracted.
    ///
    /// Such a tool may have written an entry through a link of the same layer, so links on the
    /// way to a file are followed here, with `dir` as the root that none of them leaves.
    ///
    /// # Errors
    /// When `dir` is no directory that can be opened.
    pub fn extracted(dir: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(dir, flags, Mode::empty())?;
        Ok(Self::extracted_in(root))
    }

    /// The same for a directory that is open already, which may be a handle that only stands for
    /// it.
    pub fn extracted_in(root: OwnedFd) -> Self {
        Self {
            root,
            held: None,
            follow: true,
        }
    }

    /// The same files, for another thread.
    ///
    /// # Errors
    /// When there is no further handle to be had.
    pub fn another(&self) -> io::Result<Self> {
        Ok(Self {
            root: self.root.try_clone()?,
            held: None,
            follow: self.follow,
        })
    }

    /// Opens the file of an entry, by the name in the record.
    ///
    /// # Errors
    /// Whatever is no regular file is refused with `InvalidInput`, a link and a device with the
    /// kernel's error for it.
    pub fn open(&mut self, name: &[u8]) -> io::Result<File> {
        Ok(self.open_sized(name)?.0)
    }

    /// As [`open`](Self::open), and says how long the file is.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_sized(&mut self, name: &[u8]) -> io::Result<(File, u64)> {
        let place = name::place(name);
        let (parent, last) = name::split(&place);
        if last.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            ));
        }
        let held = match self.held.take() {
            Some(held) if held.0 == parent => held,
            _ => (parent.to_vec(), self.open_parent(parent)?),
        };
        let dir = &self.held.insert(held).1;
        // In a tree of others nobody knows what stands where: it is looked at before it is opened.
        let (fd, stat) = match self.follow {
            true => handle::open_regular(dir.as_fd(), last)?,
            false => handle::open_own(dir.as_fd(), last)?,
        };
        Ok((File::from(fd), u64::try_from(stat.st_size).unwrap_or(0)))
    }

    fn open_parent(&self, parent: &[u8]) -> io::Result<OwnedFd> {
        match handle::open_below(self.root.as_fd(), parent, handle::DIRECTORY) {
            Err(Errno::LOOP | Errno::NOTDIR) if self.follow => {
                let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                Ok(rustix::fs::openat2(
                    &self.root,
                    parent,
                    flags,
                    Mode::empty(),
                    resolve,
                )?)
            }
            opened => Ok(opened?),
        }
    }
}
