//! What symbolic links are to be, on files beside the tree.
//!
//! A link at `a/b` of a layer's tree that is not root's, or that has extended attributes, has an
//! empty file at `links/a/b` of the layer's folder, which carries the record: see
//! [`super::recorded`]. Names of one link are names of one such file, so that what is said
//! of one is said of all. Files without a link are of no concern to anybody.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, XattrFlags};
use rustix::io::Errno;

use super::attributes::Attributes;
use super::draft::TreeDraft;
use super::handle;
use super::name;
use super::recorded::{LINK_MODE, Means, Record, XATTR};
use super::remove;
use crate::error::{During, Trouble};

/// The folder's name, beside the tree.
const FOLDER: &str = "links";
/// What a link is unless something else is said.
const PLAIN: Record = Record {
    owner: Some((0, 0, LINK_MODE)),
    node: None,
    xattrs: Vec::new(),
};

/// The folder of one layer, where there may be none yet: the folder that holds it, and the
/// tree's path below that.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beside<'a> {
    at: BorrowedFd<'a>,
    tree: &'a [u8],
}

impl<'a> Beside<'a> {
    /// Of the tree that lies at `tree` below `at`.
    pub(crate) fn tree(at: BorrowedFd<'a>, tree: &'a [u8]) -> Self {
        Self { at, tree }
    }

    fn path(self) -> Vec<u8> {
        name::join(name::split(self.tree).0, FOLDER.as_bytes())
    }

    /// Returns what is said of the link at a place.
    pub(crate) fn read(self, place: &[u8]) -> Result<Option<Vec<u8>>, Trouble> {
        let path = name::join(&self.path(), place);
        let file = match handle::open_below(self.at, &path, handle::NODE) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            file => file.during("look at what is said of", place)?,
        };
        super::meta::get_xattr(file.as_fd(), XATTR).during("read what is said of", place)
    }

    /// Says this, or nothing, of a new link at a place.
    pub(crate) fn put(self, place: &[u8], record: Option<&[u8]>) -> Result<(), Trouble> {
        let plain = PLAIN.encode();
        let record = record.filter(|record| *record != plain);
        let (parent, last) = name::split(place);
        let Some(dir) = self.folder(parent, record.is_some())? else {
            return Ok(());
        };
        // Of what stood at the place before. Another name of it keeps its own.
        remove::remove(dir.as_fd(), last).during("forget what is said of", place)?;
        match record {
            Some(record) => create(dir.as_fd(), last, record).during("note the owner of", place),
            None => Ok(()),
        }
    }

    /// Says this of the link at a place and of its other names.
    pub(crate) fn change(self, place: &[u8], record: &[u8]) -> Result<(), Trouble> {
        let path = name::join(&self.path(), place);
        match handle::open_below(self.at, &path, handle::NODE) {
            Err(Errno::NOENT | Errno::NOTDIR) => self.put(place, Some(record)),
            file => {
                let file = file.during("look at what is said of", place)?;
                set(file.as_fd(), record).during("note the owner of", place)
            }
        }
    }

    /// A link gets a further name.
    pub(crate) fn link(self, from: &[u8], to: &[u8]) -> Result<(), Trouble> {
        let (from_parent, from_last) = name::split(from);
        let (to_parent, to_last) = name::split(to);
        let (Some(source), Some(target)) = (
            self.folder(from_parent, true)?,
            self.folder(to_parent, true)?,
        ) else {
            return Ok(());
        };
        match create(source.as_fd(), from_last, &PLAIN.encode()) {
            Err(Errno::EXIST) => {}
            done => done.during("note the owner of", from)?,
        }
        remove::remove(target.as_fd(), to_last).during("forget what is said of", to)?;
        let flags = AtFlags::empty();
        rustix::fs::linkat(&source, from_last, &target, to_last, flags)
            .during("note the owner of", to)
    }

    /// Opens the folder for links of a directory. What is in the way of its making was said of
    /// something that is gone.
    fn folder(self, parent: &[u8], make: bool) -> Result<Option<OwnedFd>, Trouble> {
        let path = self.path();
        let mut at = match handle::open_below(self.at, &path, handle::DIRECTORY) {
            Err(Errno::NOENT) if !make => return Ok(None),
            Err(Errno::NOENT) => rustix::fs::mkdirat(self.at, path.as_slice(), Mode::RWXU)
                .and_then(|()| handle::open_below(self.at, &path, handle::DIRECTORY)),
            at => at,
        }
        .during("open", FOLDER.as_bytes())?;
        for part in name::parts(parent) {
            let open =
                |at: &OwnedFd| rustix::fs::openat(at, part, handle::DIRECTORY, Mode::empty());
            at = match open(&at) {
                Err(Errno::NOENT | Errno::NOTDIR) if !make => return Ok(None),
                Err(error @ (Errno::NOENT | Errno::NOTDIR)) => {
                    if error == Errno::NOTDIR {
                        remove::remove(at.as_fd(), part).during("remove", parent)?;
                    }
                    rustix::fs::mkdirat(&at, part, Mode::RWXU)
                        .and_then(|()| open(&at))
                        .during("create a folder beside", parent)?
                }
                opened => opened.during("open", parent)?,
            };
        }
        Ok(Some(at))
    }
}

