//! Where the trees of layers come from and go to: plain directories, or what a backend makes of them.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use lith_plugin::{Backend, BackendError};
use rustix::fs::Mode;
use rustix::io::Errno;

use crate::error::DriverError;
use crate::tree::{handle, remove};

/// The folder in a work folder that is to become a layer, or was one.
pub(crate) const LAYER: &str = "layer";

/// Makes, copies and removes trees. Every tree is a directory of one name in the folder of its
/// layer.
#[derive(Clone, Debug)]
pub(crate) struct Trees {
    /// What a tree is called in its layer's folder.
    pub(crate) name: &'static str,
    /// None where trees are plain directories.
    backend: Option<Arc<dyn Backend>>,
}

impl Trees {
    /// Plain directories.
    pub(crate) fn plain(name: &'static str) -> Self {
        let backend = None;
        Self { name, backend }
    }

    pub(crate) fn of_backend(name: &'static str, backend: Arc<dyn Backend>) -> Self {
        let backend = Some(backend);
        Self { name, backend }
    }

    /// Whether a tree can be made as a copy of another at once.
    pub(crate) fn can_snapshot(&self) -> bool {
        self.backend.as_ref().is_some_and(|b| b.info().snapshot)
    }

    /// Makes an empty tree in a folder, which has none.
    pub(crate) fn create(&self, folder: BorrowedFd<'_>, path: &Path) -> Result<(), DriverError> {
        match &self.backend {
            None => rustix::fs::mkdirat(folder, self.name, Mode::RWXU)
                .map_err(|error| DriverError::io("create", path.join(self.name), error)),
            Some(backend) => {
                let created = self.c_name().and_then(|name| backend.create(folder, &name));
                created.map_err(|error| failed(&**backend, "create", path, error))
            }
        }
    }

    /// Makes a tree in a folder, which has none, that holds all that `from` does.
    pub(crate) fn snapshot(
        &self,
        from: BorrowedFd<'_>,
        folder: BorrowedFd<'_>,
        path: &Path,
    ) -> Result<(), DriverError> {
        let Some(backend) = &self.backend else {
            return Err(DriverError::io("copy", path, Errno::NOSYS));
        };
        let made = self
            .c_name()
            .and_then(|name| backend.snapshot(from, folder, &name));
        made.map_err(|error| failed(&**backend, "snapshot", path, error))
    }

    /// Makes a tree that is complete unwritable, where the backend can do that.
    pub(crate) fn seal(&self, tree: BorrowedFd<'_>, path: &Path) -> Result<(), DriverError> {
        match &self.backend {
            Some(backend) if backend.info().seal => {
                let sealed = backend.seal(tree);
                sealed.map_err(|error| failed(&**backend, "seal", path, error))
            }
            _ => Ok(()),
        }
    }

    /// Whether [`Trees::changed`] may know something.
    pub(crate) fn can_tell_changes(&self) -> bool {
        self.backend.as_ref().is_some_and(|b| b.info().changed)
    }

    /// Tells where a tree may differ from the one that it is a snapshot of; `None` where nobody
    /// knows.
    pub(crate) fn changed(
        &self,
        tree: BorrowedFd<'_>,
        since: BorrowedFd<'_>,
        found: &mut dyn FnMut(&[u8]),
    ) -> Option<Result<(), BackendError>> {
        let backend = self.backend.as_ref().filter(|b| b.info().changed)?;
        Some(backend.changed(tree, since, found))
    }

    /// Returns facts for people.
    pub(crate) fn status(&self) -> Vec<(String, String)> {
        let Some(backend) = &self.backend else {
            return Vec::new();
        };
        let mut status = vec![("Plugin version".to_owned(), backend.info().version.clone())];
        match backend.status() {
            Ok(more) => status.extend(more),
            // A plugin that cannot tell of itself can still do its work.
            Err(error) => status.push(("Plugin status".to_owned(), error.to_string())),
        }
        status
    }

    /// Removes a work folder, with the tree of the layer that is in it.
    pub(crate) fn remove_work(&self, shop: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
        if let Some(backend) = &self.backend
            && let Some(layer) = open_layer(shop, name)?
        {
            let removed = self
                .c_name()
                .and_then(|tree| backend.remove(layer.as_fd(), &tree));
            removed.map_err(io::Error::other)?;
        }
        remove::remove(shop, name)
    }

    fn c_name(&self) -> Result<CString, BackendError> {
        CString::new(self.name).map_err(|error| BackendError::new(error.to_string()))
    }
}

fn failed(
    backend: &dyn Backend,
    action: &'static str,
    path: &Path,
    source: BackendError,
) -> DriverError {
    DriverError::Backend {
        driver: backend.info().name.clone(),
        action,
        path: path.to_owned(),
        source: Box::new(source),
    }
}

/// Opens the folder of a layer in a work folder; `None` when there is none.
fn open_layer(shop: BorrowedFd<'_>, name: &[u8]) -> io::Result<Option<OwnedFd>> {
    let place = [name, b"/", LAYER.as_bytes()].concat();
    match handle::open_below(shop, &place, handle::LISTING) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
