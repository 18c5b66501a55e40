//! Where images come from or go to, as people write it: the SOURCE and DEST of the command line.
//!
//! | text | is |
//! | --- | --- |
//! | `-` | standard input or output |
//! | `docker-archive:PATH[:NAME]` | a docker-archive |
//! | `oci-archive:PATH[:NAME]` | a tar of an OCI layout |
//! | `oci:DIR[:NAME]` | an OCI layout |
//! | `dir:DIR` | a folder with a manifest and blobs |
//! | `docker-daemon:NAME` | a running engine |
//! | `containers-storage:[DRIVER@ROOT+RUN]NAME` | podman's store; without the brackets the usual one |
//! | `docker-store:ROOT[:NAME]` | docker's store |
//! | `store:NAME` | lith's own store |
//! | anything else | a path, whose content decides |
//!
//! The texts are split as skopeo splits them, without looking at the disk: a prefix ends at the
//! first colon, a PATH, DIR or ROOT at the next one, and all the rest is the NAME, so that it
//! may have a registry's port and a tag. `dir:` takes all of it for the folder. A path that has a
//! colon itself cannot stand behind another prefix; it can stand alone, and `./` or `/` in front
//! keeps it from being taken for a prefix.
//!
//! A NAME without tag and digest means `latest`. 64 hex digits, `sha256:HEX` and, as in skopeo,
//! `@HEX` are an ID; the latter two may be the beginning of one. A word of hex digits may be
//! either: the name wins. Beyond skopeo, the NAME may be left out wherever it can mean all
//! images, and `docker-daemon:` does not insist on a tag.

#[cfg(test)]
mod tests;
mod wanted;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use lith_store::ParseReferenceError;

pub(crate) use wanted::Candidate;
pub use wanted::Wanted;

/// A SOURCE or a DEST.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Location {
    /// Standard input or output.
    Standard,
    /// A path; its content decides what it is.
    Path(PathBuf),
    /// A docker-archive.
    DockerArchive {
        /// The file.
        path: PathBuf,
        /// One of its images.
        name: Option<Wanted>,
    },
    /// A tar of an OCI layout.
    OciArchive {
        /// The file.
        path: PathBuf,
        /// One of its images, as its index calls it.
        name: Option<String>,
    },
    /// An OCI layout.
    OciDir {
        /// The folder.
        dir: PathBuf,
        /// One of its images, as its index calls it.
        name: Option<String>,
    },
    /// A folder with one image's manifest and blobs.
    DockerDir {
        /// The folder.
        dir: PathBuf,
    },
    /// A running engine.
    Daemon {
        /// One of its images.
        name: Wanted,
    },
    /// podman's store.
    ContainersStorage {
        /// Which store, when it is not the usual one.
        store: Option<StorageSpec>,
        /// One of its images; all when there is none.
        name: Option<Wanted>,
    },
    /// docker's store.
    DockerStore {
        /// docker's data root.
        root: PathBuf,
        /// One of its images; all when there is none.
        name: Option<Wanted>,
    },
    /// lith's own store.
    Store {
        /// A name or an ID.
        name: String,
    },
}

/// What stands in the brackets of `containers-storage:[DRIVER@ROOT+RUN]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageSpec {
    /// The storage driver; looked up in the store when it is not given.
    pub driver: Option<String>,
    /// The store's folder.
    pub root: PathBuf,
    /// The folder for what does not outlive the machine.
    pub run: Option<PathBuf>,
}

/// Why a text is no SOURCE and no DEST.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LocationError {
    /// Nothing stands where something must.
    #[error("{prefix}: {what} is missing")]
    Missing {
        /// The text's prefix.
        prefix: &'static str,
        /// What should be there.
        what: &'static str,
    },
    /// The name is none.
    #[error("{prefix}: not an image name or ID")]
    Name {
        /// The text's prefix.
        prefix: &'static str,
        /// What is wrong with it.
        source: ParseReferenceError,
    },
    /// The name is not even text.
    #[error("{prefix}: the image name is not UTF-8")]
    NotText {
        /// The text's prefix.
        prefix: &'static str,
    },
    /// `@` and a number, which means a position in an archive elsewhere.
    #[error("{prefix}: {text} counts images, which is not supported: give a name or an ID")]
    Index {
        /// The text's prefix.
        prefix: &'static str,
        /// The part of the text.
        text: String,
    },
    /// The brackets are wrong.
    #[error("containers-storage: {text}: {reason}, expected [DRIVER@ROOT+RUN]")]
    Brackets {
        /// What stands there.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A registry.
    #[error("images cannot be taken from or given to a registry yet")]
    Registry,
}

