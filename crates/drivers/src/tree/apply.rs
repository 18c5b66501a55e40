//! Applies the entries of a layer to a draft.
//!
//! A draft stands alone: nothing of a parent is looked at, so that layers can be applied in any
//! order. Names of lower layers are hidden the way overlay file systems want it; what needs the
//! parent is noted, and done when the draft is settled.

use std::fs::File;
use std::io::{BufRead, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use lith_tarsplit::{Kind, Metadata, Sparse};
use rustix::fs::{FileType, Mode};
use rustix::io::Errno;

use super::attributes::Attributes;
use super::copy::Copier;
use super::handle::{self, kind_of};
use super::log::{Encoder, Log};
use super::meta::Meta;
use super::name;
use super::place::{self, NOTE_DESCRIBED, ParkedTree, Spot, Tree};
use super::positions::Positions;
use super::special::{Special, special};
use crate::error::{ApplyError, During, Origin, Trouble};
use crate::kept::Kept;

/// The tree of a layer that is being filled, entry by entry in the order of the stream.
///
/// Memory does not grow with the number of entries, but for at most 16 bytes for each file that
/// has a payload.
#[derive(Debug)]
pub struct TreeDraft {
    pub(super) tree: Tree,
    pub(super) meta: Meta,
    pub(super) copier: Copier,
    /// Hard links that wait for their target.
    pub(super) links: Log,
    /// The draft's folder, and where its tree lies below the driver's folder.
    pub(super) work: OwnedFd,
    pub(super) path: Vec<u8>,
    pub(super) positions: Positions,
    /// Files of an AUFS link folder, which hard links of the layer may want.
    aufs: Option<OwnedFd>,
    summary: ApplySummary,
    failed: bool,
}

/// A filled [`TreeDraft`] that waits for its parent: no descriptor, no memory for its entries.
#[derive(Debug)]
pub(crate) struct ParkedDraft {
    tree: ParkedTree,
    meta: Meta,
    links: u64,
    path: Vec<u8>,
    summary: ApplySummary,
}

impl ParkedDraft {
    /// Opens it again, to be settled; arguments as in [`TreeDraft::new`].
    pub(crate) fn open(self, work: OwnedFd, root: OwnedFd) -> Result<TreeDraft, Trouble> {
        Ok(TreeDraft {
            tree: self.tree.open(root, work.as_fd())?,
            meta: self.meta,
            copier: Copier::default(),
            links: Log::reopen(work.as_fd(), "links", self.links).during("open", b"links")?,
            work,
            path: self.path,
            // Only entries ask for these.
            positions: Positions::default(),
            aufs: None,
            summary: self.summary,
            failed: false,
        })
    }
}

/// What a draft holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ApplySummary {
    /// Bytes of regular files in the tree, holes and displaced files included, hard links once.
    pub size: u64,
    /// How many entries were applied.
    pub entries: u64,
    /// Extended attributes that the file system can not hold, and that only the record has.
    pub skipped_xattrs: u64,
}

impl TreeDraft {
    /// Starts in the folder `work`, with the tree in its empty directory `root`, which lies at
    /// `path` below the driver's folder.
    pub(crate) fn new(
        work: OwnedFd,
        root: OwnedFd,
        path: Vec<u8>,
        meta: Meta,
    ) -> Result<Self, Trouble> {
        Ok(Self {
            tree: Tree::new(root, work.as_fd())?,
            meta,
            copier: Copier::default(),
            links: Log::create(work.as_fd(), "links").during("create", b"links")?,
            work,
            path,
            positions: Positions::default(),
            aufs: None,
            summary: ApplySummary::default(),
            failed: false,
        })
    }

