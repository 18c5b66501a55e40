//! Reading inside a folder, through no link.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

/// Why something in a folder cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// The system refuses.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was to be done.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Something that is not what it should be.
    #[error("{} is not {expected}", path.display())]
    Kind {
        /// Its path.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
    },
    /// A document that is larger than any of its kind.
    #[error("{} has {size} bytes, more than the {limit} that are read", path.display())]
    TooLarge {
        /// The document.
        path: PathBuf,
        /// Its size.
        size: u64,
        /// The bound.
        limit: u64,
    },
}

const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const FILE: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// A folder, held open.
///
/// Paths below it are relative and have no `..`; nothing on the way and at the end of them may be
/// a link. What is not there is `None`.
#[derive(Debug)]
pub(crate) struct Folder {
    fd: OwnedFd,
    path: PathBuf,
}

impl Folder {
    /// Opens a folder by the path that the user gave: this one may lead through links.
    pub(crate) fn open(path: &Path) -> Result<Folder, FolderError> {
        let fd = rustix::fs::open(path, FOLDER, Mode::empty());
        let fd = fd.map_err(|error| failed("open", path.to_owned(), error))?;
        let path = path.to_owned();
        Ok(Folder { fd, path })
    }

    /// The path of the folder, or of something in it, for people.
    pub(crate) fn path(&self, below: &str) -> PathBuf {
        if below.is_empty() {
            self.path.clone()
        } else {
            self.path.join(below)
        }
    }

    pub(crate) fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// Opens a folder.
    pub(crate) fn folder(&self, below: &str) -> Result<Option<Folder>, FolderError> {
        let mut held: Option<OwnedFd> = None;
        for part in below.split('/') {
            let at = held.as_ref().map_or(self.fd.as_fd(), |fd| fd.as_fd());
            if matches!(part, "" | "." | "..") {
                return Err(self.kind(below, "a path inside the folder"));
            }
            match rustix::fs::openat(at, part, FOLDER | OFlags::NOFOLLOW, Mode::empty()) {
                Ok(fd) => held = Some(fd),
                Err(Errno::NOENT) => return Ok(None),
                Err(Errno::NOTDIR | Errno::LOOP) => return Err(self.kind(below, "a folder")),
                Err(error) => return Err(failed("open", self.path(below), error)),
            }
        }
        let path = self.path(below);
        Ok(held.map(|fd| Folder { fd, path }))
    }

