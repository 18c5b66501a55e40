//! All layers, and what is wrong with some of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use lith_store::{LayerId, LayerRecord};

use crate::{Graph, GraphError, Layer};

/// A layer that cannot be used, or what lies where one should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DamagedLayer {
    /// It is registered, but its files are gone. Registering it again brings them back.
    #[error("layer {layer} is damaged: the driver has no files of it under {cache}")]
    NoTree {
        /// The layer.
        layer: LayerId,
        /// The driver's ID of the files that are missing.
        cache: String,
    },
    /// What is stored beside its files is not what was registered.
    #[error(transparent)]
    Unreadable(GraphError),
    /// A folder among those of the layers is no layer.
    #[error("{} is no registered layer", path.display())]
    Unlisted {
        /// The folder.
        path: PathBuf,
    },
}

/// All layers by ID, and those that are damaged.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct LayerMap {
    /// Those that can be used.
    pub layers: BTreeMap<LayerId, Layer>,
    /// Those that cannot, and why.
    pub damaged: Vec<DamagedLayer>,
}

impl Graph {
    /// Returns all layers, parents before their children, and then the damage that belongs to
    /// none of them.
    ///
    /// What the index says is read now, what lies in the layers' folders as the iterator moves on;
    /// layers that are deleted meanwhile are left out.
    ///
    /// # Errors
    /// When index, driver or the layers' folder cannot be listed.
    pub fn layers(&self) -> Result<Layers, GraphError> {
        let records = self.store().layers()?;
        // After the index: what was listed has a tree unless it was deleted since.
        let trees = self.driver().list()?;
        let folders = self.folders()?;
        Ok(Layers {
            graph: self.clone(),
            listed: records.iter().map(|record| record.id.hex()).collect(),
            records: records.into_iter(),
            trees: trees.iter().map(ToString::to_string).collect(),
            folders: folders.into_iter(),
        })
    }

    /// Returns all layers by ID, and those that are damaged.
    ///
    /// # Errors
    /// As [`Graph::layers`].
    pub fn map(&self) -> Result<LayerMap, GraphError> {
        let mut map = LayerMap::default();
        for layer in self.layers()? {
            match layer {
                Ok(layer) => drop(map.layers.insert(*layer.id(), layer)),
                Err(damaged) => map.damaged.push(damaged),
            }
        }
        Ok(map)
    }

    /// Names in the folder of all layers.
    pub(crate) fn folders(&self) -> Result<Vec<PathBuf>, GraphError> {
        let path = self.store().root().layers();
        let list = || -> std::io::Result<Vec<PathBuf>> {
            std::fs::read_dir(&path)?
                .map(|entry| entry.map(|entry| entry.path()))
                .collect()
        };
        list().map_err(|source| GraphError::Io {
            action: "read folder",
            path: path.clone(),
            source,
        })
    }

    /// What to say of a layer whose tree was not there when the trees were listed; `None` when
    /// the layer is gone too, or whole after all.
    fn without_tree(&self, record: &LayerRecord) -> Result<Option<DamagedLayer>, GraphError> {
        let now = self.listed(&record.id)?;
        let same = now.is_some_and(|now| now.cache == record.cache);
        if !same || self.has_tree(record)? {
            return Ok(None);
        }
        Ok(Some(DamagedLayer::NoTree {
            layer: record.id,
            cache: record.cache.clone(),
        }))
    }

    /// Whether a folder that was not listed is none of a layer: a layer's lock is held while its
    /// folder stands without a row.
    pub(crate) fn is_stray(&self, path: &std::path::Path) -> Result<bool, GraphError> {
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(id) = name.and_then(|name| name.parse::<LayerId>().ok()) else {
            return Ok(true);
        };
        let _lock = self.store().lock_layer(&id)?;
        Ok(self.listed(&id)?.is_none() && path.symlink_metadata().is_ok())
    }
}

/// The iterator of [`Graph::layers`].
pub struct Layers {
    graph: Graph,
    records: std::vec::IntoIter<LayerRecord>,
    listed: BTreeSet<String>,
    trees: BTreeSet<String>,
    folders: std::vec::IntoIter<PathBuf>,
}

impl Layers {
    fn layer(&self, record: LayerRecord) -> Result<Option<Layer>, DamagedLayer> {
        if !self.trees.contains(&record.cache) {
            let damaged = self.graph.without_tree(&record);
            return match damaged.map_err(DamagedLayer::Unreadable)? {
                Some(damaged) => Err(damaged),
                // Made again since the trees were listed.
                None if self.graph.exists(&record.id).unwrap_or(false) => self.describe(record),
                None => Ok(None),
            };
        }
        self.describe(record)
    }

    fn describe(&self, record: LayerRecord) -> Result<Option<Layer>, DamagedLayer> {
        let id = record.id;
        match self.graph.describe(record) {
            Ok(layer) => Ok(Some(layer)),
            // Deleted meanwhile, with the files that could not be read.
            Err(_) if self.graph.store().has_layer(&id).is_ok_and(|there| !there) => Ok(None),
            Err(error) => Err(DamagedLayer::Unreadable(error)),
        }
    }
}

impl Iterator for Layers {
    type Item = Result<Layer, DamagedLayer>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(record) = self.records.next() {
            if let Some(item) = self.layer(record).transpose() {
                return Some(item);
            }
        }
        while let Some(path) = self.folders.next() {
            let name = path.file_name().and_then(|name| name.to_str());
            if name.is_some_and(|name| self.listed.contains(name)) {
                continue;
            }
            match self.graph.is_stray(&path) {
                Ok(false) => {}
                Ok(true) => return Some(Err(DamagedLayer::Unlisted { path })),
                Err(error) => return Some(Err(DamagedLayer::Unreadable(error))),
            }
        }
        None
    }
}
