//! Owners, modes, extended attributes and times: read, kept in notes, put on files.
//!
//! What depends on [`Ownership`](crate::Ownership) is decided here. Attributes that were read from
//! the disk are put on other files as they are; only what entries say is shifted, and recorded
//! where this process cannot do it ([`super::recorded`]): once, in [`Meta::wanted`].

use std::borrow::Cow;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use lith_tarsplit::{Kind, Metadata, Timestamp};
use rustix::fs::{AtFlags, FileType, Gid, Mode, Stat, Uid, XattrFlags};
use rustix::io::Errno;

use super::attributes::{Attributes, is_overlay_xattr};
use super::handle::{self, kind_of};
use super::recorded::{Means, Node, Record, XATTR};
use crate::error::{During, Trouble, shown};
use crate::id_maps::IdMaps;

/// Labels that security modules put on every new file by themselves.
fn is_label(name: &[u8]) -> bool {
    name == b"security.selinux" || name.starts_with(b"security.SMACK64")
}

/// Reads and writes attributes the way the store's ownership mode wants.
#[derive(Debug, Default)]
pub(crate) struct Meta {
    /// How IDs of layers lie on the disk, unless as they are.
    maps: Option<Arc<IdMaps>>,
    pub(crate) means: Means,
    /// Extended attributes that the file system could not hold.
    pub(crate) skipped: u64,
}

impl Meta {
    pub(crate) fn new(maps: Option<Arc<IdMaps>>, means: Means) -> Self {
        Self {
            maps,
            means,
            skipped: 0,
        }
    }

    /// Returns another one that does the same, for another thread.
    pub(crate) fn another(&self) -> Meta {
        Meta::new(self.maps.clone(), self.means)
    }

