//! Questions about layers and their relations. They change nothing and wait for nobody.

use std::collections::BTreeMap;

use lith_drivers::CacheId;
use lith_store::{LayerId, LayerRecord};

use crate::{Graph, GraphError, Layer};

impl Graph {
    /// Tells whether a layer is registered and its files are there.
    ///
    /// # Errors
    /// When the index or the driver cannot be read.
    pub fn exists(&self, id: &LayerId) -> Result<bool, GraphError> {
        match self.listed(id)? {
            Some(record) => self.has_tree(&record),
            None => Ok(false),
        }
    }

    /// Finds a layer by its ID or by a unique prefix of it, of one digit or more.
    ///
    /// # Errors
    /// [`GraphError::NotFound`], [`GraphError::Ambiguous`], [`GraphError::BadId`]; and as
    /// [`Graph::layer`].
    pub fn get(&self, id_or_prefix: &str) -> Result<Layer, GraphError> {
        let mut whole = Vec::new();
        for id in self.candidates(id_or_prefix)? {
            if self.exists(&id)? {
                whole.push(id);
            }
        }
        self.layer(&the_one(id_or_prefix, whole)?)
    }

    /// Finds the ID of a registered layer, damaged or not, by a unique prefix of it.
    ///
    /// # Errors
    /// [`GraphError::NotFound`], [`GraphError::Ambiguous`], [`GraphError::BadId`].
    pub fn find_id(&self, id_or_prefix: &str) -> Result<LayerId, GraphError> {
        the_one(id_or_prefix, self.candidates(id_or_prefix)?)
    }

    fn candidates(&self, prefix: &str) -> Result<Vec<LayerId>, GraphError> {
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if prefix.is_empty() || prefix.len() > 64 || !prefix.bytes().all(hex) {
            return Err(GraphError::BadId {
                text: prefix.chars().take(80).collect(),
            });
        }
        Ok(self.store().layers_by_prefix(prefix)?)
    }

    /// Returns the layer below, if there is one.
    ///
    /// # Errors
    /// [`GraphError::NotFound`] when the layer itself is not there.
    pub fn parent(&self, id: &LayerId) -> Result<Option<LayerId>, GraphError> {
        Ok(self.known(id)?.parent)
    }

    /// Returns the layers directly on top of this one, damaged ones included; none when the
    /// layer is not there.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn children(&self, id: &LayerId) -> Result<Vec<LayerId>, GraphError> {
        Ok(self.store().children(id)?)
    }

    /// Tells whether layers stand on this one.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn has_children(&self, id: &LayerId) -> Result<bool, GraphError> {
        Ok(self.parent_refs(id)? > 0)
    }

    /// Returns how many layers stand directly on this one: each refers to it as its parent, and
    /// keeps it from being deleted.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn parent_refs(&self, id: &LayerId) -> Result<u64, GraphError> {
        Ok(self.store().parent_refs(id)?)
    }

    /// Returns the layers that are nobody's parent.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn heads(&self) -> Result<Vec<LayerId>, GraphError> {
        Ok(self.store().heads()?)
    }

    /// Returns each parent with its children. A layer without children has no entry.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn by_parent(&self) -> Result<BTreeMap<LayerId, Vec<LayerId>>, GraphError> {
        Ok(self.store().by_parent()?)
    }

    /// Returns the layer and all below it, the lowest first.
    ///
    /// # Errors
    /// [`GraphError::NotFound`] for the layer; the store's for a missing ancestor or a loop.
    pub fn chain(&self, id: &LayerId) -> Result<Vec<LayerId>, GraphError> {
        let chain = self.store().layer_chain(id)?;
        if chain.is_empty() {
            return Err(GraphError::NotFound { id: id.to_string() });
        }
        Ok(chain.into_iter().map(|layer| layer.id).collect())
    }

    /// The record of a layer, when it is listed; its tree may be missing.
    pub(crate) fn listed(&self, id: &LayerId) -> Result<Option<LayerRecord>, GraphError> {
        match self.store().layer(id)? {
            Some(record) if record.id != *id => Err(GraphError::IdMismatch {
                key: *id,
                found: record.id.to_string(),
            }),
            found => Ok(found),
        }
    }

    /// The record of a layer that must be listed; its tree may be missing.
    pub(crate) fn known(&self, id: &LayerId) -> Result<LayerRecord, GraphError> {
        self.listed(id)?
            .ok_or_else(|| GraphError::NotFound { id: id.to_string() })
    }

    /// The record of a layer whose tree is there.
    pub(crate) fn whole(&self, id: &LayerId) -> Result<LayerRecord, GraphError> {
        let record = self.known(id)?;
        if self.has_tree(&record)? {
            return Ok(record);
        }
        Err(GraphError::NotFound { id: id.to_string() })
    }

    /// The record of a layer whose files are to be used, and the driver's ID of them.
    pub(crate) fn known_tree(&self, id: &LayerId) -> Result<(LayerRecord, CacheId), GraphError> {
        let record = self.known(id)?;
        let cache = cache_id(&record)?;
        if self.driver().exists(&cache)? {
            return Ok((record, cache));
        }
        Err(GraphError::NoTree {
            layer: *id,
            cache: record.cache,
        })
    }

    /// Whether the driver has the files of a layer.
    pub(crate) fn has_tree(&self, layer: &LayerRecord) -> Result<bool, GraphError> {
        match layer.cache.parse() {
            Ok(cache) => Ok(self.driver().exists(&cache)?),
            Err(_) => Ok(false),
        }
    }
}

fn the_one(prefix: &str, mut found: Vec<LayerId>) -> Result<LayerId, GraphError> {
    match (found.pop(), found.is_empty()) {
        (Some(id), true) => Ok(id),
        (Some(id), false) => {
            found.push(id);
            found.sort_unstable();
            Err(GraphError::Ambiguous {
                prefix: prefix.to_owned(),
                candidates: found,
            })
        }
        (None, _) => Err(GraphError::NotFound {
            id: prefix.to_owned(),
        }),
    }
}

/// The driver's ID of a layer.
pub(crate) fn cache_id(layer: &LayerRecord) -> Result<CacheId, GraphError> {
    layer.cache.parse().map_err(|_| GraphError::Corrupt {
        layer: layer.id,
        reason: format!("{:?} is no ID that a driver gives", layer.cache),
    })
}
