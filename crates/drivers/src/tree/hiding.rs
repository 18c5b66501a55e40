//! What a draft hides of lower layers: whiteouts and opaque directories.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, Mode, Stat, XattrFlags};
use rustix::io::Errno;

use super::draft::TreeDraft;
use super::handle::{self, kind_of};
use super::log::Encoder;
use super::meta::Meta;
use super::place::{self, Spot, Tree, is_described};
use super::walk::{Step, Walk};
use crate::error::{During, Trouble};

/// First byte of a note about what the draft hides of lower layers.
pub(crate) const NOTE_WHITEOUT: u8 = 0;
pub(crate) const NOTE_OPAQUE: u8 = 1;
/// The mode, while a draft is filled, of directories that no entry described and that were looked
/// into and hold more than whiteouts.
const HOLDS_SOMETHING: Mode = Mode::RWXU.union(Mode::XOTH);

impl TreeDraft {
    /// Hides a name of lower layers. What this layer brings under it stays.
    pub(super) fn whiteout(&mut self, parent: &[u8], hidden: &[u8]) -> Result<(), Trouble> {
        self.tree.writers.drain()?;
        // Below a file of this layer, lower layers have nothing to hide.
        let Some(spot) = self.tree.parent_unless_taken(parent)? else {
            return Ok(());
        };
        let place = spot.at(hidden);
        let Some(stat) = handle::look(spot.dir(), hidden).during("look at", &place)? else {
            return self.tree.make_whiteout(&self.meta, &spot, hidden);
        };
        if kind_of(&stat) != FileType::Directory {
            return Ok(());
        }
        let fd = rustix::fs::openat(spot.dir(), hidden, handle::DIRECTORY, Mode::empty());
        let fd = fd.during("open", &place)?;
        if self.tree.holds_nothing(spot.dir(), hidden, &stat, &place)? {
            self.tree
                .displace(spot.dir(), hidden, &place, &mut |_, _, _, _| Ok(()))?;
            return self.tree.make_whiteout(&self.meta, &spot, hidden);
        }
        if self.tree.is_opaque(fd.as_fd(), &place)? {
            return Ok(());
        }
        if !place::is_described(&stat) {
            self.tree.note_fresh(&place)?;
        }
        self.tree.make_opaque(fd.as_fd(), &place)
    }

    /// Hides all names of lower layers in a directory.
    pub(super) fn opaque(&mut self, parent: &[u8]) -> Result<(), Trouble> {
        self.tree.writers.drain()?;
        match self.tree.parent_unless_taken(parent)? {
            Some(spot) if !self.tree.is_opaque(spot.dir(), &spot.place)? => {
                self.tree.make_opaque(spot.dir(), &spot.place)
            }
            _ => Ok(()),
        }
    }
}

impl Tree {
    /// Makes a directory hide what lower layers have in it.
    pub(crate) fn make_opaque(&mut self, dir: BorrowedFd<'_>, place: &[u8]) -> Result<(), Trouble> {
        if place.is_empty() {
            self.opaque_root = true;
            return Ok(());
        }
        let path = handle::magic_path(dir);
        rustix::fs::setxattr(path.as_str(), self.opaque_xattr, b"y", XattrFlags::empty())
            .during("make opaque", place)?;
        self.note_hiding(NOTE_OPAQUE, place)
    }

    /// Returns whether a directory of the draft hides what lower layers have in it.
    pub(crate) fn is_opaque(&self, dir: BorrowedFd<'_>, place: &[u8]) -> Result<bool, Trouble> {
        if place.is_empty() {
            return Ok(self.opaque_root);
        }
        is_opaque(dir, self.opaque_xattr).during("look at", place)
    }

    /// Hides a name of lower layers; the name must be free.
    pub(crate) fn make_whiteout(
        &mut self,
        meta: &Meta,
        spot: &Spot,
        last: &[u8],
    ) -> Result<(), Trouble> {
        let place = spot.at(last);
        let made = rustix::fs::mknodat(
            spot.dir(),
            last,
            FileType::CharacterDevice,
            Mode::empty(),
            0,
        );
        made.during("create a whiteout at", &place)?;
        self.names.insert(&place);
        meta.give_to_root(spot.dir(), last)
            .during("set the owner of", &place)?;
        self.note_hiding(NOTE_WHITEOUT, &place)
    }

    fn note_hiding(&mut self, note: u8, place: &[u8]) -> Result<(), Trouble> {
        let mut encoder = Encoder::default();
        encoder.byte(note).bytes(place);
        self.hiding
            .push(&encoder.0)
            .during("write", b"hiding")
            .map(drop)
    }

    /// Returns whether a directory that no entry described holds nothing but whiteouts and other
    /// such directories.
    pub(crate) fn holds_nothing(
        &self,
        dir: BorrowedFd<'_>,
        last: &[u8],
        stat: &Stat,
        place: &[u8],
    ) -> Result<bool, Trouble> {
        if is_described(stat) || stat.st_mode & Mode::XOTH.bits() != 0 {
            return Ok(false);
        }
        let nothing = self.looks_empty(dir, last).during("look into", place)?;
        if !nothing {
            // Once is enough: what is there stays, or makes way for something else.
            let fd = rustix::fs::openat(dir, last, handle::DIRECTORY, Mode::empty());
            let fd = fd.during("open", place)?;
            rustix::fs::chmod(handle::magic_path(fd.as_fd()).as_str(), HOLDS_SOMETHING)
                .during("set the mode of", place)?;
        }
        Ok(nothing)
    }

    fn looks_empty(&self, dir: BorrowedFd<'_>, last: &[u8]) -> std::io::Result<bool> {
        let open = |dir: BorrowedFd<'_>, name: &[u8]| {
            rustix::fs::openat(dir, name, handle::LISTING, Mode::empty())
                .map_err(std::io::Error::from)
        };
        let mut walk = Walk::new(open(dir, last)?)?;
        while let Some(step) = walk.next()? {
            let Step::Entry(name, kind) = step else {
                continue;
            };
            let stat = rustix::fs::statat(walk.dir()?, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW)?;
            if kind == FileType::Directory && !is_described(&stat) {
                let fd = open(walk.dir()?, &name)?;
                walk.enter(&name, fd)?;
            } else if !handle::is_whiteout(&stat) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Returns whether a directory, by a handle of any kind, hides those below it: the attribute that
/// says so is one of [`Means::opaque_xattr`](super::recorded::Means::opaque_xattr).
pub(crate) fn is_opaque(dir: BorrowedFd<'_>, xattr: &str) -> Result<bool, Errno> {
    let mut value = [0; 8];
    match rustix::fs::getxattr(handle::magic_path(dir).as_str(), xattr, &mut value) {
        Ok(length) => Ok(value.get(..length) == Some(b"y")),
        // Only this user's namespace can not see it, or nobody set it.
        Err(Errno::NODATA | Errno::NOTSUP | Errno::RANGE) => Ok(false),
        Err(other) => Err(other),
    }
}
