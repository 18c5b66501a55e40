//! Merges a draft into a copy of the tree below it, which lies around the draft.
//!
//! Everything moves by rename: what the layer does not touch costs nothing, and a directory that is
//! new comes with all that it holds.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode};

use super::attributes::Attributes;
use super::draft::TreeDraft;
use super::hiding::is_opaque;
use super::walk::{Step, Trail, Walk};
use super::{handle, name, remove};
use crate::error::{During, Trouble};

impl TreeDraft {
    /// Makes `around`, a copy of the tree that the draft was settled over, show what both show
    /// together. The draft's own tree lies in it, called `own`, and is gone then.
    pub(crate) fn merge(&mut self, around: &OwnedFd, own: &[u8]) -> Result<(), Trouble> {
        let root = self.open_listing(self.tree.root(), b".", b"")?;
        let attributes = self.attributes_of_directory(root.as_fd(), b"")?;
        if self.tree.opaque_root {
            empty(around.as_fd(), own)?;
        }
        let to = around.try_clone().during("open", b"")?;
        self.move_all(root, to)?;
        remove::remove(around.as_fd(), own).during("remove", own)?;
        self.meta.finish_directory(around.as_fd(), &attributes, b"")
    }

    /// Moves what is in the directory `from` to `to`.
    fn move_all(&mut self, from: OwnedFd, to: OwnedFd) -> Result<(), Trouble> {
        let mut walk = Walk::new(from).during("read", b"")?;
        let mut trail = Trail::new(to).during("read", b"")?;
        // What the directories that were entered are to be like.
        let mut wanted = Vec::new();
        while let Some(step) = walk.next().during("read", walk.place())? {
            match step {
                Step::Entry(entry, kind) => {
                    let place = name::join(walk.place(), &entry);
                    let dir = walk.dir().during("read", &place)?;
                    let to = trail.dir().during("open", &place)?;
                    let entered = self.move_one(dir, to, (&entry, kind), &place)?;
                    if let Some((from, to, attributes)) = entered {
                        walk.enter(&entry, from).during("read", &place)?;
                        trail.push(to).during("read", &place)?;
                        wanted.push(attributes);
                    }
                }
                Step::Left(entry) => {
                    let place = name::join(walk.place(), &entry);
                    let done = trail.pop().during("open", &place)?;
                    if let Some(wanted) = wanted.pop() {
                        self.meta.finish_directory(done.as_fd(), &wanted, &place)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Moves one name, or returns the two directories of that name that are to be merged, and what
    /// comes of them is to be like.
    fn move_one(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        (entry, kind): (&[u8], FileType),
        place: &[u8],
    ) -> Result<Option<(OwnedFd, OwnedFd, Attributes<'static>)>, Trouble> {
        let there = handle::look(to, entry).during("look at", place)?;
        let over_directory = there
            .as_ref()
            .is_some_and(|stat| handle::kind_of(stat) == FileType::Directory);
        if kind == FileType::Directory {
            let own = self.open_listing(from, entry, place)?;
            let hides = is_opaque(own.as_fd(), self.tree.opaque_xattr).during("look at", place)?;
            if over_directory && !hides {
                let attributes = self.attributes_of_directory(own.as_fd(), place)?;
                let to = self.open_listing(to, entry, place)?;
                return Ok(Some((own, to, attributes)));
            }
            if hides {
                let path = handle::magic_path(own.as_fd());
                rustix::fs::removexattr(path.as_str(), self.tree.opaque_xattr)
                    .during("remove an attribute of", place)?;
            }
        } else if kind == FileType::CharacterDevice {
            let own = handle::look(from, entry).during("look at", place)?;
            if own.as_ref().is_some_and(handle::is_whiteout) {
                remove::remove(to, entry).during("remove", place)?;
                return Ok(None);
            }
        }
        // A file takes a file's place by itself.
        if there.is_some() && (over_directory || kind == FileType::Directory) {
            remove::remove(to, entry).during("remove", place)?;
        }
        rustix::fs::renameat(from, entry, to, entry).during("move", place)?;
        Ok(None)
    }

    fn open_listing(
        &self,
        dir: BorrowedFd<'_>,
        entry: &[u8],
        place: &[u8],
    ) -> Result<OwnedFd, Trouble> {
        rustix::fs::openat(dir, entry, handle::LISTING, Mode::empty()).during("open", place)
    }

    fn attributes_of_directory(
        &self,
        dir: BorrowedFd<'_>,
        place: &[u8],
    ) -> Result<Attributes<'static>, Trouble> {
        let stat = rustix::fs::fstat(dir).during("look at", place)?;
        self.meta
            .read_open(dir, &stat)
            .during("read the attributes of", place)
    }
}

/// Removes all that is in a directory, but for one name.
fn empty(dir: BorrowedFd<'_>, but: &[u8]) -> Result<(), Trouble> {
    let listing = rustix::fs::openat(dir, c".", handle::LISTING, Mode::empty());
    let mut listing = listing.and_then(rustix::fs::Dir::new).during("read", b"")?;
    while let Some(entry) = listing.read() {
        let entry = entry.during("read", b"")?;
        let found = entry.file_name().to_bytes();
        if found != b"." && found != b".." && found != but {
            remove::remove(dir, found).during("remove", found)?;
        }
    }
    Ok(())
}
