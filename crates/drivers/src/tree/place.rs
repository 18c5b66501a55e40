//! The tree of a draft: where an entry goes, and what has to make way for it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, Stat, XattrFlags};
use rustix::io::Errno;

use super::handle::{self, kind_of};
use super::log::{Encoder, Log};
use super::meta::Meta;
use super::name;
use super::remove;
use super::walk::{Step, Walk};
use crate::error::{During, Trouble};

/// What makes a directory hide those of lower layers.
pub(crate) const OPAQUE: &str = "trusted.overlay.opaque";

/// More links than this in one name: they lead in a circle.
pub(crate) const MOST_LINKS: u32 = 40;
/// So many parts may come from links while one name is followed; or a small layer of links that
/// lead back and forth could keep us busy for days.
pub(crate) const MOST_PARTS: usize = 1000;
/// No place is deeper or longer than this (Linux takes paths of half the depth at once).
const DEEPEST: usize = 8192;
const LONGEST: usize = 64 * 1024;

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
/// And of the others, those that were looked into, and hold more than whiteouts, this one.
const HOLDS_SOMETHING: Mode = Mode::RWXU.union(Mode::XOTH);
/// First byte of a note about what the draft hides of lower layers.
pub(crate) const NOTE_WHITEOUT: u8 = 0;
pub(crate) const NOTE_OPAQUE: u8 = 1;

/// What is told of a file that has to make way: its directory, its name, its place.
pub(crate) type Displaced<'a> =
    &'a mut dyn FnMut(BorrowedFd<'_>, &[u8], &[u8]) -> Result<(), Trouble>;

/// The tree of a draft.
#[derive(Debug)]
pub(crate) struct Tree {
    root: Arc<OwnedFd>,
    /// The directory used last, under the name it was asked for by.
    held: Option<(Vec<u8>, Spot)>,
    /// Directories, in the order they were made or described.
    pub(crate) directories: Log,
    /// Whiteouts and opaque directories.
    pub(crate) hiding: Log,
    /// The root hides everything below the layer.
    pub(crate) opaque_root: bool,
}

/// What is to be remembered of a tree that holds nothing open.
#[derive(Debug)]
pub(crate) struct ParkedTree {
    directories: u64,
    hiding: u64,
    opaque_root: bool,
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
        })
    }
}

impl Tree {
    /// Starts with an empty directory; `work` is where notes are put.
    pub(crate) fn new(root: OwnedFd, work: BorrowedFd<'_>) -> Result<Self, Trouble> {
        let create = |name: &str| Log::create(work, name).during("create", name.as_bytes());
        let mut directories = create("directories")?;
        let mut root_note = Encoder::default();
        root_note.byte(NOTE_IMPLIED).bytes(b"").number(0);
        directories
            .push(&root_note.0)
            .during("write", b"directories")?;
        Ok(Self {
            root: Arc::new(root),
            held: None,
            directories,
            hiding: create("hiding")?,
            opaque_root: false,
        })
    }

