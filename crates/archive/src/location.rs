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

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use lith_store::{Digest, ImageId, ParseReferenceError, Reference};

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

/// Which image is meant: by name, by ID, or by what may be either.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    text: String,
    pub(crate) name: Option<Reference>,
    /// Hex digits, at most 64.
    pub(crate) id: Option<String>,
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

impl Wanted {
    /// Reads an image's name or ID; a name without tag and digest gets the tag `latest`.
    ///
    /// # Errors
    /// What is neither.
    pub fn parse(text: &str) -> Result<Wanted, ParseReferenceError> {
        let is_hex = |text: &str| {
            (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        let bare = text.strip_prefix("sha256:").or(text.strip_prefix('@'));
        let id = match bare {
            Some(hex) if is_hex(hex) => Some(hex),
            _ if text.len() == 64 && is_hex(text) => Some(text),
            _ => None,
        };
        if let Some(id) = id {
            return Ok(Wanted {
                text: text.to_owned(),
                name: None,
                id: Some(id.to_ascii_lowercase()),
            });
        }
        Ok(Wanted {
            name: Some(Reference::parse(text)?),
            id: is_hex(text).then(|| text.to_owned()),
            text: text.to_owned(),
        })
    }

    /// The name that it is, or may be.
    pub fn name(&self) -> Option<&Reference> {
        self.name.as_ref()
    }

    /// The image among `images` that is meant, by its position there.
    ///
    /// A name is looked for first. Several images fit only when their IDs begin alike.
    pub(crate) fn find(&self, images: &[Candidate<'_>]) -> Vec<usize> {
        let all = |fits: &dyn Fn(&Candidate<'_>) -> bool| -> Vec<usize> {
            let fitting = images.iter().enumerate().filter(|(_, image)| fits(image));
            fitting.map(|(index, _)| index).collect()
        };
        if let Some(name) = &self.name {
            let named = all(&|image| image.is_named(name));
            if !named.is_empty() {
                return named;
            }
        }
        let Some(id) = &self.id else {
            return Vec::new();
        };
        all(&|image| {
            image
                .id
                .is_some_and(|own| own.hex().starts_with(id.as_str()))
        })
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// An image as far as it matters for choosing.
pub(crate) struct Candidate<'a> {
    pub(crate) id: Option<ImageId>,
    pub(crate) names: &'a [Reference],
    /// Digests of its manifests.
    pub(crate) digests: &'a [Digest],
}

impl Candidate<'_> {
    fn is_named(&self, wanted: &Reference) -> bool {
        let repository = |own: &&Reference| own.repository() == wanted.repository();
        let mut own = self.names.iter().filter(repository);
        match wanted.digest() {
            None => own.any(|own| own.tag() == wanted.tag()),
            Some(digest) => {
                own.any(|own| own.digest() == Some(digest) || self.digests.contains(digest))
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Location, LocationError> {
        Location::parse(OsStr::new(text))
    }

    fn image(text: &str) -> Wanted {
        Wanted::parse(text).unwrap()
    }

    const ID: &str = "368a2b7b0105136598c4c54c3d41988496eabe880313fcae7306d1de734c2da5";

    #[test]
    fn paths_are_what_has_no_known_prefix() {
        for text in [
            "x.tar",
            "./oci:x",
            "/a:b/c.tar",
            "a:b.tar",
            "docker-archive",
            "OCI:x",
        ] {
            assert_eq!(parse(text), Ok(Location::Path(text.into())));
        }
        assert_eq!(parse("-"), Ok(Location::Standard));
        let raw = OsStr::from_bytes(b"\xff:\xfe");
        assert_eq!(Location::parse(raw), Ok(Location::Path(raw.into())));
        assert_eq!(parse("docker://alpine"), Err(LocationError::Registry));
    }

    #[test]
    fn a_path_ends_at_its_first_colon_and_the_name_takes_the_rest() {
        let location = parse("docker-archive:/a/b.tar:localhost:5000/team/app:1").unwrap();
        let name = Some(image("localhost:5000/team/app:1"));
        let path = PathBuf::from("/a/b.tar");
        assert_eq!(location, Location::DockerArchive { path, name });
        let location = parse("docker-archive:b:c.tar").unwrap();
        let (path, name) = ("b".into(), Some(image("c.tar")));
        assert_eq!(location, Location::DockerArchive { path, name });
        let location = parse("oci:/a/b:c:d").unwrap();
        let (dir, name) = ("/a/b".into(), Some("c:d".into()));
        assert_eq!(location, Location::OciDir { dir, name });
        let location = parse("oci-archive:x.tar").unwrap();
        let (path, name) = ("x.tar".into(), None);
        assert_eq!(location, Location::OciArchive { path, name });
        let dir = "/a:b".into();
        assert_eq!(parse("dir:/a:b"), Ok(Location::DockerDir { dir }));
        let location = parse("docker-store:/var/lib/docker:alpine:3").unwrap();
        let (root, name) = ("/var/lib/docker".into(), Some(image("alpine:3")));
        assert_eq!(location, Location::DockerStore { root, name });
        let name = "a:1".into();
        assert_eq!(parse("store:a:1"), Ok(Location::Store { name }));
    }

    #[test]
    fn paths_need_not_be_text() {
        let raw = OsStr::from_bytes(b"docker-archive:/\xff:x");
        let location = Location::parse(raw).unwrap();
        let path = PathBuf::from(OsStr::from_bytes(b"/\xff"));
        let name = Some(image("x"));
        assert_eq!(location, Location::DockerArchive { path, name });
        let raw = OsStr::from_bytes(b"docker-archive:/x:\xff");
        let prefix = "docker-archive";
        assert_eq!(Location::parse(raw), Err(LocationError::NotText { prefix }));
    }

    #[test]
    fn what_is_missing_is_said() {
        for text in [
            "docker-archive:",
            "docker-archive::x",
            "docker-archive:x:",
            "oci:",
            "oci:x:",
            "dir:",
            "docker-daemon:",
            "docker-store:",
            "store:",
        ] {
            let error = parse(text).unwrap_err();
            assert!(
                matches!(error, LocationError::Missing { .. }),
                "{text}: {error}"
            );
        }
        for text in [
            "docker-daemon:Example",
            "docker-archive:x:Example",
            "docker-store:x:a b",
        ] {
            let error = parse(text).unwrap_err();
            assert!(
                matches!(error, LocationError::Name { .. }),
                "{text}: {error}"
            );
        }
        let error = parse("docker-archive:x:@0").unwrap_err();
        assert!(matches!(error, LocationError::Index { .. }));
    }

    #[test]
    fn brackets_say_which_store() {
        let spec = |driver: Option<&str>, root: &str, run: Option<&str>| StorageSpec {
            driver: driver.map(str::to_owned),
            root: root.into(),
            run: run.map(PathBuf::from),
        };
        for (text, store, name) in [
            ("", None, None),
            ("alpine", None, Some("alpine")),
            (
                "[overlay@/r+/run]",
                Some(spec(Some("overlay"), "/r", Some("/run"))),
                None,
            ),
            (
                "[vfs@/r]a:5000/b:1",
                Some(spec(Some("vfs"), "/r", None)),
                Some("a:5000/b:1"),
            ),
            ("[/r]@36", Some(spec(None, "/r", None)), Some("@36")),
            ("[/r+/s]x@y", None, None),
        ] {
            let parsed = parse(&format!("containers-storage:{text}"));
            if text.ends_with("x@y") {
                assert!(
                    matches!(parsed, Err(LocationError::Name { .. })),
                    "{parsed:?}"
                );
                continue;
            }
            let name = name.map(image);
            assert_eq!(
                parsed,
                Ok(Location::ContainersStorage { store, name }),
                "{text}"
            );
        }
        for text in [
            "[]x",
            "[overlay@r]x",
            "[@/r]x",
            "[/r",
            "[/r+run]x",
            "[vfs@/r:a=b]x",
        ] {
            let error = parse(&format!("containers-storage:{text}")).unwrap_err();
            assert!(
                matches!(error, LocationError::Brackets { .. }),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn names_and_ids() {
        assert_eq!(
            image("alpine").name.unwrap().to_string(),
            "docker.io/library/alpine:latest"
        );
        for text in [ID.to_owned(), format!("sha256:{ID}"), format!("@{ID}")] {
            let wanted = image(&text);
            assert_eq!(
                (wanted.name, wanted.id.as_deref()),
                (None, Some(ID)),
                "{text}"
            );
        }
        assert_eq!(image("sha256:368a").id.as_deref(), Some("368a"));
        let either = image("beef");
        assert!(either.name.is_some() && either.id.as_deref() == Some("beef"));
        assert!(Wanted::parse("@xyz").is_err());
    }

    #[test]
    fn a_name_wins_over_an_id() {
        let id: ImageId = format!("sha256:{ID}").parse().unwrap();
        let other = ImageId::of_bytes(b"other");
        let digest = Digest::of(b"manifest");
        let names: Vec<Reference> = ["368a", "a/b:1"].map(|n| n.parse().unwrap()).into();
        let images = [
            Candidate {
                id: Some(id),
                names: &[],
                digests: &[],
            },
            Candidate {
                id: Some(other),
                names: &names,
                digests: &[digest],
            },
        ];
        for (text, found) in [
            ("368a", &[1][..]),
            ("@368a", &[0]),
            ("368a2", &[0]),
            ("a/b:1", &[1]),
            ("a/b", &[]),
            ("a/b:2", &[]),
            ("@ffffffff", &[]),
            (&format!("a/b@{digest}"), &[1]),
            (&format!("a/c@{digest}"), &[]),
        ] {
            assert_eq!(image(text).find(&images), found, "{text}");
        }
    }
}
