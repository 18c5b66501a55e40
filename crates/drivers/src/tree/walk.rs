//! Walks a tree of any depth with a bounded number of open directories.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, Stat};
use rustix::io::Errno;

use super::handle;
use super::name;

/// So many directories of a walk are open at once; those further up are opened again by `..`,
/// and must then be the ones they were.
const OPEN: usize = 48;

type Identity = (u64, u64);

fn identity(stat: &Stat) -> Identity {
    (stat.st_dev, stat.st_ino)
}

fn reopen_parent(child: BorrowedFd<'_>, expected: Identity) -> io::Result<OwnedFd> {
    let parent = rustix::fs::openat(child, c"..", handle::LISTING, Mode::empty())?;
    if identity(&rustix::fs::fstat(&parent)?) == expected {
        Ok(parent)
    } else {
        Err(io::Error::other(
            "a directory was moved while it was walked",
        ))
    }
}

/// What a [`Walk`] comes across.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A name in the current directory.
    Entry(Vec<u8>, FileType),
    /// The current directory was entered by this name before, and is done now.
    Left(Vec<u8>),
}

#[derive(Debug)]
struct Frame {
    dir: Option<Dir>,
    identity: Identity,
    cookie: i64,
}

/// A walk over a tree, directed by its caller: only what is entered is walked.
#[derive(Debug)]
pub(crate) struct Walk {
    frames: Vec<Frame>,
    place: Vec<u8>,
}

impl Walk {
    /// Starts in a directory that is open for listing.
    pub(crate) fn new(root: OwnedFd) -> io::Result<Self> {
        let mut walk = Self {
            frames: Vec::new(),
            place: Vec::new(),
        };
        walk.push(root)?;
        Ok(walk)
    }

    fn push(&mut self, fd: OwnedFd) -> io::Result<()> {
        let identity = identity(&rustix::fs::fstat(&fd)?);
        if let Some(far) = self
            .frames
            .len()
            .checked_sub(OPEN)
            .and_then(|n| self.frames.get_mut(n))
        {
            far.dir = None;
        }
        self.frames.push(Frame {
            dir: Some(Dir::new(fd)?),
            identity,
            cookie: 0,
        });
        Ok(())
    }

    /// Returns the current directory.
    pub(crate) fn dir(&self) -> io::Result<BorrowedFd<'_>> {
        let dir = self.frames.last().and_then(|frame| frame.dir.as_ref());
        Ok(dir
            .ok_or_else(|| io::Error::other("the walk is over"))?
            .fd()?)
    }

    /// Returns where the current directory lies below the start.
    pub(crate) fn place(&self) -> &[u8] {
        &self.place
    }

    /// Goes into a directory of the current one.
    pub(crate) fn enter(&mut self, name: &[u8], fd: OwnedFd) -> io::Result<()> {
        self.push(fd)?;
        name::push(&mut self.place, name);
        Ok(())
    }

    /// Returns what comes next, `None` at the end of the directory where the walk started.
    pub(crate) fn next(&mut self) -> io::Result<Option<Step>> {
        loop {
            let Some(frame) = self.frames.last_mut() else {
                return Ok(None);
            };
            let Some(dir) = frame.dir.as_mut() else {
                return Err(io::Error::other("a directory of the walk is closed"));
            };
            match dir.read() {
                Some(Err(Errno::INTR)) => {}
                Some(Err(error)) => return Err(error.into()),
                Some(Ok(entry)) => {
                    frame.cookie = entry.offset();
                    let found = entry.file_name().to_bytes();
                    if found == b"." || found == b".." {
                        continue;
                    }
                    let kind = match entry.file_type() {
                        FileType::Unknown => {
                            let flags = AtFlags::SYMLINK_NOFOLLOW;
                            handle::kind_of(&rustix::fs::statat(dir.fd()?, found, flags)?)
                        }
                        kind => kind,
                    };
                    return Ok(Some(Step::Entry(found.to_vec(), kind)));
                }
                None => return self.leave(),
            }
        }
    }

    fn leave(&mut self) -> io::Result<Option<Step>> {
        let Some(done) = self.frames.pop() else {
            return Ok(None);
        };
        let Some(above) = self.frames.last_mut() else {
            return Ok(None);
        };
        if above.dir.is_none() {
            let child = done
                .dir
                .as_ref()
                .ok_or_else(|| io::Error::other("a directory of the walk is closed"))?;
            let mut dir = Dir::new(reopen_parent(child.fd()?, above.identity)?)?;
            dir.seek(above.cookie)?;
            above.dir = Some(dir);
        }
        let (_, last) = name::split(&self.place);
        let last = last.to_vec();
        name::pop(&mut self.place);
        Ok(Some(Step::Left(last)))
    }
}