    /// Opens a regular file.
    pub(crate) fn file(&self, below: &str) -> Result<Option<File>, FolderError> {
        let Some((parent, name)) = self.parent(below)? else {
            return Ok(None);
        };
        let at = parent.as_ref().map_or(self.fd.as_fd(), |fd| fd.as_fd());
        let regular = |mode| FileType::from_raw_mode(mode) == FileType::RegularFile;
        // Looked at before it is opened: no device wakes up.
        match rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if regular(stat.st_mode) => {}
            Ok(_) => return Err(self.kind(below, "a regular file")),
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(failed("look at", self.path(below), error)),
        }
        let file = match rustix::fs::openat(at, name, FILE, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(failed("open", self.path(below), error)),
        };
        match rustix::fs::fstat(&file) {
            Ok(stat) if regular(stat.st_mode) => Ok(Some(file)),
            Ok(_) => Err(self.kind(below, "a regular file")),
            Err(error) => Err(failed("look at", self.path(below), error)),
        }
    }

    /// Where a symbolic link leads; none when there is something else, or nothing.
    pub(crate) fn link(&self, below: &str) -> Result<Option<Vec<u8>>, FolderError> {
        let Some((parent, name)) = self.parent(below)? else {
            return Ok(None);
        };
        let at = parent.as_ref().map_or(self.fd.as_fd(), |fd| fd.as_fd());
        match rustix::fs::readlinkat(at, name, Vec::new()) {
            Ok(target) => Ok(Some(target.into_bytes())),
            Err(Errno::NOENT | Errno::INVAL) => Ok(None),
            Err(error) => Err(failed("look at", self.path(below), error)),
        }
    }

    /// The folder that a path below this one ends in (none for this one), and the name there.
    fn parent<'a>(
        &self,
        below: &'a str,
    ) -> Result<Option<(Option<OwnedFd>, &'a str)>, FolderError> {
        if matches!(below, "" | "." | "..") {
            return Err(self.kind(below, "a path inside the folder"));
        }
        let Some((parent, name)) = below.rsplit_once('/') else {
            return Ok(Some((None, below)));
        };
        let parent = self.folder(parent)?;
        Ok(parent.map(|parent| (Some(parent.fd), name)))
    }

    /// Reads a document of at most `limit` bytes.
    pub(crate) fn read(&self, below: &str, limit: u64) -> Result<Option<Vec<u8>>, FolderError> {
        let Some(file) = self.file(below)? else {
            return Ok(None);
        };
        let path = || self.path(below);
        let mut bytes = Vec::new();
        let read = (&file).take(limit + 1).read_to_end(&mut bytes);
        read.map_err(|source| FolderError::Io {
            action: "read",
            path: path(),
            source,
        })?;
        if bytes.len() as u64 > limit {
            let size = file.metadata().map_or(0, |metadata| metadata.len());
            let size = size.max(bytes.len() as u64);
            let path = path();
            return Err(FolderError::TooLarge { path, size, limit });
        }
        Ok(Some(bytes))
    }

    /// Names of what is in a folder (this one for ""), sorted; those that are no text are left out.
    pub(crate) fn names(&self, below: &str) -> Result<Option<Vec<String>>, FolderError> {
        let folder = match below {
            "" => None,
            below => match self.folder(below)? {
                None => return Ok(None),
                folder => folder,
            },
        };
        let folder = folder
            .as_ref()
            .map_or(self.fd.as_fd(), |folder| folder.fd.as_fd());
        let listed = || -> Result<Vec<String>, Errno> {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(folder, c".", flags, Mode::empty())?;
            let mut names = Vec::new();
            for entry in rustix::fs::Dir::read_from(fd)? {
                if let Ok(name) = entry?.file_name().to_str()
                    && !matches!(name, "." | "..")
                {
                    names.push(name.to_owned());
                }
            }
            names.sort();
            Ok(names)
        };
        let names = listed().map_err(|error| failed("list", self.path(below), error))?;
        Ok(Some(names))
    }

    fn kind(&self, below: &str, expected: &'static str) -> FolderError {
        FolderError::Kind {
            path: self.path(below),
            expected,
        }
    }
}

fn failed(action: &'static str, path: PathBuf, error: Errno) -> FolderError {
    FolderError::Io {
        action,
        path,
        source: io::Error::from(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn nothing_leads_outside() {
        let temp = tempfile::tempdir().unwrap();
        let inside = temp.path().join("in");
        std::fs::create_dir_all(inside.join("a/b")).unwrap();
        std::fs::write(inside.join("a/b/file"), "text").unwrap();
        std::fs::write(temp.path().join("secret"), "secret").unwrap();
        symlink("../secret", inside.join("link")).unwrap();
        symlink("a", inside.join("near")).unwrap();
        symlink("/", inside.join("far")).unwrap();
        let folder = Folder::open(&inside).unwrap();
        assert_eq!(folder.read("a/b/file", 4).unwrap().unwrap(), b"text");
        assert!(folder.read("a/b/none", 4).unwrap().is_none());
        assert!(folder.read("none/file", 4).unwrap().is_none());
        let error = folder.read("a/b/file", 3).unwrap_err();
        assert!(matches!(
            error,
            FolderError::TooLarge {
                size: 4,
                limit: 3,
                ..
            }
        ));
        for bad in [
            "link",
            "near/b/file",
            "far/etc/passwd",
            "../secret",
            "a/../../secret",
            "a/b",
            "",
        ] {
            assert!(folder.file(bad).is_err(), "{bad}");
        }
        for bad in ["near", "far", "..", "a/..", "a/b/file", "", "/"] {
            assert!(folder.folder(bad).is_err(), "{bad}");
        }
        assert_eq!(folder.names("a").unwrap().unwrap(), ["b"]);
        assert!(folder.names("none").unwrap().is_none());
        // The folder itself may be reached through a link.
        symlink("in", temp.path().join("to")).unwrap();
        Folder::open(&temp.path().join("to")).unwrap();
    }
}
