//! Who holds a layer: what is held is not deleted by anyone, whichever process asks.

use lith_store::{LayerId, LayerRecord, RetainError, Session, SessionId};

use crate::{Graph, GraphError};

impl Graph {
    /// Holds layers for a session: from now on nobody else deletes them, until the session
    /// releases them, ends, or its process dies. All or none.
    ///
    /// Several sessions may hold a layer; it is held until the last lets go. A layer that was
    /// registered is held by its session without this. On return other processes respect it; after
    /// a crash of the machine nobody holds anything.
    ///
    /// # Errors
    /// [`GraphError::Retain`] with [`RetainError::Missing`] names those that are not there.
    pub fn retain(&self, session: &Session, ids: &[LayerId]) -> Result<(), GraphError> {
        let mut missing = Vec::new();
        for id in ids {
            if !self.exists(id)? {
                missing.push(*id);
            }
        }
        if !missing.is_empty() {
            return Err(RetainError::Missing { missing }.into());
        }
        Ok(self.store().retain(session, ids)?)
    }

    /// Holds those of the layers that are there with their files, and returns their records; the
    /// others are left out, and so are those that were found to be damaged. The index is asked once for
    /// many; only what may have lost files in a crash of the machine is read.
    ///
    /// # Errors
    /// When the index cannot be written, or the driver cannot be asked.
    pub fn retain_present(
        &self,
        session: &Session,
        ids: &[LayerId],
    ) -> Result<Vec<LayerRecord>, GraphError> {
        let mut there = self.store().retain_present(session, ids)?;
        let mut damaged = Vec::new();
        for layer in &there {
            if !self.proves_whole(layer)? {
                damaged.push(layer.id);
            }
        }
        if !damaged.is_empty() {
            self.store().release(session, &damaged)?;
            there.retain(|layer| !damaged.contains(&layer.id));
        }
        Ok(there)
    }

    /// Ends a session's hold on layers; those it does not hold are ignored.
    ///
    /// # Errors
    /// When the index cannot be written.
    pub fn release(&self, session: &Session, ids: &[LayerId]) -> Result<(), GraphError> {
        Ok(self.store().release(session, ids)?)
    }

    /// Tells whether a living session holds a layer. Nobody holds one that is not there.
    ///
    /// # Errors
    /// When the index or the sessions' locks cannot be read.
    pub fn is_held(&self, id: &LayerId) -> Result<bool, GraphError> {
        Ok(!self.holders(id)?.is_empty())
    }

    /// Returns the living sessions that hold a layer.
    ///
    /// # Errors
    /// As [`Graph::is_held`].
    pub fn holders(&self, id: &LayerId) -> Result<Vec<SessionId>, GraphError> {
        Ok(self.store().holders(id)?)
    }

    /// Claims a layer: it stays when its session ends, though no image has it, until it is
    /// [deleted](Graph::delete). Survives a crash of the machine.
    ///
    /// # Errors
    /// [`GraphError::Retain`] with [`RetainError::Missing`] when it is not there.
    pub fn keep(&self, id: &LayerId) -> Result<(), GraphError> {
        Ok(self.store().keep_layer(id)?)
    }

    /// Takes back [`Graph::keep`]: the next sweep may take the layer.
    ///
    /// # Errors
    /// When its folder or the index cannot be written.
    pub fn unkeep(&self, id: &LayerId) -> Result<(), GraphError> {
        Ok(self.store().unkeep_layer(id)?)
    }
}