    /// Applies the next entry.
    ///
    /// Afterwards its payload can be read back: from `kept` when it is there under the entry's
    /// position, else from the layer's files under the entry's name. An entry that displaces
    /// an earlier one of the layer moves that one's payload to `kept`.
    ///
    /// # Errors
    /// Names the entry. After an error nothing more can be applied, and the draft can only be
    /// discarded.
    pub fn apply(
        &mut self,
        metadata: &Metadata,
        payload: &mut dyn BufRead,
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
        self.entry(&mut work).map_err(|trouble| {
            self.failed = true;
            trouble.of_entry(&Origin::of(metadata))
        })?;
        self.summary.entries += 1;
        Ok(())
    }

    /// Says that there are no more entries.
    ///
    /// # Errors
    /// When an entry failed.
    pub fn finish(&mut self) -> Result<ApplySummary, ApplyError> {
        if self.failed {
            return Err(ApplyError::Incomplete);
        }
        self.summary.skipped_xattrs = self.meta.skipped;
        Ok(self.summary)
    }

    /// Closes what it holds open. Nothing more can be applied.
    ///
    /// # Errors
    /// When an entry failed.
    pub(crate) fn park(self) -> Result<ParkedDraft, ApplyError> {
        if self.failed {
            return Err(ApplyError::Incomplete);
        }
        let links = self.links.park().during("write", b"links");
        Ok(ParkedDraft {
            tree: self.tree.park().map_err(Trouble::of_draft)?,
            meta: self.meta,
            links: links.map_err(Trouble::of_draft)?,
            path: self.path,
            summary: self.summary,
        })
    }

