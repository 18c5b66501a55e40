//! Where everything lies below the root folder.

use std::path::{Path, PathBuf};

use crate::digest::{BlobId, Digest, ImageId, LayerId};
use crate::reference::Reference;
use crate::session::SessionId;

/// The version of the folder layout that this library reads and writes.
pub const FORMAT: u32 = 1;

/// The paths below a root folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    path: PathBuf,
}

impl Root {
    /// Names the paths below `path`; touches nothing.
    pub fn new(path: &Path) -> Root {
        Root {
            path: path.to_owned(),
        }
    }

    /// Returns the root folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The index.
    pub fn index(&self) -> PathBuf {
        self.path.join("lith.db")
    }

    /// The file with the layout's version.
    pub fn format(&self) -> PathBuf {
        self.path.join("format")
    }

    /// The file with the name of the driver that the root was made with.
    pub fn driver_file(&self) -> PathBuf {
        self.path.join("driver")
    }

    /// The file with the path of the plugin that a driver comes from; missing where it is built in.
    pub fn plugin_file(&self, driver: &str) -> PathBuf {
        self.path.join("plugins").join(driver)
    }

    /// The file with the [`Ownership`](crate::Ownership) that the root was made with.
    pub fn ownership(&self) -> PathBuf {
        self.path.join("ownership")
    }

    /// The file with the [`IdMaps`](crate::IdMaps) of a root with mapped ownership.
    pub fn id_maps(&self) -> PathBuf {
        self.path.join("id-maps")
    }

    /// All layers.
    pub fn layers(&self) -> PathBuf {
        self.path.join("layers")
    }

    /// The folder of one layer.
    pub fn layer(&self, id: &LayerId) -> PathBuf {
        self.layers().join(id.hex())
    }

    /// All images.
    pub fn images(&self) -> PathBuf {
        self.path.join("images").join("sha256")
    }

    /// The folder of one image.
    pub fn image(&self, id: &ImageId) -> PathBuf {
        self.images().join(id.hex())
    }

    /// All names.
    pub fn names(&self) -> PathBuf {
        self.path.join("names")
    }

    /// The file of one name.
    pub fn name(&self, name: &Reference) -> PathBuf {
        self.names()
            .join(Digest::of(name.to_string().as_bytes()).hex())
    }

    /// All kept blobs.
    pub fn blobs(&self) -> PathBuf {
        self.path.join("blobs").join("sha256")
    }

    /// One kept blob.
    pub fn blob(&self, id: &BlobId) -> PathBuf {
        self.blobs().join(id.hex())
    }

    /// Outer records of archives that were loaded verbatim.
    pub fn archives(&self) -> PathBuf {
        self.path.join("archives").join("sha256")
    }

    /// What a driver keeps.
    pub fn drivers(&self, driver: &str) -> PathBuf {
        self.path.join("drivers").join(driver)
    }

    /// Work in progress, one folder a session.
    pub fn staging(&self) -> PathBuf {
        self.path.join("staging")
    }

    /// One session's work in progress.
    pub fn session(&self, id: &SessionId) -> PathBuf {
        self.staging().join(id.as_str())
    }

    /// A file with nothing in it: room that a full disk leaves for removals.
    pub fn reserve(&self) -> PathBuf {
        self.path.join("reserve")
    }

    /// The locks.
    pub fn locks(&self) -> PathBuf {
        self.path.join("locks")
    }

    /// The lock files of sessions.
    pub fn session_locks(&self) -> PathBuf {
        self.locks().join("sessions")
    }

    /// The lock file of one session.
    pub fn session_lock(&self, id: &SessionId) -> PathBuf {
        self.session_locks().join(id.as_str())
    }

    /// Every folder of a complete root, parents first.
    pub(crate) fn folders(&self) -> Vec<PathBuf> {
        let below = |name: &str| self.path.join(name);
        vec![
            below("images"),
            self.images(),
            self.names(),
            below("blobs"),
            self.blobs(),
            self.layers(),
            below("archives"),
            self.archives(),
            below("drivers"),
            self.staging(),
            self.session_locks(),
        ]
    }
}
