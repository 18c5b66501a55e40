//! The tree of a draft: where an entry goes.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{FileType, Mode, Stat};
use rustix::io::Errno;

use super::displace::Displaced;
use super::handle::{self, kind_of};
use super::log::{Encoder, Log};
use super::meta::Meta;
use super::name;
use super::names::Names;
use super::way::{MOST_LINKS, Way, make};
use super::writers::Writers;
use crate::error::{During, Trouble};

/// A directory of the draft.
#[derive(Clone, Debug)]
pub(crate) struct Spot {
    pub(crate) fd: Arc<OwnedFd>,
    /// Where it really lies.
    pub(crate) place: Arc<Vec<u8>>,
    /// The way there went through a link of this layer.
    pub(crate) through_link: bool,
}

impl Spot {
    pub(crate) fn dir(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Returns whether this is the very same, looked up once.
    pub(super) fn is(&self, other: &Spot) -> bool {
        Arc::ptr_eq(&self.fd, &other.fd)
    }

    /// Where a name in it lies.
    pub(crate) fn at(&self, last: &[u8]) -> Vec<u8> {
        name::join(&self.place, last)
    }
}

/// How far [`Tree::walk`] may go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    /// Makes directories, also in place of other things.
    Make,
    /// Makes directories where there is nothing, and gives up at other things.
    MakeUnlessTaken,
    /// Changes nothing.
    GiveUp,
}

/// What stands at a name on a way.
enum Entered {
    There(OwnedFd),
    Made(OwnedFd),
    /// Something that is no directory.
    Other,
    Nothing,
}

/// First byte of a note about directories: nothing described them, they are as those below. A
/// number says where in the place the names of new directories start.
pub(crate) const NOTE_IMPLIED: u8 = 0;
/// An entry described it.
pub(crate) const NOTE_DESCRIBED: u8 = 1;
/// Nothing described it, and it does not continue one below.
pub(crate) const NOTE_FRESH: u8 = 2;

/// While a draft is filled, directories that an entry described carry the sticky bit (which no
/// umask takes away), others do not.
pub(crate) const DESCRIBED: Mode = Mode::RWXU.union(Mode::SVTX);
/// The tree of a draft.
#[derive(Debug)]
pub(crate) struct Tree {
    root: Arc<OwnedFd>,
    /// The directory used last, under the name it was asked for by.
    pub(super) held: Option<(Vec<u8>, Spot)>,
    /// Directories, in the order they were made or described.
    pub(crate) directories: Log,
    /// Whiteouts and opaque directories.
    pub(crate) hiding: Log,
    /// The root hides everything below the layer.
    pub(crate) opaque_root: bool,
    /// How other directories say that they do.
    pub(crate) opaque_xattr: &'static str,
    /// What was put where. Only entries ask for it.
    pub(super) names: Names,
    /// Files on their way.
    pub(super) writers: Writers,
}

/// What is to be remembered of a tree that holds nothing open.
#[derive(Debug)]
pub(crate) struct ParkedTree {
    directories: u64,
    hiding: u64,
    opaque_root: bool,
    opaque_xattr: &'static str,
}

impl ParkedTree {
    /// Opens it again; arguments as in [`Tree::new`].
    pub(crate) fn open(self, root: OwnedFd, work: BorrowedFd<'_>) -> Result<Tree, Trouble> {
        let reopen = |name: &str, end| Log::reopen(work, name, end).during("open", name.as_bytes());
        Ok(Tree {
            root: Arc::new(root),
            held: None,
            directories: reopen("directories", self.directories)?,
            hiding: reopen("hiding", self.hiding)?,
            opaque_root: self.opaque_root,
            opaque_xattr: self.opaque_xattr,
            names: Names::default(),
            writers: Writers::default(),
        })
    }
}

