//! A driver whose trees are plain directories: the least that a driver can be.
//!
//! `plain.c` is the same in C. It has no optional functions, so that lith copies files where a layer
//! stands on another.
#![forbid(unsafe_code)]

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use lith_plugin::{Backend, BackendError, BackendInfo, Plugin, Powers, export_driver};
use rustix::fs::{AtFlags, Dir, Mode, OFlags, mkdirat, openat, unlinkat};
use rustix::io::Errno;

/// The driver; it knows nothing but its name.
#[derive(Debug)]
struct Plain(BackendInfo);

impl Plugin for Plain {
    const NAME: &'static str = "plain-rust";
    const VERSION: &'static str = "1.0.0";
    const POWERS: Powers = Powers::NONE;

    fn open(_home: &Path) -> Result<Self, BackendError> {
        Ok(Self(BackendInfo::of::<Self>()))
    }
}

impl Backend for Plain {
    fn info(&self) -> &BackendInfo {
        &self.0
    }

    fn create(&self, dir: BorrowedFd<'_>, name: &CStr) -> Result<(), BackendError> {
        mkdirat(dir, name, Mode::RWXU)
            .map_err(|error| BackendError::from(error).during("make a directory"))
    }

    fn remove(&self, dir: BorrowedFd<'_>, name: &CStr) -> Result<(), BackendError> {
        remove(dir, name).map_err(|error| BackendError::from(error).during("remove a tree"))
    }

    fn status(&self) -> Result<Vec<(String, String)>, BackendError> {
        Ok(vec![("trees".to_owned(), "plain directories".to_owned())])
    }
}

export_driver!(Plain);

/// Removes a tree. It goes down and up again with one directory open: trees may be deeper than any path, and
/// than a process may have files.
fn remove(dir: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    if gone(dir, name)? {
        return Ok(());
    }
    let mut at = open_below(dir, name)?;
    let mut depth = 1;
    let mut entered = true;
    while depth > 0 {
        let (seen, deeper) = clear(at.as_fd())?;
        if entered && !seen {
            // It was not empty, and shows nothing: it would not end.
            return Err(Errno::NOTEMPTY);
        }
        entered = deeper.is_some();
        at = match deeper {
            Some(deeper) => {
                depth += 1;
                deeper
            }
            None => {
                depth -= 1;
                // No link, but the parent. What is left in it is read again. Of the tree itself this is `dir`.
                open_below(at.as_fd(), c"..")?
            }
        };
    }
    unlinkat(dir, name, AtFlags::REMOVEDIR)
}

/// Removes what is in a directory, up to the first directory that is not empty itself, which is opened.
/// Says also whether there was anything.
fn clear(at: BorrowedFd<'_>) -> Result<(bool, Option<OwnedFd>), Errno> {
    let mut seen = false;
    for entry in Dir::read_from(at)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        seen = true;
        if !gone(at, name)? {
            return Ok((seen, Some(open_below(at, name)?)));
        }
    }
    Ok((seen, None))
}

/// Removes a file or an empty directory; says no to a directory that is not empty.
fn gone(dir: BorrowedFd<'_>, name: &CStr) -> Result<bool, Errno> {
    let removed = match unlinkat(dir, name, AtFlags::empty()) {
        // Also says when something is mounted here, before it says that it is not empty.
        Err(Errno::ISDIR) => unlinkat(dir, name, AtFlags::REMOVEDIR),
        done => done,
    };
    match removed {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
        Err(error) => Err(error),
    }
}

fn open_below(dir: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::empty())
}