/// The directories from a start down to the current one, of which the nearest are open.
#[derive(Debug)]
pub(crate) struct Trail {
    frames: Vec<(Option<OwnedFd>, Identity)>,
}

impl Trail {
    pub(crate) fn new(root: OwnedFd) -> io::Result<Self> {
        let mut trail = Self { frames: Vec::new() };
        trail.push(root)?;
        Ok(trail)
    }

    pub(crate) fn push(&mut self, fd: OwnedFd) -> io::Result<()> {
        let identity = identity(&rustix::fs::fstat(&fd)?);
        if let Some(far) = self
            .frames
            .len()
            .checked_sub(OPEN)
            .and_then(|n| self.frames.get_mut(n))
        {
            far.0 = None;
        }
        self.frames.push((Some(fd), identity));
        Ok(())
    }

    pub(crate) fn dir(&self) -> io::Result<BorrowedFd<'_>> {
        let last = self.frames.last().and_then(|(fd, _)| fd.as_ref());
        Ok(last
            .ok_or_else(|| io::Error::other("the walk is over"))?
            .as_fd())
    }

    /// Goes back up, and returns the directory that was left.
    pub(crate) fn pop(&mut self) -> io::Result<OwnedFd> {
        let done = self.frames.pop().and_then(|(fd, _)| fd);
        let done = done.ok_or_else(|| io::Error::other("a directory of the walk is closed"))?;
        if let Some((fd, identity)) = self.frames.last_mut()
            && fd.is_none()
        {
            *fd = Some(reopen_parent(done.as_fd(), *identity)?);
        }
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn deep_and_wide_trees_are_walked_once() {
        let temp = tempfile::tempdir().unwrap();
        let root = rustix::fs::open(temp.path(), handle::LISTING, Mode::empty()).unwrap();
        let mut at = root.try_clone().unwrap();
        let mut made = 0;
        for level in 0..200 {
            for n in 0..5 {
                rustix::fs::mkdirat(&at, format!("f{level}-{n}"), Mode::RWXU).unwrap();
                made += 1;
            }
            rustix::fs::mkdirat(&at, "down", Mode::RWXU).unwrap();
            made += 1;
            at = rustix::fs::openat(&at, "down", handle::LISTING, Mode::empty()).unwrap();
        }
        let mut walk = Walk::new(root).unwrap();
        let (mut seen, mut left) = (BTreeSet::new(), 0);
        while let Some(step) = walk.next().unwrap() {
            match step {
                Step::Entry(name, FileType::Directory) => {
                    assert!(seen.insert(name::join(walk.place(), &name)));
                    let fd = rustix::fs::openat(
                        walk.dir().unwrap(),
                        name.as_slice(),
                        handle::LISTING,
                        Mode::empty(),
                    );
                    walk.enter(&name, fd.unwrap()).unwrap();
                }
                Step::Entry(..) => panic!("only directories were made"),
                Step::Left(_) => left += 1,
            }
        }
        assert_eq!((seen.len(), left), (made, made));
    }
}