impl Tree {
    /// Starts with an empty directory; `work` is where notes are put.
    pub(crate) fn new(root: OwnedFd, work: BorrowedFd<'_>, meta: &Meta) -> Result<Self, Trouble> {
        let create = |name: &str| Log::create(work, name).during("create", name.as_bytes());
        let mut directories = create("directories")?;
        let mut root_note = Encoder::default();
        root_note.byte(NOTE_IMPLIED).bytes(b"").number(0);
        directories
            .push(&root_note.0)
            .during("write", b"directories")?;
        Ok(Self {
            writers: Writers::new(root.as_fd(), meta),
            root: Arc::new(root),
            held: None,
            directories,
            hiding: create("hiding")?,
            opaque_root: false,
            opaque_xattr: meta.means.opaque_xattr(),
            names: Names::default(),
        })
    }

    /// Closes what it holds open.
    pub(crate) fn park(self) -> Result<ParkedTree, Trouble> {
        Ok(ParkedTree {
            directories: self.directories.park().during("write", b"directories")?,
            hiding: self.hiding.park().during("write", b"hiding")?,
            opaque_root: self.opaque_root,
            opaque_xattr: self.opaque_xattr,
        })
    }

    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Returns the directory with this name, making what is missing; what stands in the way
    /// is replaced.
    pub(crate) fn parent(
        &mut self,
        path: &[u8],
        displaced: Displaced<'_>,
    ) -> Result<Spot, Trouble> {
        match self.known(path)? {
            Some(spot) => Ok(spot),
            None => self
                .walk(path, Missing::Make, displaced)?
                .ok_or_else(|| Trouble::Refused("its directory could not be made".to_owned())),
        }
    }

    /// Returns the directory with this name, making what is missing, unless something of this
    /// layer that is no directory stands there.
    pub(crate) fn parent_unless_taken(&mut self, path: &[u8]) -> Result<Option<Spot>, Trouble> {
        match self.known(path)? {
            Some(spot) => Ok(Some(spot)),
            None => self.walk(path, Missing::MakeUnlessTaken, &mut |_, _, _, _| Ok(())),
        }
    }

    /// Returns the directory with this name, if there is one.
    pub(crate) fn find(&mut self, path: &[u8]) -> Result<Option<Spot>, Trouble> {
        match self.known(path)? {
            Some(spot) => Ok(Some(spot)),
            None => self.walk(path, Missing::GiveUp, &mut |_, _, _, _| Ok(())),
        }
    }

    /// The quick way: the directory used last, or one that is there without a link on the way.
    fn known(&mut self, path: &[u8]) -> Result<Option<Spot>, Trouble> {
        if let Some((held, spot)) = &self.held
            && held == path
        {
            return Ok(Some(spot.clone()));
        }
        match handle::open_below(self.root(), path, handle::DIRECTORY) {
            Ok(fd) => Ok(Some(self.hold(path, fd, path.to_vec(), false))),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(other) => Err(other).during("open", path),
        }
    }

    fn hold(&mut self, path: &[u8], fd: OwnedFd, place: Vec<u8>, through_link: bool) -> Spot {
        let spot = Spot {
            fd: Arc::new(fd),
            place: Arc::new(place),
            through_link,
        };
        self.held = Some((path.to_vec(), spot.clone()));
        spot
    }

