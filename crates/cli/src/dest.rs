//! Where a command writes images to: a DEST as it is written, understood.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use lith_archive::{Format, Location, Target, Wanted};
use lith_store::Reference;

use crate::output::file::{self, OutputFile};
#[cfg(feature = "daemon")]
use crate::root;

/// A DEST.
#[derive(Debug)]
pub(crate) struct Dest {
    pub(crate) format: Format,
    pub(crate) place: Place,
    /// The name that the image is to have.
    pub(crate) name: Option<Reference>,
    /// What an index of the OCI is to call it, when that is no name of an image.
    pub(crate) index_name: Option<String>,
}

/// Where it is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Standard,
    File(PathBuf),
    Folder(PathBuf),
    Engine,
    Store,
}

impl Place {
    /// Opens it, lets `write` fill it, and completes it: what is a file or a folder appears
    /// only then. What has to wait meanwhile does so in the folder that `write` is given.
    pub(crate) fn write<T>(
        &self,
        write: impl FnOnce(Target<'_>, &Path) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let name: &OsStr = match self {
            Place::Standard => "-".as_ref(),
            Place::File(path) => path.as_os_str(),
            Place::Folder(dir) => return write(Target::Folder(dir), &beside(dir)),
            Place::Store => bail!("the store is no file"),
            #[cfg(feature = "daemon")]
            Place::Engine => {
                let engine = root::defaults().engine;
                let engine = engine.map_or_else(|| Ok(Default::default()), |text| text.parse())?;
                return write(Target::Daemon(&engine), &env::temp_dir());
            }
            #[cfg(not(feature = "daemon"))]
            Place::Engine => bail!("this lith was built without docker-daemon"),
        };
        let mut out = file::open(name)?;
        let written = match &mut out {
            OutputFile::Beside { file, place } => {
                let waiting = beside(place);
                write(Target::File(file.as_file_mut()), &waiting)?
            }
            out @ OutputFile::Direct(_) => write(Target::Stream(out), &env::temp_dir())?,
        };
        out.finish()?;
        Ok(written)
    }
}

/// The folder in which `place` stands, or will stand.
fn beside(place: &Path) -> PathBuf {
    match place.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => ".".into(),
    }
}

impl Dest {
    /// Reads a DEST. The format may be said by its prefix, by `format`, or by an OCI layout
    /// that is there.
    pub(crate) fn parse(text: &OsStr, format: Option<Format>) -> anyhow::Result<Dest> {
        let location = Location::parse(text)?;
        let (own, place, name, index_name) = match location {
            Location::Standard | Location::Path(_) => return unsaid(location, format),
            Location::DockerArchive { path, name } => {
                let name = name.as_ref().map(name_of).transpose()?;
                (Format::DockerArchive, Place::File(path), name, None)
            }
            Location::OciArchive { path, name } => {
                let (name, index_name) = index_names(name)?;
                (Format::OciArchive, Place::File(path), name, index_name)
            }
            Location::OciDir { dir, name } => {
                let (name, index_name) = index_names(name)?;
                (Format::OciDir, Place::Folder(dir), name, index_name)
            }
            Location::DockerDir { dir } => (Format::DockerDir, Place::Folder(dir), None, None),
            Location::Daemon { name } => {
                let name = Some(name_of(&name)?);
                (Format::DockerDaemon, Place::Engine, name, None)
            }
            Location::Store { name } => {
                if let Some(format) = format {
                    bail!("the store is no {format}: leave out --format");
                }
                let name = Some(Reference::parse(&name)?);
                (Format::DockerArchive, Place::Store, name, None)
            }
            Location::ContainersStorage { .. } => {
                bail!("containers-storage is only read: podman reads docker-archive and others")
            }
            Location::DockerStore { .. } => {
                bail!("docker-store is only read: docker-daemon writes to docker")
            }
            _ => bail!("images cannot be written there"),
        };
        if let Some(format) = format.filter(|format| *format != own) {
            bail!("it is {own}, not {format}: leave out --format, or name a path alone");
        }
        Ok(Dest {
            format: own,
            place,
            name,
            index_name,
        })
    }
}

