//! Taking layers out of the graph.

use lith_store::{LayerId, LayerLock, Removal, RemoveLayerError, Session};

use crate::{DeleteError, Graph, GraphError};

/// A layer that was deleted because nobody needed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Swept {
    /// The layer.
    pub id: LayerId,
    /// Bytes on disk that its files and its folder took.
    pub disk: u64,
}

impl Graph {
    /// Deletes a layer, its files and its record; its parent has one child less.
    ///
    /// It goes in one step: a kill leaves it either whole or to be cleaned up by the next open.
    /// On return its space is given back. A layer that was [kept](Graph::keep) goes too.
    ///
    /// # Errors
    /// [`DeleteError::Mounted`]; [`DeleteError::Remove`] with [`RemoveLayerError::Claimed`] while a
    /// writable layer stands on it, with [`RemoveLayerError::InUse`] while it
    /// has children, belongs to an image, or is held by another session; both say which.
    /// [`GraphError::NotFound`].
    pub fn delete(&self, session: &Session, id: &LayerId) -> Result<(), DeleteError> {
        let lock = self.lock_unmounted(id)?;
        let store = self.store();
        self.finish_removal(store.take_layer_for_removal_locked(lock, session, id)?)
    }

    /// Deletes the layer that a unique prefix of an ID stands for, damaged or not, and returns
    /// its ID.
    ///
    /// # Errors
    /// As [`Graph::find_id`] and [`Graph::delete`].
    pub fn delete_prefix(
        &self,
        session: &Session,
        id_or_prefix: &str,
    ) -> Result<LayerId, DeleteError> {
        let id = self.find_id(id_or_prefix)?;
        self.delete(session, &id)?;
        Ok(id)
    }

    /// Locks a layer that is listed and nowhere mounted; whoever wants to mount it waits.
    fn lock_unmounted(&self, id: &LayerId) -> Result<LayerLock, DeleteError> {
        let lock = self.store().lock_layer(id)?;
        let cache = self.known(id)?.cache;
        let mut mounts = self.driver().mounts()?.into_iter();
        match mounts.find(|mount| !mount.writable && mount.layer.as_str() == cache) {
            Some(mount) => Err(DeleteError::Mounted {
                layer: *id,
                target: mount.target,
            }),
            None => Ok(lock),
        }
    }

    /// The layer is no longer listed: its tree goes, then the rest of its folder.
    fn finish_removal(&self, removal: Removal) -> Result<(), DeleteError> {
        self.remove_tree(&removal.record.cache)?;
        removal.finish()?;
        Ok(())
    }

    /// Deletes those of `candidates`, and then of their ancestors, that nobody needs: no
    /// image, no child, no mount, no holder but `session`, no [mark](Graph::keep) to keep them.
    ///
    /// Returns what was deleted, children before parents, and the space that each gave back.
    ///
    /// # Errors
    /// When a layer that nobody needs cannot be deleted; what was deleted before stays so.
    pub fn sweep_unclaimed(
        &self,
        session: &Session,
        candidates: &[LayerId],
    ) -> Result<Vec<Swept>, DeleteError> {
        let mut swept = Vec::new();
        let mut waiting: Vec<LayerId> = candidates.to_vec();
        while let Some(id) = waiting.pop() {
            // Asked properly under the lock; here so that a base of many is passed over quickly.
            if !self.store().layer_claims(&id)?.is_empty() {
                continue;
            }
            let lock = match self.lock_unmounted(&id) {
                Ok(lock) => lock,
                Err(DeleteError::Mounted { .. }) => continue,
                Err(DeleteError::Graph(GraphError::NotFound { .. })) => continue,
                Err(error) => return Err(error),
            };
            let removal = match self.store().take_unclaimed_layer_locked(lock, session, &id) {
                Ok(removal) => removal,
                Err(
                    RemoveLayerError::InUse { .. }
                    | RemoveLayerError::Claimed { .. }
                    | RemoveLayerError::NotFound { .. },
                ) => continue,
                Err(error) => return Err(error.into()),
            };
            waiting.extend(removal.record.parent);
            let disk = self.disk_of(&removal.record, &removal.folder)?;
            self.finish_removal(removal)?;
            swept.push(Swept { id, disk });
        }
        Ok(swept)
    }
}
