//! How large a layer is: what is in it, and what it takes on disk.

use std::collections::HashSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use lith_store::{LayerId, LayerRecord, Session};

use crate::{Graph, GraphError};

impl Graph {
    /// Returns the bytes of regular files that a layer adds, as docker counts them. Zero is a
    /// size like any other.
    ///
    /// It is counted when the layer is registered. Where that was not possible the driver
    /// counts it now, and the result is stored: it is on disk when this returns.
    ///
    /// # Errors
    /// [`GraphError::NotFound`], [`GraphError::LostInCrash`], and when it cannot be counted or stored.
    pub fn size(&self, session: &Session, id: &LayerId) -> Result<u64, GraphError> {
        let layer = self.whole(id)?;
        if let Some(size) = layer.size {
            return Ok(size);
        }
        self.prove(id)?;
        let parent = self.parent_cache(&layer)?;
        let cache = crate::read::cache_id(&layer)?;
        let size = self.driver().diff_size(&cache, parent.as_ref())?;
        let stored = self.store().set_layer_size(session, id, size);
        stored.map_err(crate::layer::not_found)?;
        Ok(size)
    }

    /// Returns the bytes that a layer takes on disk: the files that its driver keeps for it alone,
    /// and its folder. That is what [`Graph::delete`] gives back, and what `du` says of both.
    ///
    /// # Errors
    /// [`GraphError::NotFound`], and when something cannot be looked at.
    pub fn disk(&self, id: &LayerId) -> Result<u64, GraphError> {
        let layer = self.known(id)?;
        self.disk_of(&layer, &self.store().root().layer(id))
    }

    /// The same for a layer whose folder is, by now, at `folder`.
    pub(crate) fn disk_of(&self, layer: &LayerRecord, folder: &Path) -> Result<u64, GraphError> {
        let files = match layer.cache.parse() {
            Ok(cache) if self.driver().exists(&cache)? => self.driver().usage(&cache)?.disk,
            _ => 0,
        };
        let beside = disk_usage(folder).map_err(|source| GraphError::Io {
            action: "measure",
            path: folder.to_owned(),
            source,
        })?;
        Ok(files + beside)
    }
}

/// What a folder with everything in it takes on disk; nothing when it is not there.
fn disk_usage(folder: &Path) -> io::Result<u64> {
    let mut total = 0;
    let mut seen = HashSet::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(path) = waiting.pop() {
        let found = match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            found => found?,
        };
        if found.nlink() == 1 || found.is_dir() || seen.insert((found.dev(), found.ino())) {
            total += found.blocks() * BLOCK;
        }
        if found.is_dir() {
            for entry in path.read_dir()? {
                waiting.push(entry?.path());
            }
        }
    }
    Ok(total)
}

/// The unit in which the kernel says how many blocks a file takes, whatever the file system.
const BLOCK: u64 = 512;
