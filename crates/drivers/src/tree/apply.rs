//! Applies the entries of a layer to a draft.
//!
//! A draft stands alone: nothing of a parent is looked at, so that layers can be applied in any
//! order. Names of lower layers are hidden the way overlay file systems want it; what needs the
//! parent is noted, and done when the draft is settled.

use std::os::fd::{AsFd, BorrowedFd};

use lith_tarsplit::{Kind, Metadata, PayloadReader};
use rustix::fs::{FileType, Mode};
use rustix::io::Errno;

use super::attributes::Attributes;
use super::draft::TreeDraft;
use super::handle::{self, kind_of};
use super::log::Encoder;
use super::meta::Meta;
use super::name;
use super::payload::{Work, rescue};
use super::place::{self, NOTE_DESCRIBED, Spot};
use super::special::{Special, special};
use super::writers::taken;
use crate::error::{ApplyError, During, Origin, Trouble};
use crate::kept::Kept;

impl TreeDraft {
    /// Applies the next entry.
    ///
    /// Once the draft is [finished](TreeDraft::finish) its payload can be read back: from `kept` when
    /// it is there under the entry's position, else from the layer's files under the entry's name.
    /// An entry that displaces an earlier one of the layer moves that one's payload to `kept`.
    ///
    /// # Errors
    /// Names the entry, which may be one before this, whose file was still being made. After an error nothing more can be applied, and the draft can only be
    /// discarded.
    pub fn apply(
        &mut self,
        metadata: &Metadata,
        payload: &mut dyn PayloadReader,
        kept: &mut Kept,
    ) -> Result<(), ApplyError> {
        if self.failed {
            return Err(ApplyError::Incomplete);
        }
        let mut work = Work {
            metadata,
            payload,
            kept,
        };
        if let Err(trouble) = self.entry(&mut work) {
            self.failed = true;
            // What failed before it is told, however late it is seen.
            let earlier = self.tree.writers.drain();
            let trouble = earlier.err().unwrap_or(trouble);
            return Err(trouble.of_entry(&Origin::of(metadata)));
        }
        self.summary.entries += 1;
        Ok(())
    }

    fn entry(&mut self, work: &mut Work<'_>) -> Result<(), Trouble> {
        let metadata = work.metadata;
        match metadata.kind {
            Kind::GlobalHeader | Kind::VolumeLabel | Kind::MultiVolume => return work.keep(),
            Kind::Other(_) if metadata.stored == 0 => return Ok(()),
            _ => {}
        }
        let place = name::place(&metadata.path);
        let (parent, last) = name::split(&place);
        if last.is_empty() {
            // The root is a directory whatever an entry says.
            if matches!(metadata.kind, Kind::Directory | Kind::DumpDirectory) {
                let attributes = self.meta.wanted(metadata)?;
                self.note_described(b"", &attributes, metadata)?;
            }
            return work.keep();
        }
        match special(parent, last, metadata)? {
            Some(Special::Whiteout(hidden)) => {
                self.whiteout(parent, hidden)?;
                return work.keep();
            }
            Some(Special::Opaque) => {
                self.opaque(parent)?;
                return work.keep();
            }
            Some(Special::Aufs { link }) => return self.aufs_file(work, link),
            None => {}
        }
        match metadata.kind {
            Kind::Directory | Kind::DumpDirectory => self.directory(work, parent, last),
            Kind::Symlink => self.symlink(work, parent, last),
            Kind::HardLink => self.hard_link(work, parent, last),
            Kind::CharDevice => self.node(work, parent, last, FileType::CharacterDevice),
            Kind::BlockDevice => self.node(work, parent, last, FileType::BlockDevice),
            Kind::Fifo => self.node(work, parent, last, FileType::Fifo),
            _ => self.regular(work, parent, last),
        }
    }

    /// Returns the directory for an entry, and makes it if need be.
    pub(super) fn spot(&mut self, work: &mut Work<'_>, parent: &[u8]) -> Result<Spot, Trouble> {
        self.tree.parent(parent, &mut rescue(work.kept))
    }

    /// Removes what stands at a name, payloads saved. Returns whether there was anything.
    pub(super) fn clear(
        &mut self,
        work: &mut Work<'_>,
        spot: &Spot,
        last: &[u8],
    ) -> Result<bool, Trouble> {
        let place = spot.at(last);
        let was = self
            .tree
            .displace(spot.dir(), last, &place, &mut rescue(work.kept))?;
        Ok(was.is_some())
    }

