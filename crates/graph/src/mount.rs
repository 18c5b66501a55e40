//! Layers as directories.

use std::path::Path;

use lith_drivers::{Mount, MountRequest};
use lith_store::LayerId;

use crate::{Graph, GraphError};

impl Graph {
    /// Mounts a layer, with everything below it, read-only at `target`.
    ///
    /// Takes the layer's lock while the kernel mounts, so that nobody deletes the layer meanwhile;
    /// from then on the kernel's mount table says that it is needed. The mount ends when its
    /// guard is dropped, unless that is told to leave it.
    ///
    /// What may have lost files in a crash of the machine is read first.
    ///
    /// # Errors
    /// [`GraphError::NotFound`]; [`GraphError::NoTree`] when its files are gone;
    /// [`GraphError::LostInCrash`] when some are; and whatever the kernel refuses.
    pub fn mount(&self, id: &LayerId, target: &Path) -> Result<Mount, GraphError> {
        self.prove(id)?;
        let _lock = self.store().lock_layer(id)?;
        let cache = self.known_tree(id)?.1;
        let request = MountRequest::new(&cache, target);
        Ok(self.driver().mount(&request)?)
    }
}
