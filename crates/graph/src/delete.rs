//! Taking layers out of the graph.

use lith_store::{LayerId, Removal, RemoveLayerError, Session};

use crate::{DeleteError, Graph, GraphError};

impl Graph {
    /// Deletes a layer, its files and its record.
    ///
    /// It goes in one step: a kill leaves it either whole or to be cleaned up by the next open.
    ///
    /// # Errors
    /// Refused, with the reason named, while it is mounted, has children, belongs to an
    /// image, or is held by a session.
    pub fn delete(&self, session: &Session, id: &LayerId) -> Result<(), DeleteError> {
        self.refuse_mounted(id)?;
        self.finish_removal(self.store().take_layer_for_removal(session, id)?)
    }

    fn refuse_mounted(&self, id: &LayerId) -> Result<(), DeleteError> {
        let layer = self.known(id)?;
        let cache = crate::read::cache_id(&layer)?;
        match self
            .driver()
            .mounts()?
            .into_iter()
            .find(|mount| mount.layer == cache)
        {
            Some(mount) => Err(DeleteError::Mounted {
                layer: *id,
                target: mount.target,
            }),
            None => Ok(()),
        }
    }

    /// The layer is no longer listed: its tree goes, then the rest of its folder.
    fn finish_removal(&self, removal: Removal) -> Result<(), DeleteError> {
        self.remove_tree(&removal.record.cache)?;
        removal.finish()?;
        Ok(())
    }

    /// Deletes those of `candidates`, and then of their ancestors, that nobody needs: no
    /// image, no child, no mount, no holder.
    ///
    /// Returns what was deleted, children before parents.
    ///
    /// # Errors
    /// When a layer that nobody needs cannot be deleted; what was deleted before stays so.
    pub fn sweep_unclaimed(
        &self,
        session: &Session,
        candidates: &[LayerId],
    ) -> Result<Vec<LayerId>, DeleteError> {
        let mut deleted = Vec::new();
        let mut waiting: Vec<LayerId> = candidates.to_vec();
        while let Some(id) = waiting.pop() {
            match self.refuse_mounted(&id) {
                Ok(()) => {}
                Err(DeleteError::Mounted { .. }) => continue,
                Err(DeleteError::Graph(GraphError::NotFound { .. })) => continue,
                Err(error) => return Err(error),
            }
            let removal = match self.store().take_unclaimed_layer(session, &id) {
                Ok(removal) => removal,
                Err(RemoveLayerError::InUse { .. } | RemoveLayerError::NotFound { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            waiting.extend(removal.record.parent);
            self.finish_removal(removal)?;
            deleted.push(id);
        }
        Ok(deleted)
    }
}
