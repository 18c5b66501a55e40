//! Many layers get their places together.
//!
//! What makes a small layer slow is waiting for the disk: for its intent, its driver's facts, its
//! record, its name. Here that is done once for all.

use std::collections::{HashMap, HashSet};

use lith_drivers::{CacheId, Placed};
use lith_store::{Intent, LayerId, LayerRecord, NewLayer, Session};

use crate::register::{check_known, expect_diff_id};
use crate::stage::{Applied, StagedBody};
use crate::{Descriptor, Graph, PublishError, RegisterError, Registered, StagedLayer};

/// Fewer layers are published one by one, and then nothing waits for what is none of theirs:
/// forcing all of a file system to disk takes the files of large layers along.
const TOGETHER: usize = 16;

/// A layer and what it is to be published as.
type Wanted = (StagedLayer, Descriptor);

impl Graph {
    /// Gives staged layers their places in the graph, held by `session`; parents come before
    /// their children. The result says of each in turn what came of it.
    ///
    /// # Errors
    /// As [`Graph::publish`], with the number of the layer that is to blame. Some of those before
    /// it may have their places by then: they go with the session.
    pub fn publish_all(
        &self,
        session: &Session,
        layers: Vec<(StagedLayer, Descriptor)>,
    ) -> Result<Vec<Registered>, PublishError> {
        for (index, (staged, descriptor)) in layers.iter().enumerate() {
            let fits = expect_diff_id(descriptor.diff_id, staged).and_then(|()| descriptor.check());
            fits.map_err(|source| PublishError { index, source })?;
        }
        let mut done: Vec<Option<Registered>> = layers.iter().map(|_| None).collect();
        let mut wanted: Vec<(usize, Wanted)> = layers.into_iter().enumerate().collect();
        if wanted.len() >= TOGETHER {
            wanted = self.publish_together(session, wanted, &mut done)?;
        }
        for (index, (staged, descriptor)) in wanted {
            let layer = self.publish(session, staged, &descriptor);
            let layer = layer.map_err(|source| PublishError { index, source })?;
            if let Some(slot) = done.get_mut(index) {
                *slot = Some(layer);
            }
        }
        Ok(done.into_iter().flatten().collect())
    }

    /// Publishes those of the layers together that are nothing special; gives back the others,
    /// and what stands on them.
    fn publish_together(
        &self,
        session: &Session,
        wanted: Vec<(usize, Wanted)>,
        done: &mut [Option<Registered>],
    ) -> Result<Vec<(usize, Wanted)>, PublishError> {
        let first = wanted.first().map_or(0, |(index, _)| *index);
        let together = |source| PublishError {
            index: first,
            source,
        };
        let there = self.there(session, &wanted).map_err(together)?;
        let ids: Vec<LayerId> = wanted.iter().map(|(_, (_, layer))| layer.id).collect();
        let locks = self.store().lock_layers(&ids);
        let locks = locks.map_err(|error| together(error.into()))?;
        let mut batch = Batch::default();
        let mut rest = Vec::new();
        for (index, (mut staged, descriptor)) in wanted {
            let one = |source| PublishError { index, source };
            if let Some(record) = there.get(&descriptor.id) {
                check_known(&descriptor, record).map_err(one)?;
                if let Some(slot) = done.get_mut(index) {
                    *slot = Some(Registered::of(record, false));
                }
                continue;
            }
            let parent = match &descriptor.parent {
                None => Some(None),
                Some(parent) => batch.parent(parent, &there).map_err(one)?.map(Some),
            };
            let plain = !batch.ids.contains_key(&descriptor.id)
                && self.is_nowhere(&descriptor.id).map_err(one)?;
            match (parent, staged.take_body()) {
                (Some(parent), Some(StagedBody::Applied(applied))) if plain => {
                    let record = self.record(&descriptor, &staged, &applied, parent.as_ref());
                    let record = record.map_err(one)?;
                    let cache = crate::read::cache_id(&record).map_err(|e| one(e.into()))?;
                    batch.ids.insert(record.id, cache.clone());
                    batch.layers.push(Member {
                        index,
                        staged,
                        applied,
                        record,
                        cache,
                        parent,
                    });
                }
                (_, body) => {
                    staged.put_body(body);
                    rest.push((index, (staged, descriptor)));
                }
            }
        }
        for (index, layer) in self.place_all(&locks, session, batch)? {
            if let Some(slot) = done.get_mut(index) {
                *slot = Some(layer);
            }
        }
        Ok(rest)
    }