    /// Returns what the file of an entry is to be like.
    pub(crate) fn wanted<'a>(&self, metadata: &'a Metadata) -> Result<Attributes<'a>, Trouble> {
        let attributes = Attributes::of_entry(metadata, self.maps.as_deref())?;
        Ok(self.means.laid_down(attributes, kind_of_entry(metadata)))
    }

    /// Returns what a directory that nothing describes is to be like.
    pub(crate) fn plain_directory(&self, place: &[u8]) -> Result<Attributes<'static>, Trouble> {
        let attributes = Attributes::of_nothing(self.maps.as_deref(), place)?;
        let kind = Some((FileType::Directory, 0));
        Ok(self.means.laid_down(attributes, kind))
    }

    /// Returns whether a file's owner has to be changed. A user's files are always the user's own.
    fn gives_away(&self, stat: &Stat, wanted: &Attributes<'_>) -> bool {
        self.means != Means::Own && (stat.st_uid != wanted.uid || stat.st_gid != wanted.gid)
    }

    /// Returns what a file on the disk is like, as a layer says it.
    pub(crate) fn in_layer(&self, found: &Attributes<'_>) -> Result<Attributes<'static>, Trouble> {
        found.in_layer(self.maps.as_deref())
    }

    /// Gives a file that no layer describes to the root user of the layers.
    pub(crate) fn give_to_root(&self, dir: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
        match self.maps.as_ref().and_then(|maps| maps.root()) {
            Some((uid, gid)) => {
                let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
                rustix::fs::chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            }
            None => Ok(()),
        }
    }

    /// Returns the mode a new file is opened with. What is missing comes when it is complete.
    pub(crate) fn creation_mode(attributes: &Attributes<'_>) -> Mode {
        Mode::from_raw_mode(attributes.mode & 0o777)
    }

    /// Completes a regular file that was just written: owner, mode, extended attributes, time.
    pub(crate) fn finish_file(
        &mut self,
        fd: BorrowedFd<'_>,
        wanted: &Attributes<'_>,
        place: &[u8],
    ) -> Result<(), Trouble> {
        let stat = rustix::fs::fstat(fd).during("look at", place)?;
        if self.gives_away(&stat, wanted) {
            let (uid, gid) = ids(wanted);
            rustix::fs::fchown(fd, uid, gid).during("set the owner of", place)?;
        }
        // A change of owner takes set-id bits away.
        if stat.st_mode & 0o7777 != wanted.mode
            || (self.gives_away(&stat, wanted) && wanted.mode & 0o6000 != 0)
        {
            let mode = Mode::from_raw_mode(wanted.mode);
            rustix::fs::fchmod(fd, mode).during("set the mode of", place)?;
        }
        for (name, value) in wanted.xattrs.iter() {
            let done = rustix::fs::fsetxattr(fd, name.as_slice(), value, XattrFlags::empty());
            self.xattr_done(done, name, FileType::RegularFile, place)?;
        }
        rustix::fs::futimens(fd, &wanted.times()).during("set the time of", place)
    }

    /// Completes whatever stands at a name of a directory, following nothing.
    pub(crate) fn finish_node(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        wanted: &Attributes<'_>,
        place: &[u8],
    ) -> Result<(), Trouble> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let stat = rustix::fs::statat(dir, name, flags).during("look at", place)?;
        let kind = kind_of(&stat);
        let chown = self.gives_away(&stat, wanted);
        if chown {
            let (uid, gid) = ids(wanted);
            rustix::fs::chownat(dir, name, uid, gid, flags).during("set the owner of", place)?;
        }
        let chmod = kind != FileType::Symlink
            && (stat.st_mode & 0o7777 != wanted.mode || (chown && wanted.mode & 0o6000 != 0));
        if chmod || !wanted.xattrs.is_empty() {
            let node =
                rustix::fs::openat(dir, name, handle::NODE, Mode::empty()).during("open", place)?;
            let path = handle::magic_path(node.as_fd());
            if chmod {
                let mode = Mode::from_raw_mode(wanted.mode);
                rustix::fs::chmod(path.as_str(), mode).during("set the mode of", place)?;
            }
            for (key, value) in wanted.xattrs.iter() {
                if kind == FileType::Symlink && key == XATTR && self.means.records() {
                    // It is said beside.
                    continue;
                }
                let done =
                    rustix::fs::setxattr(path.as_str(), key.as_slice(), value, XattrFlags::empty());
                self.xattr_done(done, key, kind, place)?;
            }
        }
        rustix::fs::utimensat(dir, name, &wanted.times(), flags).during("set the time of", place)
    }

    /// Gives a file what the header of one of its further names says, as docker does: of a
    /// symbolic link only the owner.
    pub(crate) fn finish_link(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        wanted: &Attributes<'_>,
        place: &[u8],
    ) -> Result<(), Trouble> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let stat = rustix::fs::statat(dir, name, flags).during("look at", place)?;
        let link = kind_of(&stat) == FileType::Symlink;
        let same = !self.gives_away(&stat, wanted)
            && wanted.xattrs.is_empty()
            && stat.st_mode & 0o7777 == wanted.mode
            && (stat.st_mtime, stat.st_mtime_nsec as u64)
                == (wanted.mtime.seconds, u64::from(wanted.mtime.nanos));
        if same {
            Ok(())
        } else if link {
            if !self.gives_away(&stat, wanted) {
                return Ok(());
            }
            let (uid, gid) = ids(wanted);
            rustix::fs::chownat(dir, name, uid, gid, flags).during("set the owner of", place)
        } else if self.means.records() {
            let merged = self.with_record_of(dir, name, wanted, place)?;
            self.finish_node(dir, name, &merged, place)
        } else {
            self.finish_node(dir, name, wanted, place)
        }
    }

    /// Adds to what a further name of a file says what is recorded of the file.
    fn with_record_of<'a>(
        &self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        wanted: &Attributes<'a>,
        place: &[u8],
    ) -> Result<Attributes<'a>, Trouble> {
        let node =
            rustix::fs::openat(dir, name, handle::NODE, Mode::empty()).during("open", place)?;
        let before = get_xattr(node.as_fd(), XATTR).during("read the attributes of", place)?;
        let Some(before) = before else {
            return Ok(wanted.clone());
        };
        let record = |bytes: &[u8]| Record::decode(bytes).during("read the attributes of", place);
        let before = record(&before)?;
        let mut merged = wanted.clone();
        let said = merged.xattrs.iter().position(|(name, _)| name == XATTR);
        let said = said.map(|at| merged.xattrs.to_mut().swap_remove(at).1);
        let said = match said {
            Some(said) => record(&said)?,
            None => Record::default(),
        };
        if before.node.is_some() {
            let plain = |name: &[u8]| !name.starts_with(b"user.");
            merged.xattrs.to_mut().retain(|(name, _)| plain(name));
        }
        let xattr = (XATTR.to_vec(), said.over(before).encode());
        merged.xattrs.to_mut().push(xattr);
        Ok(merged)
    }

    /// Makes a directory be exactly as wanted: extended attributes it has besides go away.
    pub(crate) fn finish_directory(
        &mut self,
        fd: BorrowedFd<'_>,
        wanted: &Attributes<'_>,
        place: &[u8],
    ) -> Result<(), Trouble> {
        let stat = rustix::fs::fstat(fd).during("look at", place)?;
        if self.gives_away(&stat, wanted) {
            let (uid, gid) = ids(wanted);
            rustix::fs::fchown(fd, uid, gid).during("set the owner of", place)?;
        }
        for name in xattr_names(|buf| rustix::fs::flistxattr(fd, buf))
            .during("list the attributes of", place)?
        {
            let wanted = wanted.xattrs.iter().any(|(wanted, _)| *wanted == name);
            let ours = !is_overlay_xattr(&name) && !is_label(&name) && self.may_change(&name);
            if !wanted && ours {
                rustix::fs::fremovexattr(fd, name.as_slice())
                    .during("remove an attribute of", place)?;
            }
        }
        rustix::fs::fchmod(fd, Mode::from_raw_mode(wanted.mode))
            .during("set the mode of", place)?;
        for (name, value) in wanted.xattrs.iter() {
            let done = rustix::fs::fsetxattr(fd, name.as_slice(), value, XattrFlags::empty());
            self.xattr_done(done, name, FileType::Directory, place)?;
        }
        rustix::fs::futimens(fd, &wanted.times()).during("set the time of", place)
    }

    /// Returns what a file of a committed layer is like on the disk.
    ///
    /// `node` may be a handle that opens nothing.
    pub(crate) fn read(
        &self,
        node: BorrowedFd<'_>,
        stat: &Stat,
    ) -> io::Result<Attributes<'static>> {
        let path = handle::magic_path(node);
        let xattrs = self.read_xattrs(
            |buf| rustix::fs::listxattr(path.as_str(), buf),
            |name, buf| rustix::fs::getxattr(path.as_str(), name, buf),
        )?;
        Ok(self.attributes(stat, xattrs))
    }

    /// Turns what was read from the disk into what the file is to be, where a record on it, or one
    /// that is `said` beside it, says more; and into which node, where it stands for one.
    ///
    /// A mode that is not the one that was laid down was set later, in a layer that can be written.
    pub(crate) fn recorded(
        &self,
        mut found: Attributes<'static>,
        kind: FileType,
        said: Option<&[u8]>,
    ) -> io::Result<(Attributes<'static>, Option<Node>)> {
        if !self.means.records() {
            return Ok((found, None));
        }
        let xattrs = found.xattrs.to_mut();
        let on_file = xattrs.iter().position(|(name, _)| name == XATTR);
        let on_file = on_file.map(|at| xattrs.swap_remove(at).1);
        let Some(record) = said.or(on_file.as_deref()) else {
            return Ok((found, None));
        };
        let record = Record::decode(record)?;
        xattrs.extend(record.xattrs);
        if let Some((uid, gid, mode)) = record.owner {
            (found.uid, found.gid) = (uid, gid);
            if kind == FileType::Symlink || found.mode == Means::laid_down_mode(kind, mode) {
                found.mode = mode;
            }
        }
        Ok((found, record.node))
    }

    /// [`Meta::read`] for a file that is open.
    pub(crate) fn read_open(
        &self,
        file: BorrowedFd<'_>,
        stat: &Stat,
    ) -> io::Result<Attributes<'static>> {
        let xattrs = self.read_xattrs(
            |buf| rustix::fs::flistxattr(file, buf),
            |name, buf| rustix::fs::fgetxattr(file, name, buf),
        )?;
        Ok(self.attributes(stat, xattrs))
    }

    fn attributes(&self, stat: &Stat, xattrs: Vec<(Vec<u8>, Vec<u8>)>) -> Attributes<'static> {
        let own = self.means == Means::Own;
        Attributes {
            uid: if own { 0 } else { stat.st_uid },
            gid: if own { 0 } else { stat.st_gid },
            mode: stat.st_mode & 0o7777,
            mtime: Timestamp {
                seconds: stat.st_mtime,
                nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
            },
            xattrs: Cow::Owned(xattrs),
        }
    }

    /// Reads all extended attributes but those that are nobody's to copy.
    fn read_xattrs(
        &self,
        list: impl Fn(&mut [u8]) -> Result<usize, Errno>,
        get: impl Fn(&[u8], &mut [u8]) -> Result<usize, Errno>,
    ) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let names = match xattr_names(list) {
            Err(Errno::NOTSUP) => Vec::new(),
            names => names?,
        };
        let mut xattrs = Vec::new();
        for name in names {
            if !is_overlay_xattr(&name) && !is_label(&name) && self.may_change(&name) {
                let value = grown(|buf| get(&name, buf))?;
                xattrs.push((name, value));
            }
        }
        Ok(xattrs)
    }

    /// Returns whether an attribute is one that a driver puts on files here.
    fn may_change(&self, name: &[u8]) -> bool {
        name == XATTR || self.means.holds(name)
    }

    /// An attribute that no file of this kind, or no file on this file system, can have is left
    /// out of the tree (the record has it); anything else is an error.
    fn xattr_done(
        &mut self,
        done: Result<(), Errno>,
        name: &[u8],
        kind: FileType,
        place: &[u8],
    ) -> Result<(), Trouble> {
        let plain = matches!(kind, FileType::RegularFile | FileType::Directory);
        // Without the record nobody would know the file's owner.
        let needed = name == XATTR && self.means.records();
        match done {
            Ok(()) => Ok(()),
            Err(Errno::NOTSUP) if !needed => {
                self.skipped += 1;
                tracing::debug!(
                    place = shown(place),
                    name = shown(name),
                    "no such attribute on this file system"
                );
                Ok(())
            }
            Err(Errno::PERM) if !plain && name.starts_with(b"user.") => {
                self.skipped += 1;
                Ok(())
            }
            Err(other) => {
                let mut what = place.to_vec();
                what.extend_from_slice(b" (");
                what.extend_from_slice(name);
                what.push(b')');
                Err(other).during("set an extended attribute of", &what)
            }
        }
    }
}