    /// Goes part by part. Links of the layer are followed as if its root were `/`.
    fn walk(
        &mut self,
        path: &[u8],
        missing: Missing,
        displaced: Displaced<'_>,
    ) -> Result<Option<Spot>, Trouble> {
        let mut way = Way::new(path, self.reopen(b"")?);
        while let Some(part) = way.next_part()? {
            if part == b".." {
                self.note_made(&mut way)?;
                name::pop(&mut way.place);
                way.at = self.reopen(&way.place)?;
                continue;
            }
            match self.enter(&way, &part, missing)? {
                Entered::There(fd) => {
                    way.go(fd, &part);
                    continue;
                }
                Entered::Nothing => return Ok(None),
                Entered::Made(fd) => {
                    way.made_from.get_or_insert(way.place.len());
                    way.go(fd, &part);
                    way.check_depth()?;
                    continue;
                }
                Entered::Other => {}
            }
            let here = way.here(&part);
            let stat = handle::look(way.at.as_fd(), &part).during("look at", &here)?;
            let is_link = stat.is_some_and(|stat| kind_of(&stat) == FileType::Symlink);
            if is_link && way.links < MOST_LINKS {
                let target = rustix::fs::readlinkat(&way.at, part.as_slice(), Vec::new());
                let target = target.during("read", &here)?;
                self.note_made(&mut way)?;
                if target.to_bytes().starts_with(b"/") {
                    way.place.clear();
                    way.at = self.reopen(b"")?;
                }
                way.follow(target.to_bytes());
                continue;
            }
            if missing != Missing::Make {
                return Ok(None);
            }
            self.note_made(&mut way)?;
            self.displace(way.at.as_fd(), &part, &here, displaced)?;
            let fd = make(&way, &part)?;
            self.names.insert(&here);
            self.note_directory(NOTE_FRESH, &here)?;
            self.make_opaque(fd.as_fd(), &here)?;
            way.go(fd, &part);
        }
        self.note_made(&mut way)?;
        let through_link = way.links > 0;
        if missing == Missing::GiveUp {
            let (fd, place) = (Arc::new(way.at), Arc::new(way.place));
            return Ok(Some(Spot {
                fd,
                place,
                through_link,
            }));
        }
        Ok(Some(self.hold(path, way.at, way.place, through_link)))
    }

    /// Opens the next directory on a way, or makes it where there is nothing.
    fn enter(&mut self, way: &Way, part: &[u8], missing: Missing) -> Result<Entered, Trouble> {
        let open = || rustix::fs::openat(&way.at, part, handle::DIRECTORY, Mode::empty());
        let mut opened = open();
        if matches!(opened, Err(Errno::NOENT)) && missing != Missing::GiveUp {
            let here = way.here(part);
            if !self.names.has(&here) {
                let made = make(way, part)?;
                self.names.insert(&here);
                return Ok(Entered::Made(made));
            }
            // A file that is on its way, or something that has gone since.
            self.writers.drain()?;
            opened = open();
            if matches!(opened, Err(Errno::NOENT)) {
                return make(way, part).map(Entered::Made);
            }
        }
        match opened {
            Ok(fd) => Ok(Entered::There(fd)),
            Err(Errno::NOENT) => Ok(Entered::Nothing),
            Err(Errno::NOTDIR | Errno::LOOP) => Ok(Entered::Other),
            Err(other) => Err(other).during("open", &way.here(part)),
        }
    }

    fn reopen(&self, place: &[u8]) -> Result<OwnedFd, Trouble> {
        handle::open_below(self.root(), place, handle::DIRECTORY).during("open", place)
    }

    /// Notes directories that were made on the way: one note for all, or a long name would need
    /// room that grows with the square of its length.
    fn note_made(&mut self, way: &mut Way) -> Result<(), Trouble> {
        let Some(from) = way.made_from.take() else {
            return Ok(());
        };
        let mut encoder = Encoder::default();
        encoder
            .byte(NOTE_IMPLIED)
            .bytes(&way.place)
            .number(from as u64);
        self.directories
            .push(&encoder.0)
            .during("write", b"directories")
            .map(drop)
    }

    /// Notes that a directory is as if nothing described it or was below it.
    pub(crate) fn note_fresh(&mut self, place: &[u8]) -> Result<(), Trouble> {
        self.note_directory(NOTE_FRESH, place)
    }

    fn note_directory(&mut self, note: u8, place: &[u8]) -> Result<(), Trouble> {
        let mut encoder = Encoder::default();
        encoder.byte(note).bytes(place);
        self.directories
            .push(&encoder.0)
            .during("write", b"directories")
            .map(drop)
    }
}

/// Returns whether an entry described this directory of a draft.
pub(crate) fn is_described(stat: &Stat) -> bool {
    stat.st_mode & Mode::SVTX.bits() != 0
}