impl TreeDraft {
    fn beside(&self) -> Beside<'_> {
        // The layer's folder is in the draft's.
        let layer = name::split(&self.path).0;
        let at = layer.len() - name::split(layer).1.len();
        let tree = self.path.get(at..).unwrap_or_default();
        Beside::tree(self.work.as_fd(), tree)
    }

    /// Says what a new symbolic link is to be.
    pub(super) fn say_of_link(
        &self,
        place: &[u8],
        attributes: &Attributes<'_>,
    ) -> Result<(), Trouble> {
        if !self.meta.means.records() {
            return Ok(());
        }
        let mut xattrs = attributes.xattrs.iter();
        let record = xattrs.find(|(name, _)| name == XATTR);
        self.beside()
            .put(place, record.map(|(_, value)| &value[..]))
    }

    /// Says of a copy what is said of a lower layer's link; of other files it is on the copy.
    pub(super) fn say_of_copy(
        &self,
        kind: FileType,
        place: &[u8],
        said: impl FnOnce() -> Result<Option<Vec<u8>>, Trouble>,
    ) -> Result<(), Trouble> {
        if kind != FileType::Symlink || !self.meta.means.records() {
            return Ok(());
        }
        self.beside().put(place, said()?.as_deref())
    }

    /// Says of a further name what is said of the first, or of a copy where it is one.
    pub(super) fn say_of_name(
        &self,
        kind: FileType,
        (from, to): (&[u8], &[u8]),
        linked: bool,
    ) -> Result<(), Trouble> {
        if kind != FileType::Symlink || !self.meta.means.records() {
            return Ok(());
        }
        if linked {
            self.beside().link(from, to)
        } else {
            let said = self.beside().read(from)?;
            self.beside().put(to, said.as_deref())
        }
    }

    /// Gives a file what the header of one of its further names says.
    pub(super) fn finish_name(
        &mut self,
        dir: BorrowedFd<'_>,
        last: &[u8],
        attributes: &Attributes<'_>,
        place: &[u8],
    ) -> Result<(), Trouble> {
        self.meta.finish_link(dir, last, attributes, place)?;
        if self.meta.means != Means::Own {
            return Ok(());
        }
        let stat = handle::look(dir, last).during("look at", place)?;
        if stat.is_none_or(|stat| handle::kind_of(&stat) != FileType::Symlink) {
            return Ok(());
        }
        let decode = |said: &[u8]| Record::decode(said).during("read what is said of", place);
        let mut record = match self.beside().read(place)? {
            Some(said) => decode(&said)?,
            None => PLAIN,
        };
        // Of a symbolic link only the owner.
        for (name, said) in attributes.xattrs.iter() {
            if name == XATTR
                && let Some((uid, gid, _)) = decode(said)?.owner
            {
                record.owner = Some((uid, gid, LINK_MODE));
            }
        }
        self.beside().change(place, &record.encode())
    }
}

fn create(dir: BorrowedFd<'_>, name: &[u8], record: &[u8]) -> Result<(), Errno> {
    let mode = Mode::RUSR | Mode::WUSR;
    let file = rustix::fs::openat(dir, name, handle::CREATE, mode)?;
    rustix::fs::fsetxattr(&file, XATTR, record, XattrFlags::empty())
}

fn set(node: BorrowedFd<'_>, record: &[u8]) -> Result<(), Errno> {
    let path = handle::magic_path(node);
    rustix::fs::setxattr(path.as_str(), XATTR, record, XattrFlags::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(beside: Beside<'_>, place: &str) -> Option<String> {
        let found = beside.read(place.as_bytes()).unwrap();
        found.map(|value| String::from_utf8(value).unwrap())
    }

    #[test]
    fn only_what_is_special_is_said() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(temp.path().join("layer/tree")).unwrap();
        let home = rustix::fs::open(temp.path(), handle::DIRECTORY, Mode::empty()).unwrap();
        let beside = Beside::tree(home.as_fd(), b"layer/tree");
        beside.put(b"a/plain", Some(b"0:0:777")).unwrap();
        beside.put(b"a/none", None).unwrap();
        assert!(!temp.path().join("layer/links").exists());
        beside.put(b"a/b/other", Some(b"5:6:777")).unwrap();
        assert_eq!(read(beside, "a/b/other").as_deref(), Some("5:6:777"));
        assert_eq!(read(beside, "a/plain"), None);
        assert_eq!(read(beside, "a/b/other/below"), None);
        beside.put(b"a/b/other", None).unwrap();
        assert_eq!(read(beside, "a/b/other"), None);
    }

    #[test]
    fn names_of_one_link_are_one() {
        let temp = tempfile::tempdir().unwrap();
        let home = rustix::fs::open(temp.path(), handle::DIRECTORY, Mode::empty()).unwrap();
        let beside = Beside::tree(home.as_fd(), b"tree");
        beside.link(b"a/one", b"two").unwrap();
        beside.change(b"two", b"1:2:777").unwrap();
        assert_eq!(read(beside, "a/one").as_deref(), Some("1:2:777"));
        // A new link takes the place: the other name stays what it was.
        beside.put(b"two", Some(b"3:3:777")).unwrap();
        assert_eq!(read(beside, "a/one").as_deref(), Some("1:2:777"));
        // A link was where a directory is now, and the other way round.
        beside.put(b"two/below", Some(b"4:4:777")).unwrap();
        assert_eq!(read(beside, "two/below").as_deref(), Some("4:4:777"));
        beside.change(b"a", b"9:9:777").unwrap();
        beside.put(b"two", Some(b"5:5:777")).unwrap();
        assert_eq!(read(beside, "two").as_deref(), Some("5:5:777"));
    }
}