    /// Closes what it holds open.
    pub(crate) fn park(self) -> Result<ParkedTree, Trouble> {
        Ok(ParkedTree {
            directories: self.directories.park().during("write", b"directories")?,
            hiding: self.hiding.park().during("write", b"hiding")?,
            opaque_root: self.opaque_root,
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
            None => self.walk(path, Missing::MakeUnlessTaken, &mut |_, _, _| Ok(())),
        }
    }

    /// Returns the directory with this name, if there is one.
    pub(crate) fn find(&mut self, path: &[u8]) -> Result<Option<Spot>, Trouble> {
        match self.known(path)? {
            Some(spot) => Ok(Some(spot)),
            None => self.walk(path, Missing::GiveUp, &mut |_, _, _| Ok(())),
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
            let opened =
                rustix::fs::openat(&way.at, part.as_slice(), handle::DIRECTORY, Mode::empty());
            match opened {
                Ok(fd) => {
                    way.go(fd, &part);
                    continue;
                }
                Err(Errno::NOENT) if missing == Missing::GiveUp => return Ok(None),
                Err(Errno::NOENT) => {
                    way.made_from.get_or_insert(way.place.len());
                    let fd = make(&way, &part)?;
                    way.go(fd, &part);
                    way.check_depth()?;
                    continue;
                }
                Err(Errno::NOTDIR | Errno::LOOP) => {}
                Err(other) => return Err(other).during("open", &way.here(&part)),
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

    /// Makes a directory hide what lower layers have in it.
    pub(crate) fn make_opaque(&mut self, dir: BorrowedFd<'_>, place: &[u8]) -> Result<(), Trouble> {
        if place.is_empty() {
            self.opaque_root = true;
            return Ok(());
        }
        let path = handle::magic_path(dir);
        rustix::fs::setxattr(path.as_str(), OPAQUE, b"y", XattrFlags::empty())
            .during("make opaque", place)?;
        self.note_hiding(NOTE_OPAQUE, place)
    }

    /// Returns whether a directory of the draft hides what lower layers have in it.
    pub(crate) fn is_opaque(&self, dir: BorrowedFd<'_>, place: &[u8]) -> Result<bool, Trouble> {
        if place.is_empty() {
            return Ok(self.opaque_root);
        }
        is_opaque(dir).during("look at", place)
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

    /// Removes what stands at a name. Files that hold payloads are told of first.
    pub(crate) fn displace(
        &mut self,
        dir: BorrowedFd<'_>,
        last: &[u8],
        place: &[u8],
        displaced: Displaced<'_>,
    ) -> Result<Option<Stat>, Trouble> {
        let Some(stat) = handle::look(dir, last).during("look at", place)? else {
            return Ok(None);
        };
        match kind_of(&stat) {
            FileType::RegularFile => {
                displaced(dir, last, place)?;
                unlink(dir, last).during("remove", place)?;
            }
            FileType::Directory => {
                self.held = None;
                remove::remove_telling(dir, last, &mut |dir, name, below| {
                    displaced(dir, name, &name::join(place, below)).map_err(Removal::Told)
                })
                .map_err(|error| match error {
                    Removal::Told(trouble) => trouble,
                    Removal::Failed(source) => Trouble::Io {
                        action: "remove",
                        path: crate::error::shown(place).into(),
                        source,
                    },
                })?;
            }
            _ => {
                // A link may be on the way to the directory used last.
                self.held = None;
                unlink(dir, last).during("remove", place)?;
            }
        }
        Ok(Some(stat))
    }
}

/// A name on its way to a place.
#[derive(Debug)]
struct Way {
    /// Parts still to go, nearest last.
    ahead: Vec<Vec<u8>>,
    /// The directory reached so far, and where it lies.
    at: OwnedFd,
    place: Vec<u8>,
    depth: usize,
    links: u32,
    /// How many parts came from links.
    parts: usize,
    /// Length of the place below which all directories were made just now.
    made_from: Option<usize>,
}

impl Way {
    fn new(path: &[u8], root: OwnedFd) -> Self {
        let ahead = name::parts(path).rev().map(<[u8]>::to_vec).collect();
        Self {
            ahead,
            at: root,
            place: Vec::new(),
            depth: 0,
            links: 0,
            parts: 0,
            made_from: None,
        }
    }

    fn next_part(&mut self) -> Result<Option<Vec<u8>>, Trouble> {
        if self.parts > MOST_PARTS {
            return Err(Trouble::Refused(format!(
                "its links lead through more than {MOST_PARTS} names"
            )));
        }
        while let Some(part) = self.ahead.pop() {
            if part != b"." {
                return Ok(Some(part));
            }
        }
        Ok(None)
    }

    fn here(&self, part: &[u8]) -> Vec<u8> {
        name::join(&self.place, part)
    }

    fn go(&mut self, fd: OwnedFd, part: &[u8]) {
        self.at = fd;
        self.depth += 1;
        name::push(&mut self.place, part);
    }

    fn follow(&mut self, target: &[u8]) {
        self.links += 1;
        let before = self.ahead.len();
        self.ahead
            .extend(name::parts(target).rev().map(<[u8]>::to_vec));
        self.parts += self.ahead.len() - before;
    }

    fn check_depth(&self) -> Result<(), Trouble> {
        if self.depth <= DEEPEST && self.place.len() <= LONGEST {
            return Ok(());
        }
        Err(Trouble::Refused(format!(
            "its directory is deeper than {DEEPEST} levels or its path longer than {LONGEST} bytes"
        )))
    }
}

fn make(way: &Way, part: &[u8]) -> Result<OwnedFd, Trouble> {
    rustix::fs::mkdirat(&way.at, part, Mode::RWXU)
        .and_then(|()| rustix::fs::openat(&way.at, part, handle::DIRECTORY, Mode::empty()))
        .map_err(|error| (error, way.here(part)))
        .or_else(|(error, here)| Err(error).during("create", &here))
}

/// Returns whether an entry described this directory of a draft.
pub(crate) fn is_described(stat: &Stat) -> bool {
    stat.st_mode & Mode::SVTX.bits() != 0
}

enum Removal {
    Told(Trouble),
    Failed(std::io::Error),
}

impl From<std::io::Error> for Removal {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error)
    }
}

fn unlink(dir: BorrowedFd<'_>, last: &[u8]) -> Result<(), Errno> {
    match rustix::fs::unlinkat(dir, last, AtFlags::empty()) {
        // The payload was moved away.
        Err(Errno::NOENT) => Ok(()),
        done => done,
    }
}

/// Returns whether a directory, by a handle of any kind, hides those below it.
pub(crate) fn is_opaque(dir: BorrowedFd<'_>) -> Result<bool, Errno> {
    let mut value = [0; 8];
    match rustix::fs::getxattr(handle::magic_path(dir).as_str(), OPAQUE, &mut value) {
        Ok(length) => Ok(value.get(..length) == Some(b"y")),
        // Only this user's namespace can not see it, or nobody set it.
        Err(Errno::NODATA | Errno::NOTSUP | Errno::RANGE) => Ok(false),
        Err(other) => Err(other),
    }
}
