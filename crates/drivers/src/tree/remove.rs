//! Removes trees of any depth and kind, following nothing, leaving mounts alone.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;

use super::handle;
use super::name;
use super::walk::{Step, Walk};

/// Is told of each file before it is removed: its directory, its name, its place below the start.
pub(crate) type Witness<'a, E> = &'a mut dyn FnMut(BorrowedFd<'_>, &[u8], &[u8]) -> Result<(), E>;

/// Removes whatever stands at a name; nothing there is no error.
pub(crate) fn remove(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    remove_telling::<io::Error>(dir, name, &mut |_, _, _| Ok(()))
}

/// The same, and tells of each file that is no directory before it goes. It may be gone by then.
pub(crate) fn remove_telling<E: From<io::Error>>(
    dir: BorrowedFd<'_>,
    name: &[u8],
    witness: Witness<'_, E>,
) -> Result<(), E> {
    let errno = |error: Errno| E::from(error.into());
    let Some(stat) = handle::look(dir, name).map_err(errno)? else {
        return Ok(());
    };
    if handle::kind_of(&stat) != FileType::Directory {
        witness(dir, name, b"")?;
        return unlink(dir, name, AtFlags::empty()).map_err(errno);
    }
    let mut walk = Walk::new(open_for_removal(dir, name).map_err(errno)?)?;
    while let Some(step) = walk.next()? {
        match step {
            Step::Entry(entry, FileType::Directory) => {
                let fd = open_for_removal(walk.dir()?, &entry).map_err(errno)?;
                walk.enter(&entry, fd)?;
            }
            Step::Entry(entry, _) => {
                let place = name::join(walk.place(), &entry);
                witness(walk.dir()?, &entry, &place)?;
                unlink(walk.dir()?, &entry, AtFlags::empty()).map_err(errno)?;
            }
            Step::Left(entry) => unlink(walk.dir()?, &entry, AtFlags::REMOVEDIR).map_err(errno)?,
        }
    }
    unlink(dir, name, AtFlags::REMOVEDIR).map_err(errno)
}

fn unlink(dir: BorrowedFd<'_>, name: &[u8], flags: AtFlags) -> Result<(), Errno> {
    match rustix::fs::unlinkat(dir, name, flags) {
        Err(Errno::NOENT) => Ok(()),
        done => done,
    }
}

/// Opens a directory, unless something is mounted on it.
fn open_for_removal(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    match handle::open_unmounted(dir, name) {
        // A directory of ours that we gave away: take it back.
        Err(Errno::ACCESS) => {
            let node = rustix::fs::openat(dir, name, handle::DIRECTORY, Mode::empty())?;
            rustix::fs::chmod(handle::magic_path(node.as_fd()).as_str(), Mode::RWXU)?;
            handle::open_unmounted(dir, name)
        }
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_a_tree_deeper_than_any_path_and_follows_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let outside = temp.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("file"), "stays").unwrap();
        let home = rustix::fs::open(temp.path(), handle::LISTING, Mode::empty()).unwrap();
        rustix::fs::mkdirat(&home, "tree", Mode::RWXU).unwrap();
        let mut at = rustix::fs::openat(&home, "tree", handle::LISTING, Mode::empty()).unwrap();
        let part = "d".repeat(100);
        for _ in 0..300 {
            rustix::fs::symlinkat("../outside", &at, "link").unwrap();
            rustix::fs::mknodat(&at, "fifo", FileType::Fifo, Mode::empty(), 0).unwrap();
            rustix::fs::mkdirat(&at, part.as_str(), Mode::RWXU).unwrap();
            at = rustix::fs::openat(&at, part.as_str(), handle::LISTING, Mode::empty()).unwrap();
        }
        drop(at);
        remove(home.as_fd(), b"tree").unwrap();
        assert!(handle::look(home.as_fd(), b"tree").unwrap().is_none());
        assert_eq!(
            std::fs::read_to_string(outside.join("file")).unwrap(),
            "stays"
        );
        remove(home.as_fd(), b"tree").unwrap();
    }
}