/// A path alone, or standard output.
fn unsaid(location: Location, format: Option<Format>) -> anyhow::Result<Dest> {
    let path = match location {
        Location::Path(path) => Some(path),
        _ => None,
    };
    let is_layout = |path: &PathBuf| path.join("oci-layout").is_file();
    let there = path.as_ref().filter(|path| is_layout(path));
    let Some(format) = format.or(there.map(|_| Format::OciDir)) else {
        let formats: Vec<&str> = Format::ALL.iter().map(|format| format.name()).collect();
        bail!(
            "no format is given: say --format {}, or a prefix as in oci-archive:PATH",
            formats.join("|")
        );
    };
    let place = match path {
        Some(path) if format.is_folder() => Place::Folder(not_empty(path)?),
        Some(path) if format.is_archive() => Place::File(not_empty(path)?),
        None if format.is_archive() => Place::Standard,
        None if format.is_folder() => bail!("{format} is a folder: name one"),
        _ => bail!("{format} is no path: write {format}:NAME"),
    };
    Ok(Dest {
        format,
        place,
        name: None,
        index_name: None,
    })
}

fn not_empty(path: PathBuf) -> anyhow::Result<PathBuf> {
    if path == Path::new("") {
        bail!("the path is empty");
    }
    Ok(path)
}

fn name_of(wanted: &Wanted) -> anyhow::Result<Reference> {
    let name = wanted.name().with_context(|| {
        format!("{wanted} is an ID: an image can be given a name, its ID is its own")
    })?;
    Ok(name.clone())
}

/// A name of an image, or what only an index knows as a name.
fn index_names(name: Option<String>) -> anyhow::Result<(Option<Reference>, Option<String>)> {
    match name {
        Some(name) if name.contains(['/', ':']) => Ok((Some(Reference::parse(&name)?), None)),
        index_name => Ok((None, index_name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, format: Option<Format>) -> anyhow::Result<Dest> {
        Dest::parse(text.as_ref(), format)
    }

    #[test]
    fn prefixes_say_the_format() {
        let dest = parse("oci-archive:x.tar:localhost:5000/app", None).unwrap();
        assert_eq!(dest.format, Format::OciArchive);
        assert_eq!(dest.place, Place::File("x.tar".into()));
        assert_eq!(dest.name.unwrap().to_string(), "localhost:5000/app:latest");
        let dest = parse("oci:d:v1", None).unwrap();
        assert_eq!((dest.name, dest.index_name), (None, Some("v1".to_owned())));
        let dest = parse("docker-daemon:app", None).unwrap();
        assert_eq!(
            (dest.format, dest.place),
            (Format::DockerDaemon, Place::Engine)
        );
        let dest = parse("store:app:1", None).unwrap();
        assert_eq!(dest.place, Place::Store);
        assert!(parse("oci:d", Some(Format::OciArchive)).is_err());
        assert!(parse("oci:d", Some(Format::OciDir)).is_ok());
        for text in [
            "docker-daemon:sha256:00",
            "docker-store:/r",
            "containers-storage:x",
        ] {
            assert!(parse(text, None).is_err(), "{text}");
        }
    }

    #[test]
    fn paths_need_a_format() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().to_str().unwrap();
        assert!(parse(text, None).is_err());
        assert!(parse("-", None).is_err());
        assert!(parse("-", Some(Format::OciDir)).is_err());
        assert!(parse("x", Some(Format::DockerDaemon)).is_err());
        assert!(parse("", Some(Format::OciArchive)).is_err());
        let dest = parse("-", Some(Format::OciArchive)).unwrap();
        assert_eq!(dest.place, Place::Standard);
        let dest = parse(text, Some(Format::DockerDir)).unwrap();
        assert_eq!(dest.place, Place::Folder(text.into()));
        std::fs::write(folder.path().join("oci-layout"), "").unwrap();
        assert_eq!(parse(text, None).unwrap().format, Format::OciDir);
    }
}
