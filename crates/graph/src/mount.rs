//! Layers as directories.

use std::path::Path;

use lith_drivers::{Mount, MountRequest};
use lith_store::LayerId;

use crate::{Graph, GraphError};

impl Graph {
    /// Mounts a layer, with everything below it, read-only at `target`.
    ///
    /// The caller holds the layer until this returns; from then on the kernel's mount table
    /// says that it is needed. The mount ends when its guard is dropped, unless that is
    /// told to leave it.
    ///
    /// # Errors
    /// When the layer is not there, or the kernel refuses.
    pub fn mount(&self, id: &LayerId, target: &Path) -> Result<Mount, GraphError> {
        let cache = crate::read::cache_id(&self.known(id)?)?;
        let request = MountRequest::new(&cache, target);
        Ok(self.driver().mount(&request)?)
    }
}
