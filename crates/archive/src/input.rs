//! What is to be loaded, and which format it is: content decides, never a file's name.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use lith_graph::compression::{self, Compression};

use crate::members::{Contained, TarFile, TarStream, Tree, read_full};
use crate::source::ImageSource;
use crate::{ContainersStorage, DockerStore, LoadError, Location, StorageSpec, Wanted};
#[cfg(feature = "daemon")]
use crate::{Daemon, EngineAddress};

/// Where images come from.
#[non_exhaustive]
pub enum Input {
    /// A file, read by position when it is one and not compressed as a whole; or a folder.
    File(PathBuf),
    /// Standard input, a socket, anything that passes once.
    Stream(Box<dyn Read + Send>),
    /// One image of an archive in a file.
    OneOf(PathBuf, Wanted),
    /// One image of an OCI layout in a file or a folder, as the layout's index calls it.
    Entry(PathBuf, String),
    /// podman's store.
    ContainersStorage(ContainersStorage),
    /// docker's store.
    DockerStore(DockerStore),
    /// A running engine.
    #[cfg(feature = "daemon")]
    Daemon(Daemon),
}

/// A source, and which of its images is meant.
pub(crate) struct Opened {
    pub(crate) source: Box<dyn ImageSource>,
    pub(crate) one: Option<Wanted>,
    /// As an OCI layout's index calls it.
    pub(crate) entry: Option<String>,
}

/// What is meant by locations that leave it open.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Defaults {
    /// The user's containers-storage.
    pub storage: Option<StorageSpec>,
    /// Where the engine listens, as `DOCKER_HOST` has it; docker's usual socket when there is
    /// none.
    pub engine: Option<String>,
}

/// The first block of a tar is enough to tell every format.
const HEAD: usize = compression::HEAD_LEN;

impl Input {
    /// What `location` stands for.
    ///
    /// # Errors
    /// [`LoadError::Unsupported`] for what cannot be read from yet, [`LoadError::NoDefault`] when
    /// neither the location nor `defaults` says where it is.
    pub fn at(location: Location, defaults: &Defaults) -> Result<Input, LoadError> {
        let unsupported = |format| Err(LoadError::Unsupported { format });
        match location {
            Location::Standard => Ok(Input::Stream(Box::new(io::stdin()))),
            Location::Path(path)
            | Location::DockerArchive { path, name: None }
            | Location::OciArchive { path, name: None }
            | Location::OciDir {
                dir: path,
                name: None,
            }
            | Location::DockerDir { dir: path } => Ok(Input::File(path)),
            Location::DockerArchive {
                path,
                name: Some(name),
            } => Ok(Input::OneOf(path, name)),
            Location::OciArchive {
                path,
                name: Some(name),
            }
            | Location::OciDir {
                dir: path,
                name: Some(name),
            } => Ok(Input::Entry(path, name)),
            #[cfg(feature = "daemon")]
            Location::Daemon { name: image } => {
                let address = match &defaults.engine {
                    Some(text) => text.parse()?,
                    None => EngineAddress::default(),
                };
                Ok(Input::Daemon(Daemon { address, image }))
            }
            #[cfg(not(feature = "daemon"))]
            Location::Daemon { .. } => unsupported("a running engine"),
            Location::ContainersStorage { store, name: image } => {
                let what = "containers-storage";
                let store = store.or_else(|| defaults.storage.clone());
                let store = store.ok_or(LoadError::NoDefault { what })?;
                Ok(Input::ContainersStorage(ContainersStorage { store, image }))
            }
            Location::DockerStore { root, name: image } => {
                Ok(Input::DockerStore(DockerStore { root, image }))
            }
            Location::Store { .. } => unsupported("lith's own store"),
        }
    }

    /// Opens it; the image that is wanted of it is still to be chosen.
    pub(crate) fn open(self) -> Result<Opened, LoadError> {
        let (mut one, mut entry) = (None, None);
        let source: Box<dyn ImageSource> = match self {
            Input::Stream(stream) => by_content(stream)?,
            Input::File(path) => open_file(&path)?,
            Input::OneOf(path, wanted) => {
                one = Some(wanted);
                open_file(&path)?
            }
            Input::Entry(path, name) => {
                entry = Some(name);
                open_file(&path)?
            }
            Input::ContainersStorage(storage) => Box::new(storage),
            Input::DockerStore(store) => Box::new(store),
            #[cfg(feature = "daemon")]
            Input::Daemon(daemon) => Box::new(daemon),
        };
        Ok(Opened { source, one, entry })
    }
}

fn open_file(path: &Path) -> Result<Box<dyn ImageSource>, LoadError> {
    let failed = |source| LoadError::Open {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Ok(Box::new(Contained(Tree::open(path)?)));
    }
    if !metadata.is_file() {
        return by_content(Box::new(file));
    }
    let mut head = [0; HEAD];
    let read = read_full(&mut &file, &mut head).map_err(failed)?;
    let head = head.get(..read).unwrap_or_default();
    if compression::detect(head) == Compression::None {
        return Ok(Box::new(Contained(TarFile::new(file, metadata.len()))));
    }
    std::io::Seek::rewind(&mut &file).map_err(failed)?;
    by_content(Box::new(file))
}

fn by_content(stream: Box<dyn Read + Send>) -> Result<Box<dyn ImageSource>, LoadError> {
    let failed = |source| LoadError::Read { offset: 0, source };
    let (_, stream) = compression::reader(stream).map_err(failed)?;
    Ok(Box::new(Contained(TarStream::new(stream))))
}
