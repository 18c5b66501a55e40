//! Layers that may have lost files in a crash of the machine are read once before their files are used.
//!
//! In doubt is what was published in another boot and is not known to be on disk (see
//! [`Graph::sync_layers`]). Nothing else pays. What is read is checked as for a save, every file and the
//! whole; nothing is changed but the marks, so that no lock is needed and a kill costs nothing.

use lith_store::{LayerId, LayerRecord};

use crate::damage::NOTE;
use crate::{Graph, GraphError};

impl Graph {
    /// Reads those of the layer and all below it that are in doubt. Whoever uses the files of a layer
    /// without reading its [stream](Graph::tar_layer) asks first. Nothing but the marks is changed.
    ///
    /// # Errors
    /// [`GraphError::LostInCrash`].
    pub(crate) fn prove(&self, id: &LayerId) -> Result<(), GraphError> {
        if !self.has_doubts()? {
            return Ok(());
        }
        for layer in self.store().layer_chain(id)? {
            self.prove_one(&layer)?;
        }
        Ok(())
    }

    /// Whether the layer is [whole](Graph::is_whole); reads it to find out where it is in doubt. Takes
    /// locks of layers.
    pub(crate) fn proves_whole(&self, layer: &LayerRecord) -> Result<bool, GraphError> {
        if !layer.is_doubtful() {
            return self.is_whole(layer);
        }
        let proven = match self.driver().info().copies_parents {
            true => self.prove(&layer.id),
            false => self.prove_one(layer),
        };
        match proven {
            Ok(()) => match self.listed(&layer.id)? {
                Some(layer) => self.is_whole(&layer),
                None => Ok(false),
            },
            // What is not there and what is not right are both to be made anew.
            Err(error) if error.is_damage() => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn prove_one(&self, layer: &LayerRecord) -> Result<(), GraphError> {
        if !layer.is_doubtful() {
            return Ok(());
        }
        tracing::info!(layer = %layer.id, "it may have lost files in a crash: reading it");
        match self.look_through(layer, &()) {
            Ok(()) => self.believe(layer),
            Err(GraphError::Corrupt { layer, reason }) => {
                Err(GraphError::LostInCrash { layer, reason })
            }
            Err(error) => Err(error),
        }
    }

    /// Takes note that a layer has survived the crash, whatever was thought of it before.
    fn believe(&self, layer: &LayerRecord) -> Result<(), GraphError> {
        let _lock = self.store().lock_layer(&layer.id)?;
        match self.listed(&layer.id)? {
            Some(now) if now.is_doubtful() && now.cache == layer.cache => {}
            // Removed or made anew meanwhile.
            _ => return Ok(()),
        }
        let note = self.store().root().layer(&layer.id).join(NOTE);
        self.store().effects().remove_file(&note)?;
        let tree = (layer.id, layer.cache.clone());
        Ok(self.store().mark_synced(&[tree])?)
    }
}