    /// Makes something at a name, after whatever stands there has gone.
    pub(super) fn create<T>(
        &mut self,
        work: &mut Work<'_>,
        spot: &Spot,
        last: &[u8],
        make: impl Fn(BorrowedFd<'_>) -> Result<T, Errno>,
    ) -> Result<T, Trouble> {
        let place = spot.at(last);
        let known = self.tree.names.has(&place);
        if known {
            self.tree.writers.drain()?;
        }
        let made = match make(spot.dir()) {
            Err(Errno::EXIST) if known => {
                self.clear(work, spot, last)?;
                make(spot.dir())
            }
            Err(Errno::EXIST) => return Err(taken(&place)),
            made => made,
        };
        let made = made.during("create", &place)?;
        self.tree.names.insert(&place);
        Ok(made)
    }

    fn directory(
        &mut self,
        work: &mut Work<'_>,
        parent: &[u8],
        last: &[u8],
    ) -> Result<(), Trouble> {
        let metadata = work.metadata;
        let attributes = self.meta.wanted(metadata)?;
        let spot = self.spot(work, parent)?;
        let place = spot.at(last);
        if self.tree.names.has(&place) {
            self.tree.writers.drain()?;
        }
        match rustix::fs::mkdirat(spot.dir(), last, place::DESCRIBED) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let stat = handle::look(spot.dir(), last).during("look at", &place)?;
                let is_directory = stat.is_some_and(|stat| kind_of(&stat) == FileType::Directory);
                if !is_directory {
                    self.clear(work, &spot, last)?;
                    rustix::fs::mkdirat(spot.dir(), last, place::DESCRIBED)
                        .during("create", &place)?;
                }
                let fd = rustix::fs::openat(spot.dir(), last, handle::DIRECTORY, Mode::empty());
                let fd = fd.during("open", &place)?;
                if !is_directory {
                    self.tree.make_opaque(fd.as_fd(), &place)?;
                } else if !stat.is_some_and(|stat| place::is_described(&stat)) {
                    let path = handle::magic_path(fd.as_fd());
                    rustix::fs::chmod(path.as_str(), place::DESCRIBED)
                        .during("set the mode of", &place)?;
                }
            }
            Err(other) => return Err(other).during("create", &place),
        }
        self.tree.names.insert(&place);
        self.note_described(&place, &attributes, metadata)?;
        work.keep()
    }

    fn note_described(
        &mut self,
        place: &[u8],
        attributes: &Attributes<'_>,
        metadata: &Metadata,
    ) -> Result<(), Trouble> {
        let mut note = Encoder::default();
        note.byte(NOTE_DESCRIBED)
            .bytes(place)
            .number(metadata.position)
            .number(metadata.offset);
        attributes.encode(&mut note);
        self.tree
            .directories
            .push(&note.0)
            .during("write", b"directories")
            .map(drop)
    }

    fn symlink(&mut self, work: &mut Work<'_>, parent: &[u8], last: &[u8]) -> Result<(), Trouble> {
        let metadata = work.metadata;
        if metadata.link.is_empty() {
            return Err(Trouble::Refused("a symbolic link to nothing".to_owned()));
        }
        let attributes = self.meta.wanted(metadata)?;
        let spot = self.spot(work, parent)?;
        let target = metadata.link.as_slice();
        self.create(work, &spot, last, |dir| {
            rustix::fs::symlinkat(target, dir, last)
        })?;
        let place = spot.at(last);
        self.meta
            .finish_node(spot.dir(), last, &attributes, &place)?;
        self.say_of_link(&place, &attributes)?;
        work.keep()
    }

    fn node(
        &mut self,
        work: &mut Work<'_>,
        parent: &[u8],
        last: &[u8],
        kind: FileType,
    ) -> Result<(), Trouble> {
        let metadata = work.metadata;
        let attributes = self.meta.wanted(metadata)?;
        let device = if kind == FileType::Fifo {
            0
        } else {
            device_number(metadata.device)?
        };
        let spot = self.spot(work, parent)?;
        let mode = Meta::creation_mode(&attributes);
        let real = self.meta.means.makes_nodes();
        self.create(work, &spot, last, |dir| {
            if real {
                rustix::fs::mknodat(dir, last, kind, mode, device)
            } else {
                rustix::fs::openat(dir, last, handle::CREATE, mode).map(drop)
            }
        })?;
        self.meta
            .finish_node(spot.dir(), last, &attributes, &spot.at(last))?;
        work.keep()
    }
}

fn device_number((major, minor): (u64, u64)) -> Result<u64, Trouble> {
    // What Linux has room for.
    match (u32::try_from(major), u32::try_from(minor)) {
        (Ok(major), Ok(minor)) if major < 1 << 12 && minor < 1 << 20 => {
            Ok(rustix::fs::makedev(major, minor))
        }
        _ => Err(Trouble::Refused(format!(
            "device {major}:{minor} is out of range (expected at most 4095:1048575)"
        ))),
    }
}
