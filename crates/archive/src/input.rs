//! What is to be loaded, and which format it is: content decides, never a name.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use lith_graph::compression::{self, Compression};

use crate::LoadError;
use crate::docker_archive::{FileArchive, StreamArchive, read_full};
use crate::source::ImageSource;

/// Where an archive comes from.
pub enum Input {
    /// A file, read by position when it is one and not compressed as a whole.
    File(PathBuf),
    /// Standard input, a socket, anything that passes once.
    Stream(Box<dyn Read + Send>),
}

/// The first block of a tar is enough to tell every format.
const HEAD: usize = compression::HEAD_LEN;

impl Input {
    pub(crate) fn open(self) -> Result<Box<dyn ImageSource>, LoadError> {
        match self {
            Input::Stream(stream) => by_content(stream),
            Input::File(path) => open_file(&path),
        }
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
        return Err(LoadError::Unsupported { format: "a folder" });
    }
    if !metadata.is_file() {
        return by_content(Box::new(file));
    }
    let mut head = [0; HEAD];
    let read = read_full(&mut &file, &mut head).map_err(failed)?;
    let head = head.get(..read).unwrap_or_default();
    if compression::detect(head) == Compression::None {
        return Ok(Box::new(FileArchive::new(file, metadata.len())));
    }
    std::io::Seek::rewind(&mut &file).map_err(failed)?;
    by_content(Box::new(file))
}

fn by_content(stream: Box<dyn Read + Send>) -> Result<Box<dyn ImageSource>, LoadError> {
    let failed = |source| LoadError::Read { offset: 0, source };
    let (_, stream) = compression::reader(stream).map_err(failed)?;
    Ok(Box::new(StreamArchive::new(stream)))
}