    /// Those of the layers and of their parents that are there, held.
    fn there(
        &self,
        session: &Session,
        wanted: &[(usize, Wanted)],
    ) -> Result<HashMap<LayerId, LayerRecord>, RegisterError> {
        let descriptors = wanted.iter().map(|(_, (_, descriptor))| descriptor);
        let ids: HashSet<LayerId> = descriptors
            .flat_map(|descriptor| [Some(descriptor.id), descriptor.parent])
            .flatten()
            .collect();
        let ids: Vec<LayerId> = ids.into_iter().collect();
        let there = self.retain_present(session, &ids)?;
        Ok(there.into_iter().map(|layer| (layer.id, layer)).collect())
    }

    /// True when neither the index nor the folders have anything of a layer.
    fn is_nowhere(&self, id: &LayerId) -> Result<bool, RegisterError> {
        let place = self.store().root().layer(id);
        Ok(place.symlink_metadata().is_err() && !self.store().has_layer(id)?)
    }

    /// Trees, records, index rows, in this order; the intent tells the next process how far it
    /// got.
    fn place_all(
        &self,
        locks: &lith_store::LayerLocks,
        session: &Session,
        batch: Batch,
    ) -> Result<Vec<(usize, Registered)>, PublishError> {
        let Some(first) = batch.layers.first() else {
            return Ok(Vec::new());
        };
        let first = first.index;
        let together = |source| PublishError {
            index: first,
            source,
        };
        let trees = batch.layers.iter();
        let trees = trees.map(|layer| (layer.record.id, layer.record.cache.clone()));
        let intent = Intent::Layers {
            layers: trees.collect(),
        };
        let intent = session.intend(&intent);
        let intent = intent.map_err(|error| together(error.into()))?;
        let mut made = Vec::with_capacity(batch.layers.len());
        let published = self.commit_all(batch, &mut made).and_then(|layers| {
            let sync = self.driver().sync();
            sync.map_err(|error| together(error.into()))?;
            let new: Vec<NewLayer> = layers.iter().map(Finished::synced_layer).collect();
            let store = self.store();
            let published = store.publish_layers(locks, session, &intent, &new);
            published.map_err(|error| together(error.into()))?;
            Ok(layers)
        });
        if published.is_err() {
            // Where that fails, the intent stays, and whoever finds it removes the trees.
            for cache in made.iter().rev() {
                let removed = self.driver().remove(cache);
                removed.map_err(|error| together(error.into()))?;
            }
        }
        let done = intent.done();
        done.map_err(|error| together(error.into()))?;
        let registered = |layer: Finished| (layer.index, Registered::of(&layer.record, true));
        Ok(published?.into_iter().map(registered).collect())
    }

    /// Makes the driver's trees; `made` says which, also when one fails.
    fn commit_all(
        &self,
        batch: Batch,
        made: &mut Vec<CacheId>,
    ) -> Result<Vec<Finished>, PublishError> {
        let mut finished = Vec::with_capacity(batch.layers.len());
        for layer in batch.layers {
            let index = layer.index;
            let one = |source| PublishError { index, source };
            let draft = layer.applied.draft;
            match draft.commit_unsynced(&layer.cache, layer.parent.as_ref()) {
                Ok(Placed::New) => made.push(layer.cache),
                Ok(Placed::AlreadyThere) => {
                    return Err(one(RegisterError::Leftover {
                        layer: layer.record.id,
                        cache: layer.record.cache,
                    }));
                }
                Err(error) => return Err(one(error.into())),
            }
            finished.push(Finished {
                index,
                staged: layer.staged,
                record: layer.record,
            });
        }
        Ok(finished)
    }
}

/// Layers that are published together.
#[derive(Default)]
struct Batch {
    layers: Vec<Member>,
    /// The driver's IDs that they get.
    ids: HashMap<LayerId, CacheId>,
}

struct Member {
    index: usize,
    staged: StagedLayer,
    applied: Applied,
    record: LayerRecord,
    cache: CacheId,
    parent: Option<CacheId>,
}

/// A layer whose tree is in its place.
struct Finished {
    index: usize,
    staged: StagedLayer,
    record: LayerRecord,
}

impl Finished {
    /// What is published of it once its tree is on disk.
    fn synced_layer(&self) -> NewLayer {
        NewLayer {
            folder: self.staged.folder.clone(),
            record: LayerRecord {
                synced: true,
                ..self.record.clone()
            },
        }
    }
}

impl Batch {
    /// The driver's ID of a parent; none when it is neither there nor in the batch.
    fn parent(
        &self,
        parent: &LayerId,
        there: &HashMap<LayerId, LayerRecord>,
    ) -> Result<Option<CacheId>, RegisterError> {
        if let Some(cache) = self.ids.get(parent) {
            return Ok(Some(cache.clone()));
        }
        match there.get(parent) {
            Some(record) => Ok(Some(crate::read::cache_id(record)?)),
            None => Ok(None),
        }
    }
}
