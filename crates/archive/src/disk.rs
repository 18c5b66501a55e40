//! Bytes on disk, as `du -B1` counts them.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use lith_store::{ImageId, Store, StoreError};

/// The unit in which the kernel says how many blocks a file takes, whatever the file system.
const BLOCK: u64 = 512;

/// What the documents of an image take; 0 when another process has removed it.
pub(crate) fn of_image(store: &Store, id: &ImageId) -> Result<u64, StoreError> {
    let folder = store.root().image(id);
    match of_folder(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        other => other.map_err(|source| StoreError::Io {
            action: "look at",
            path: folder,
            source,
        }),
    }
}

/// A folder of plain files, itself included.
fn of_folder(folder: &Path) -> io::Result<u64> {
    let mut blocks = folder.symlink_metadata()?.blocks();
    for entry in folder.read_dir()? {
        blocks = blocks.saturating_add(entry?.metadata()?.blocks());
    }
    Ok(blocks.saturating_mul(BLOCK))
}
