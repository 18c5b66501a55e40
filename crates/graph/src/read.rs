//! Questions about layers that change nothing.

use lith_drivers::CacheId;
use lith_store::{LayerId, LayerRecord};

use crate::{Graph, GraphError};

impl Graph {
    /// True only for a registered layer.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn exists(&self, id: &LayerId) -> Result<bool, GraphError> {
        Ok(self.store().layer(id)?.is_some())
    }

    /// Finds a layer by its ID or by a unique prefix of it, of one digit or more.
    ///
    /// # Errors
    /// [`GraphError::NotFound`], [`GraphError::Ambiguous`], [`GraphError::BadId`].
    pub fn get(&self, id_or_prefix: &str) -> Result<LayerRecord, GraphError> {
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if id_or_prefix.is_empty() || id_or_prefix.len() > 64 || !id_or_prefix.bytes().all(hex) {
            return Err(GraphError::BadId {
                text: id_or_prefix.to_owned(),
            });
        }
        let not_found = || GraphError::NotFound {
            id: id_or_prefix.to_owned(),
        };
        let mut found = self.store().layers_by_prefix(id_or_prefix)?;
        match (found.pop(), found.is_empty()) {
            (Some(id), true) => self.store().layer(&id)?.ok_or_else(not_found),
            (Some(id), false) => {
                found.push(id);
                found.sort_unstable();
                Err(GraphError::Ambiguous {
                    prefix: id_or_prefix.to_owned(),
                    candidates: found,
                })
            }
            (None, _) => Err(not_found()),
        }
    }

    /// The layer below, if there is one.
    ///
    /// # Errors
    /// [`GraphError::NotFound`] when the layer itself is not there.
    pub fn parent(&self, id: &LayerId) -> Result<Option<LayerId>, GraphError> {
        Ok(self.known(id)?.parent)
    }

    /// The layers directly on top of this one.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn children(&self, id: &LayerId) -> Result<Vec<LayerId>, GraphError> {
        Ok(self.store().children(id)?)
    }

    /// The layer and all below it, the lowest first.
    ///
    /// # Errors
    /// [`GraphError::NotFound`] for the layer, [`GraphError::Corrupt`] for a missing ancestor
    /// or a loop.
    pub fn chain(&self, id: &LayerId) -> Result<Vec<LayerId>, GraphError> {
        let mut chain = vec![*id];
        let mut seen = std::collections::HashSet::from([*id]);
        let mut parent = self.known(id)?.parent;
        while let Some(next) = parent {
            if !seen.insert(next) {
                let reason = "it is its own ancestor".to_owned();
                return Err(GraphError::Corrupt {
                    layer: next,
                    reason,
                });
            }
            chain.push(next);
            parent = self
                .store()
                .layer(&next)?
                .ok_or_else(|| GraphError::Corrupt {
                    layer: *id,
                    reason: format!("its ancestor {next} is missing"),
                })?
                .parent;
        }
        chain.reverse();
        Ok(chain)
    }

    /// A layer that must be there.
    pub(crate) fn known(&self, id: &LayerId) -> Result<LayerRecord, GraphError> {
        self.store()
            .layer(id)?
            .ok_or_else(|| GraphError::NotFound { id: id.to_string() })
    }
}

/// The driver's ID of a layer.
pub(crate) fn cache_id(layer: &LayerRecord) -> Result<CacheId, GraphError> {
    layer.cache.parse().map_err(|_| GraphError::Corrupt {
        layer: layer.id,
        reason: format!("{:?} is no ID that a driver gives", layer.cache),
    })
}
