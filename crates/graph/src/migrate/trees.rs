//! The new driver's trees: each made from the exact bytes of its layer, and read back.

use std::collections::BTreeMap;

use lith_drivers::{CacheId, Driver};
use lith_store::{LayerRecord, Session};

use super::MigrateError;
use crate::reuse::Source;
use crate::{Event, Graph, GraphError, Observer, RegisterError};

/// Trees that a driver gets which is not the store's yet.
pub(super) struct Trees<'a> {
    source: &'a Graph,
    target: Graph,
    observer: &'a dyn Observer,
    /// By the driver's ID of the tree, which is the same for both drivers: bytes of the layer's tar, whose
    /// tree was read back.
    right: BTreeMap<String, u64>,
    made: usize,
}

impl<'a> Trees<'a> {
    pub(super) fn new(
        source: &'a Graph,
        driver: Box<dyn Driver>,
        observer: &'a dyn Observer,
    ) -> Self {
        Self {
            source,
            target: source.on_trial(driver),
            observer,
            right: BTreeMap::new(),
            made: 0,
        }
    }

    pub(super) fn driver(&self) -> &dyn Driver {
        self.target.driver()
    }

    /// How many trees were made here, and were not there before.
    pub(super) fn made(&self) -> usize {
        self.made
    }

    /// Bytes of the tars of all layers.
    pub(super) fn bytes(&self) -> u64 {
        self.right.values().sum()
    }

    /// Makes the trees of all layers that have none that was read back, parents first. Layers that
    /// others remove meanwhile are left out.
    pub(super) fn make_all(&mut self, session: &Session) -> Result<(), MigrateError> {
        for layer in self.source.store().layers()? {
            if self.right.contains_key(&layer.cache) {
                continue;
            }
            self.check_cancelled()?;
            match self.make_one(session, &layer) {
                Ok(made) => {
                    self.right.insert(layer.cache, layer.tar_size);
                    self.made += usize::from(made);
                }
                Err(_) if self.is_gone(&layer)? => {}
                Err(error) => {
                    self.check_cancelled()?;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Removes the trees of layers that are not there any more, and forces all others to disk.
    pub(super) fn settle(&mut self) -> Result<(), MigrateError> {
        let layers = self.source.store().layers()?;
        let listed: BTreeMap<String, u64> = layers
            .into_iter()
            .map(|layer| (layer.cache, layer.tar_size))
            .collect();
        for cache in self.driver().list()? {
            if !listed.contains_key(cache.as_str()) {
                self.driver().remove(&cache)?;
            }
        }
        self.right.retain(|cache, _| listed.contains_key(cache));
        self.sync()
    }

    /// Waits until all trees are on the disk. Where that fails they go: nobody can tell which of them have
    /// lost something, and the next to ask would hear nothing of it.
    pub(super) fn sync(&mut self) -> Result<(), MigrateError> {
        let Err(error) = self.driver().sync() else {
            return Ok(());
        };
        self.right.clear();
        for cache in self.driver().list()? {
            self.driver().remove(&cache)?;
        }
        Err(error.into())
    }

    fn check_cancelled(&self) -> Result<(), MigrateError> {
        if self.observer.cancelled() {
            let driver = self.name();
            return Err(MigrateError::Cancelled { driver });
        }
        Ok(())
    }

    fn name(&self) -> String {
        self.driver().info().name.clone()
    }

    /// Whether somebody has removed the layer, or made it anew as another tree.
    fn is_gone(&self, layer: &LayerRecord) -> Result<bool, MigrateError> {
        let now = self.source.listed(&layer.id)?;
        Ok(now.is_none_or(|now| now.cache != layer.cache))
    }

    /// Sees to it that a layer's tree is there and right. Returns whether it had to be made.
    fn make_one(&self, session: &Session, layer: &LayerRecord) -> Result<bool, MigrateError> {
        let cache = crate::read::cache_id(layer)?;
        if self.driver().exists(&cache)? {
            match self.read_back(layer) {
                Ok(()) => {
                    self.observer.event(&Event::LayerDone {
                        label: &label(layer),
                        bytes: layer.tar_size,
                        reused: true,
                    });
                    return Ok(false);
                }
                // Half of it was lost in a crash of the machine, say.
                Err(MigrateError::Unverified { reason, .. }) => {
                    tracing::info!(layer = %layer.id, %reason, "what was made before is made anew");
                    self.driver().remove(&cache)?;
                }
                Err(error) => return Err(error),
            }
        }
        self.make(session, layer, &cache)?;
        let checked = self.read_back(layer);
        if let Err(MigrateError::Unverified { .. }) = checked {
            self.driver().remove(&cache)?;
        }
        checked.map(|()| true)
    }

    /// Makes a layer's tree from its bytes as the store gives them.
    fn make(
        &self,
        session: &Session,
        layer: &LayerRecord,
        cache: &CacheId,
    ) -> Result<(), MigrateError> {
        let stream = self.source.tar_layer(&layer.id).map_err(damaged)?;
        let mut bytes = Source::new(stream);
        let expected = layer.diff_id.as_ref();
        let staged = self
            .target
            .stage(session, &mut bytes, expected, self.observer);
        if let Some(problem) = bytes.failed() {
            let problems = vec![problem];
            return Err(MigrateError::Damaged { problems });
        }
        let refused = |source: RegisterError| MigrateError::Register {
            layer: layer.id,
            driver: self.name(),
            source: Box::new(source),
        };
        let mut staged = staged.map_err(refused)?;
        let parent = self.source.parent_cache(layer)?;
        let applied = self.target.applied(&mut staged, parent.as_ref());
        let applied = applied.map_err(refused)?;
        if applied.has_record != layer.has_record {
            return Err(self.unverified(
                layer,
                "one driver gives tars back by itself, the other needs a record".to_owned(),
            ));
        }
        // All are waited for together.
        let placed = applied.draft.commit_unsynced(cache, parent.as_ref());
        placed.map_err(|error| refused(error.into()))?;
        Ok(())
    }

    /// Reads a layer from its new tree with the record that it has, and compares copies of other layers'
    /// files with these.
    fn read_back(&self, layer: &LayerRecord) -> Result<(), MigrateError> {
        if layer.diff_id.is_none() {
            let reason = "it has no diff ID to be compared with".to_owned();
            return Err(self.unverified(layer, reason));
        }
        match self.target.look_through(layer, self.observer) {
            Ok(()) => Ok(()),
            // It was not read to its end for that reason.
            Err(_) if self.observer.cancelled() => self.check_cancelled(),
            Err(GraphError::Corrupt { reason, .. }) => Err(self.unverified(layer, reason)),
            Err(error) if error.is_damage() => {
                Err(self.unverified(layer, crate::stream::chain(&error)))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn unverified(&self, layer: &LayerRecord, reason: String) -> MigrateError {
        MigrateError::Unverified {
            layer: layer.id,
            driver: self.name(),
            reason,
        }
    }
}

/// What a layer is called while it is read.
fn label(layer: &LayerRecord) -> String {
    layer
        .diff_id
        .map_or_else(|| layer.id.to_string(), |diff_id| diff_id.to_string())
}

fn damaged(error: GraphError) -> MigrateError {
    if error.is_damage() {
        let problems = vec![crate::stream::chain(&error)];
        return MigrateError::Damaged { problems };
    }
    error.into()
}