impl Location {
    /// Reads a SOURCE or a DEST.
    ///
    /// # Errors
    /// A known prefix with something wrong behind it. Everything without a known prefix is a
    /// path.
    pub fn parse(text: &OsStr) -> Result<Location, LocationError> {
        let bytes = text.as_bytes();
        if bytes == b"-" {
            return Ok(Location::Standard);
        }
        if bytes.starts_with(b"docker://") {
            return Err(LocationError::Registry);
        }
        let (prefix, rest) = split(bytes);
        let Some(rest) = rest else {
            return Ok(Location::Path(text.into()));
        };
        Ok(match prefix {
            b"docker-archive" => {
                let (path, name) = path_and_name("docker-archive", "the path", rest)?;
                let name = name
                    .map(|name| wanted("docker-archive", name))
                    .transpose()?;
                Location::DockerArchive { path, name }
            }
            b"oci-archive" => {
                let (path, name) = path_and_name("oci-archive", "the path", rest)?;
                let name = name.map(str::to_owned);
                Location::OciArchive { path, name }
            }
            b"oci" => {
                let (dir, name) = path_and_name("oci", "the folder", rest)?;
                let name = name.map(str::to_owned);
                Location::OciDir { dir, name }
            }
            b"dir" => Location::DockerDir {
                dir: path("dir", "the folder", rest)?,
            },
            b"docker-daemon" => Location::Daemon {
                name: wanted("docker-daemon", utf8("docker-daemon", rest)?)?,
            },
            b"containers-storage" => containers_storage(rest)?,
            b"docker-store" => {
                let (root, name) = path_and_name("docker-store", "the folder", rest)?;
                let name = name.map(|name| wanted("docker-store", name)).transpose()?;
                Location::DockerStore { root, name }
            }
            b"store" => Location::Store {
                name: not_empty("store", utf8("store", rest)?)?.to_owned(),
            },
            _ => Location::Path(text.into()),
        })
    }
}

/// What stands before the first colon and, when there is one, behind it.
fn split(bytes: &[u8]) -> (&[u8], Option<&[u8]>) {
    let mut parts = bytes.splitn(2, |byte| *byte == b':');
    (parts.next().unwrap_or_default(), parts.next())
}

fn path(prefix: &'static str, what: &'static str, bytes: &[u8]) -> Result<PathBuf, LocationError> {
    if bytes.is_empty() {
        return Err(LocationError::Missing { prefix, what });
    }
    Ok(Path::new(OsStr::from_bytes(bytes)).to_owned())
}

fn path_and_name<'a>(
    prefix: &'static str,
    what: &'static str,
    bytes: &'a [u8],
) -> Result<(PathBuf, Option<&'a str>), LocationError> {
    let (front, name) = split(bytes);
    let front = path(prefix, what, front)?;
    let name = name.map(|name| not_empty(prefix, utf8(prefix, name)?));
    Ok((front, name.transpose()?))
}

fn utf8<'a>(prefix: &'static str, bytes: &'a [u8]) -> Result<&'a str, LocationError> {
    std::str::from_utf8(bytes).map_err(|_| LocationError::NotText { prefix })
}

fn not_empty<'a>(prefix: &'static str, name: &'a str) -> Result<&'a str, LocationError> {
    let what = "the name behind the colon";
    Some(name)
        .filter(|name| !name.is_empty())
        .ok_or(LocationError::Missing { prefix, what })
}

fn wanted(prefix: &'static str, text: &str) -> Result<Wanted, LocationError> {
    let text = not_empty(prefix, text)?;
    if prefix == "docker-archive" && text.starts_with('@') {
        let text = text.to_owned();
        return Err(LocationError::Index { prefix, text });
    }
    Wanted::parse(text).map_err(|source| LocationError::Name { prefix, source })
}

fn containers_storage(rest: &[u8]) -> Result<Location, LocationError> {
    let prefix = "containers-storage";
    let (store, name) = match rest.strip_prefix(b"[") {
        None => (None, rest),
        Some(rest) => {
            let mut parts = rest.splitn(2, |byte| *byte == b']');
            let inside = parts.next().unwrap_or_default();
            let name = parts
                .next()
                .ok_or_else(|| brackets(rest, "the closing bracket is missing"))?;
            (Some(storage_spec(inside)?), name)
        }
    };
    let name = match utf8(prefix, name)? {
        "" => None,
        name => Some(wanted(prefix, name)?),
    };
    Ok(Location::ContainersStorage { store, name })
}

fn storage_spec(inside: &[u8]) -> Result<StorageSpec, LocationError> {
    let mut parts = inside.splitn(2, |byte| *byte == b'@');
    let (driver, rest) = match (parts.next(), parts.next()) {
        (Some(driver), Some(rest)) => (Some(driver), rest),
        (first, _) => (None, first.unwrap_or_default()),
    };
    let driver = driver.map(|driver| match std::str::from_utf8(driver) {
        Ok(driver) if !driver.is_empty() => Ok(driver.to_owned()),
        _ => Err(brackets(inside, "the driver is missing")),
    });
    if rest.contains(&b':') {
        return Err(brackets(inside, "options are not supported"));
    }
    let mut parts = rest.splitn(2, |byte| *byte == b'+');
    let root = parts.next().unwrap_or_default();
    let run = parts.next();
    let relative = |path: &[u8]| !path.starts_with(b"/");
    if relative(root) || run.is_some_and(relative) {
        return Err(brackets(inside, "the folders must be absolute"));
    }
    let folder = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
    Ok(StorageSpec {
        driver: driver.transpose()?,
        root: folder(root),
        run: run.map(folder),
    })
}

fn brackets(text: &[u8], reason: &'static str) -> LocationError {
    LocationError::Brackets {
        text: String::from_utf8_lossy(text).into_owned(),
        reason,
    }
}