    pub(crate) fn is_failed(&self) -> bool {
        self.failed
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
    fn spot(&mut self, work: &mut Work<'_>, parent: &[u8]) -> Result<Spot, Trouble> {
        let positions = &mut self.positions;
        self.tree.parent(parent, &mut |dir, name, place| {
            rescue(positions, work.kept, dir, name, place)
        })
    }

    /// Removes what stands at a name, payloads saved. Returns whether there was anything.
    fn clear(&mut self, work: &mut Work<'_>, spot: &Spot, last: &[u8]) -> Result<bool, Trouble> {
        let positions = &mut self.positions;
        let place = spot.at(last);
        let was = self
            .tree
            .displace(spot.dir(), last, &place, &mut |dir, name, place| {
                rescue(positions, work.kept, dir, name, place)
            })?;
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
        match make(spot.dir()) {
            Err(Errno::EXIST) => {
                self.clear(work, spot, last)?;
                make(spot.dir()).during("create", &spot.at(last))
            }
            done => done.during("create", &spot.at(last)),
        }
    }

    fn regular(&mut self, work: &mut Work<'_>, parent: &[u8], last: &[u8]) -> Result<(), Trouble> {
        let metadata = work.metadata;
        let attributes = self.meta.wanted(metadata)?;
        let spot = self.spot(work, parent)?;
        let place = spot.at(last);
        let mode = Meta::creation_mode(&attributes);
        let fd = self.create(work, &spot, last, |dir| {
            rustix::fs::openat(dir, last, handle::CREATE, mode)
        })?;
        let mut file = File::from(fd);
        let narrow = u32::try_from(metadata.position).ok();
        match (&metadata.sparse, narrow) {
            (None, Some(position)) if !spot.through_link => {
                work.write(&mut file, &place)?;
                if metadata.stored > 0 {
                    self.positions.insert(&place, position);
                }
            }
            // Reading back by name would not find these, or not find the same bytes.
            (None, _) => {
                let raw = work.keep_file()?;
                self.copier
                    .content(raw.as_fd(), file.as_fd(), metadata.stored)
                    .during("write", &place)?;
            }
            (Some(sparse), _) => {
                let raw = work.keep_file()?;
                self.expand(&raw, sparse, metadata, &file)
                    .during("write", &place)?;
            }
        }
        self.summary.size = self.summary.size.saturating_add(metadata.size);
        self.meta.finish_file(file.as_fd(), &attributes, &place)
    }

    /// Spreads a sparse payload over a file.
    fn expand(
        &mut self,
        raw: &File,
        sparse: &Sparse,
        metadata: &Metadata,
        file: &File,
    ) -> Result<(), Errno> {
        let mut at = sparse.data_start;
        for (offset, length) in &sparse.runs {
            self.copier
                .range(raw.as_fd(), file.as_fd(), (at, *offset), *length)?;
            at = at.saturating_add(*length);
        }
        rustix::fs::ftruncate(file, metadata.size)
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
        self.meta
            .finish_node(spot.dir(), last, &attributes, &spot.at(last))?;
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
        self.create(work, &spot, last, |dir| {
            rustix::fs::mknodat(dir, last, kind, mode, device)
        })?;
        self.meta
            .finish_node(spot.dir(), last, &attributes, &spot.at(last))?;
        work.keep()
    }

    /// Hides a name of lower layers. What this layer brings under it stays.
    pub(super) fn whiteout(&mut self, parent: &[u8], hidden: &[u8]) -> Result<(), Trouble> {
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
                .displace(spot.dir(), hidden, &place, &mut |_, _, _| Ok(()))?;
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

    fn opaque(&mut self, parent: &[u8]) -> Result<(), Trouble> {
        match self.tree.parent_unless_taken(parent)? {
            Some(spot) if !self.tree.is_opaque(spot.dir(), &spot.place)? => {
                self.tree.make_opaque(spot.dir(), &spot.place)
            }
            _ => Ok(()),
        }
    }

    /// A file of an AUFS link folder: no part of the tree, but hard links may want it.
    fn aufs_file(&mut self, work: &mut Work<'_>, link: Option<Vec<u8>>) -> Result<(), Trouble> {
        let (Some(link), Kind::Regular, None) = (link, work.metadata.kind, &work.metadata.sparse)
        else {
            return work.keep();
        };
        let attributes = self.meta.wanted(work.metadata)?;
        let dir = match self.aufs.take() {
            Some(dir) => dir,
            None => {
                rustix::fs::mkdirat(&self.work, "aufs", Mode::RWXU).during("create", b"aufs")?;
                rustix::fs::openat(&self.work, "aufs", handle::DIRECTORY, Mode::empty())
                    .during("open", b"aufs")?
            }
        };
        let dir = self.aufs.insert(dir);
        super::remove::remove(dir.as_fd(), &link).during("remove", &link)?;
        let file = rustix::fs::openat(
            &*dir,
            link.as_slice(),
            handle::CREATE,
            Meta::creation_mode(&attributes),
        );
        let file = file.during("create", &link)?;
        if work.metadata.stored > 0 {
            let raw = work.keep_file()?;
            self.copier
                .content(raw.as_fd(), file.as_fd(), work.metadata.stored)
                .during("write", &link)?;
        }
        self.meta.finish_file(file.as_fd(), &attributes, &link)
    }

    fn hard_link(
        &mut self,
        work: &mut Work<'_>,
        parent: &[u8],
        last: &[u8],
    ) -> Result<(), Trouble> {
        let metadata = work.metadata;
        let attributes = self.meta.wanted(metadata)?;
        let spot = self.spot(work, parent)?;
        let target = name::place(&metadata.link);
        let (target_parent, target_last) = name::split(&target);
        if target_last.is_empty() {
            return Err(Trouble::Refused(
                "a hard link to the layer's root".to_owned(),
            ));
        }
        let from = self.link_source(&target, target_parent)?;
        let stat = match &from {
            Some(source) => handle::look(source.as_fd(), target_last).during("look at", &target)?,
            None => None,
        };
        let (Some(source), Some(stat)) = (from, stat.filter(|stat| !handle::is_whiteout(stat)))
        else {
            self.link_later(work, &spot, last, &target, false)?;
            return work.keep();
        };
        match kind_of(&stat) {
            FileType::Directory => {
                return Err(Trouble::Refused(format!(
                    "a hard link to a directory, {}",
                    crate::error::shown(&target)
                )));
            }
            // It waits for its own target.
            FileType::Socket => self.link_later(work, &spot, last, &target, true)?,
            _ => {
                let here = handle::look(spot.dir(), last).during("look at", &spot.at(last))?;
                if here.is_none_or(|here| (here.st_dev, here.st_ino) != (stat.st_dev, stat.st_ino))
                {
                    self.clear(work, &spot, last)?;
                    self.link_or_copy(
                        source.as_fd(),
                        target_last,
                        spot.dir(),
                        last,
                        &spot.at(last),
                    )
                    .map_err(|trouble| match trouble {
                        Trouble::Io { source, .. }
                            if source.kind() == std::io::ErrorKind::NotFound =>
                        {
                            let target = crate::error::shown(&target);
                            Trouble::Refused(format!("a hard link to {target}, which it replaces"))
                        }
                        other => other,
                    })?;
                }
                self.meta
                    .finish_link(spot.dir(), last, &attributes, &spot.at(last))?;
            }
        }
        work.keep()
    }

    /// Returns the directory that holds a link's target, if the draft has it.
    fn link_source(&mut self, target: &[u8], parent: &[u8]) -> Result<Option<OwnedFd>, Trouble> {
        if super::special::is_aufs_link(target) {
            return match &self.aufs {
                Some(dir) => dir.try_clone().map(Some).during("open", b"aufs"),
                None => Ok(None),
            };
        }
        match self.tree.find(parent)? {
            Some(spot) => spot
                .dir()
                .try_clone_to_owned()
                .map(Some)
                .during("open", parent),
            None => Ok(None),
        }
    }
}

/// Moves a payload that is about to be displaced to `kept`.
fn rescue(
    positions: &mut Positions,
    kept: &mut Kept,
    dir: BorrowedFd<'_>,
    name: &[u8],
    place: &[u8],
) -> Result<(), Trouble> {
    match positions.take(place) {
        Some(position) => kept
            .adopt(dir, name, position)
            .during("keep the content of", place),
        None => Ok(()),
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

/// An entry on its way into the draft.
pub(super) struct Work<'a> {
    pub(super) metadata: &'a Metadata,
    payload: &'a mut dyn BufRead,
    pub(super) kept: &'a mut Kept,
}

impl Work<'_> {
    /// Keeps the payload, if there is one: the tree has no place for it.
    fn keep(&mut self) -> Result<(), Trouble> {
        if self.metadata.stored == 0 {
            Ok(())
        } else {
            self.keep_file().map(drop)
        }
    }

    fn keep_file(&mut self) -> Result<File, Trouble> {
        let name = format!("kept payload {}", self.metadata.position);
        let mut file = self
            .kept
            .create(self.metadata.position)
            .during("create", name.as_bytes())?;
        self.write(&mut file, name.as_bytes())?;
        Ok(file)
    }

    /// Writes the payload to a file.
    fn write(&mut self, file: &mut File, place: &[u8]) -> Result<(), Trouble> {
        let mut left = self.metadata.stored;
        while left > 0 {
            let chunk = match self.payload.fill_buf() {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                chunk => chunk.map_err(Trouble::Payload)?,
            };
            let usable = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
            let chunk = chunk.get(..usable).unwrap_or_default();
            if chunk.is_empty() {
                let found = self.metadata.stored - left;
                return Err(Trouble::Payload(std::io::Error::new(
                    std::io::ErrorKind::UnexpectedEof,
                    format!("{found} bytes instead of {}", self.metadata.stored),
                )));
            }
            file.write_all(chunk).during("write", place)?;
            self.payload.consume(usable);
            left -= usable as u64;
        }
        // A reader that has more than it promised: the record would not fit the tree.
        let mut one = [0; 1];
        match self.payload.read(&mut one).map_err(Trouble::Payload)? {
            0 => Ok(()),
            _ => Err(Trouble::Payload(std::io::Error::other(
                "more bytes than the entry says",
            ))),
        }
    }
}