/// What an entry makes, and which device it is; nothing is known of a further name of a file.
fn kind_of_entry(metadata: &Metadata) -> Option<(FileType, u64)> {
    let device = || {
        let narrow = |number| u32::try_from(number).unwrap_or(u32::MAX);
        let (major, minor) = metadata.device;
        rustix::fs::makedev(narrow(major), narrow(minor))
    };
    match metadata.kind {
        Kind::HardLink => None,
        Kind::Directory | Kind::DumpDirectory => Some((FileType::Directory, 0)),
        Kind::Symlink => Some((FileType::Symlink, 0)),
        Kind::CharDevice => Some((FileType::CharacterDevice, device())),
        Kind::BlockDevice => Some((FileType::BlockDevice, device())),
        Kind::Fifo => Some((FileType::Fifo, 0)),
        _ => Some((FileType::RegularFile, 0)),
    }
}

fn ids(wanted: &Attributes<'_>) -> (Option<Uid>, Option<Gid>) {
    (
        Some(Uid::from_raw(wanted.uid)),
        Some(Gid::from_raw(wanted.gid)),
    )
}

/// Returns an extended attribute, by a handle that may open nothing; `None` when there is none.
pub(crate) fn get_xattr(node: BorrowedFd<'_>, name: &[u8]) -> Result<Option<Vec<u8>>, Errno> {
    let path = handle::magic_path(node);
    match grown(|buf| rustix::fs::getxattr(path.as_str(), name, buf)) {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NODATA) => Ok(None),
        Err(other) => Err(other),
    }
}

fn xattr_names(list: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<Vec<u8>>, Errno> {
    let names = grown(list)?;
    Ok(names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(<[u8]>::to_vec)
        .collect())
}

/// Calls with a buffer that grows until it is large enough.
fn grown(call: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    const LARGEST: usize = 1 << 20;
    let mut buf = vec![0; 256];
    loop {
        match call(&mut buf) {
            Ok(length) => {
                buf.truncate(length);
                return Ok(buf);
            }
            Err(Errno::RANGE) if buf.len() < LARGEST => {
                let size = buf.len() * 4;
                buf.resize(size, 0);
            }
            Err(other) => return Err(other),
        }
    }
}
