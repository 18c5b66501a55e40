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
    /// podman's store.
    ContainersStorage(ContainersStorage),
    /// docker's store.
    DockerStore(DockerStore),
    /// A running engine.
    #[cfg(feature = "daemon")]
    Daemon(Daemon),
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
            Location::Path(path) | Location::DockerArchive { path, name: None } => {
                Ok(Input::File(path))
            }
            Location::DockerArchive {
                path,
                name: Some(name),
            } => Ok(Input::OneOf(path, name)),
            Location::OciArchive { .. } => unsupported("an oci-archive"),
            Location::OciDir { .. } => unsupported("an OCI layout"),
            Location::DockerDir { .. } => unsupported("a docker-dir"),
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
    pub(crate) fn open(self) -> Result<(Box<dyn ImageSource>, Option<Wanted>), LoadError> {
        Ok(match self {
            Input::Stream(stream) => (by_content(stream)?, None),
            Input::File(path) => (open_file(&path)?, None),
            Input::OneOf(path, wanted) => (open_file(&path)?, Some(wanted)),
            Input::ContainersStorage(storage) => (Box::new(storage), None),
            Input::DockerStore(store) => (Box::new(store), None),
            #[cfg(feature = "daemon")]
            Input::Daemon(daemon) => (Box::new(daemon), None),
        })
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
