//! A folder that is filled out of sight.

use std::fs::{self, File, Permissions};
use std::io::{self, BufRead};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use lith_store::Digest;
use rustix::fs::FlockOperation;
use tempfile::TempDir;

use crate::WriteError;
use crate::compress::{self, Layer, Written};

/// How such folders are called.
const PREFIX: &str = ".lith-";
const SUFFIX: &str = ".part";

/// Modes before the user's mask.
const DIR_MODE: u32 = 0o777;
const FILE_MODE: u32 = 0o666;

/// A folder that vanishes with all that is in it, unless it is put in place.
pub(crate) struct Stage {
    dir: TempDir,
    /// Where blobs lie in it, ending in a slash unless empty.
    blobs: &'static str,
    bytes: AtomicU64,
    /// Held while somebody works here; whoever finds it free may clear the folder away.
    _lock: File,
}

/// An error about a path.
pub(super) fn failed(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> WriteError + use<> {
    let path = path.to_owned();
    move |source| WriteError::Folder {
        action,
        path,
        source,
    }
}

impl Stage {
    /// Makes a stage in `parent` whose blobs lie in `blobs`.
    pub(crate) fn new(parent: &Path, blobs: &'static str) -> Result<Stage, WriteError> {
        let dir = tempfile::Builder::new()
            .prefix(PREFIX)
            .suffix(SUFFIX)
            .permissions(Permissions::from_mode(DIR_MODE))
            .tempdir_in(parent)
            .map_err(failed("make a folder in", parent))?;
        let path = dir.path();
        let lock = File::open(path).map_err(failed("open", path))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(io::Error::from)
            .map_err(failed("lock", path))?;
        let folder = path.join(blobs);
        fs::create_dir_all(&folder).map_err(failed("make", &folder))?;
        Ok(Stage {
            dir,
            blobs,
            bytes: AtomicU64::new(0),
            _lock: lock,
        })
    }

    /// Makes a stage beside `place`.
    pub(crate) fn beside(place: &Path, blobs: &'static str) -> Result<Stage, WriteError> {
        match place.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => Stage::new(parent, blobs),
            _ => Stage::new(Path::new("."), blobs),
        }
    }

    /// Clears away what writers left in `folder` that were killed.
    pub(super) fn sweep(folder: &Path) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if !is_stage(&entry.file_name()) || !entry.file_type()?.is_dir() {
                continue;
            }
            let lock = File::open(entry.path())?;
            if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Bytes written so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Where its blobs lie.
    pub(super) fn blobs(&self) -> PathBuf {
        self.dir.path().join(self.blobs)
    }

    /// Writes a layer as a blob; several may be written at the same time.
    pub(crate) fn layer(
        &self,
        layer: &Layer,
        content: &mut dyn BufRead,
    ) -> Result<Written, WriteError> {
        let folder = self.blobs();
        let mut file = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(Permissions::from_mode(FILE_MODE))
            .tempfile_in(&folder)
            .map_err(failed("make a file in", &folder))?;
        let written = compress::write(layer, content, &mut file).map_err(|error| match error {
            WriteError::Output { source } => failed("write", file.path())(source),
            error => error,
        })?;
        let place = folder.join(written.digest.hex());
        let persisted = file.persist(&place).map_err(|error| error.error);
        persisted.map_err(failed("rename a file to", &place))?;
        self.bytes.fetch_add(written.size, Ordering::Relaxed);
        Ok(written)
    }

    /// Writes a document as a blob.
    pub(crate) fn document(&self, digest: &Digest, bytes: &[u8]) -> Result<(), WriteError> {
        self.file(&format!("{}{}", self.blobs, digest.hex()), bytes)
    }

    /// Writes a file.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> Result<(), WriteError> {
        let path = self.dir.path().join(name);
        fs::write(&path, bytes).map_err(failed("write", &path))?;
        self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Gives the whole folder its name with `rename`; when that fails, the stage is as before.
    pub(crate) fn put(
        self,
        rename: impl FnOnce(&Path) -> io::Result<()>,
    ) -> Result<(), (Box<Stage>, io::Error)> {
        match rename(self.dir.path()) {
            // There is nothing left to clear away.
            Ok(()) => {
                let _ = self.dir.keep();
                Ok(())
            }
            Err(error) => Err((Box::new(self), error)),
        }
    }
}

/// True for the name of something that a writer may have left.
pub(crate) fn is_stage(name: &std::ffi::OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.starts_with(PREFIX.as_bytes()) && name.ends_with(SUFFIX.as_bytes())
}
