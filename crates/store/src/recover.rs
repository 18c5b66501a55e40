//! Recovery: what a dead session had begun is finished or undone.

use std::collections::BTreeSet;
use std::fs::File;

use crate::digest::{ImageId, LayerId};
use crate::error::StoreError;
use crate::images;
use crate::intent::Intent;
use crate::layers::{self, LayerRecord, PublishLayerError, RemoveLayerError};
use crate::names;
use crate::rebuild::Problem;
use crate::session::{self, Session, SessionId};
use crate::store::Store;

/// What removes a driver's tree by the driver's ID of it; one that is not there is success.
pub type RemoveTree<'a> =
    dyn FnMut(&str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> + 'a;

/// A session whose process died or gave up, now held by this one.
///
/// Dropping it without [`DeadSession::recover`] or [`DeadSession::finish`] leaves it for the
/// next one who looks.
#[derive(Debug)]
pub struct DeadSession {
    session: Option<Session>,
    id: SessionId,
}

/// What a recovery did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// Layers that the session had published and nothing claimed: removed.
    pub swept: Vec<LayerId>,
    /// Trees of the driver that belonged to no layer: removed.
    pub trees: Vec<String>,
    /// What is damaged and was left as it is.
    pub problems: Vec<Problem>,
}

impl Store {
    /// Finds the sessions that nobody holds, and takes them over. The cost depends on the
    /// number of sessions only.
    ///
    /// # Errors
    /// The file system's and the index's.
    pub fn dead_sessions(&self) -> Result<Vec<DeadSession>, StoreError> {
        let mut ids: BTreeSet<SessionId> = BTreeSet::new();
        ids.extend(session::ids_in(&self.root().session_locks())?);
        ids.extend(session::ids_in(&self.root().staging())?);
        ids.extend(layers::hold::all_sessions(self)?);
        let mut dead = Vec::new();
        for id in ids {
            if let Some(lock) = session::take_dead_lock(self, &id)? {
                dead.push(DeadSession::new(self.clone(), id, Some(lock)));
            }
        }
        Ok(dead)
    }

    /// Reads the intents of all sessions, living ones included: what is about to appear or to
    /// go right now, beside what the index says.
    ///
    /// # Errors
    /// The file system's; [`StoreError::Damaged`] for an intent that cannot be read.
    pub fn intents(&self) -> Result<Vec<Intent>, StoreError> {
        let mut intents = Vec::new();
        for id in session::ids_in(&self.root().staging())? {
            intents.extend(crate::intent::peek_all(&self.root().session(&id))?);
        }
        intents.into_iter().collect()
    }

    /// Recovers every dead session; `remove_tree` removes the driver's part of what is
    /// abandoned.
    ///
    /// # Errors
    /// The first that a recovery meets; that session stays for the next time.
    pub fn recover(&self, remove_tree: &mut RemoveTree<'_>) -> Result<Recovery, StoreError> {
        let mut all = Recovery::default();
        for dead in self.dead_sessions()? {
            let one = dead.recover(remove_tree)?;
            all.swept.extend(one.swept);
            all.trees.extend(one.trees);
            all.problems.extend(one.problems);
        }
        Ok(all)
    }
}

impl DeadSession {
    pub(crate) fn new(store: Store, id: SessionId, lock: Option<File>) -> DeadSession {
        DeadSession {
            session: lock.map(|lock| Session::revive(store, id.clone(), lock)),
            id,
        }
    }

    /// Returns the session's name.
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// Reads what the session had begun.
    ///
    /// # Errors
    /// The file system's; [`StoreError::Damaged`] for an intent that cannot be read.
    pub fn intents(&self) -> Result<Vec<Intent>, StoreError> {
        let Some(session) = &self.session else {
            return Ok(Vec::new());
        };
        let all = crate::intent::read_all(session.store().effects(), session.dir())?;
        all.into_iter().map(|(intent, _)| intent).collect()
    }

    /// Finishes or undoes what the session had begun, sweeps layers that it published and
    /// nothing claims, and removes its traces. Safe to kill and to repeat.
    ///
    /// # Errors
    /// [`StoreError::AbandonedTree`] when `remove_tree` fails, the store's own otherwise;
    /// the session then stays for the next time.
    pub fn recover(mut self, remove_tree: &mut RemoveTree<'_>) -> Result<Recovery, StoreError> {
        let Some(session) = &self.session else {
            return Ok(Recovery::default());
        };
        let store = session.store().clone();
        store.effects().ensure_dir(session.dir())?;
        let mut work = Work {
            store: &store,
            session,
            remove_tree,
            done: Recovery::default(),
        };
        for (intent, guard) in crate::intent::read_all(store.effects(), session.dir())? {
            // What is damaged must not keep the rest from being recovered. Intents that were
            // not synced may be torn after a power failure, after which all is compared.
            match intent.and_then(|intent| work.settle(&intent)) {
                Err(StoreError::Damaged { path, reason }) => {
                    tracing::warn!(path = %path.display(), %reason, "left as it is");
                    work.done.problems.push(Problem { path, reason });
                }
                other => other?,
            }
            guard.done()?;
        }
        let order = layers::hold::of_session(&store, &self.id)?;
        let held = order.iter().copied().collect();
        for id in &order {
            work.sweep(id, &held)?;
        }
        let done = work.done;
        self.clear()?;
        Ok(done)
    }

    /// Removes the session's traces without looking at its intents, and lets go of what it
    /// held.
    ///
    /// # Errors
    /// The file system's and the index's.
    pub fn finish(mut self) -> Result<(), StoreError> {
        self.clear()
    }

    fn clear(&mut self) -> Result<(), StoreError> {
        self.session.take().map_or(Ok(()), Session::clear)
    }
}

impl Drop for DeadSession {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            session.forsake();
        }
    }
}

/// One recovery.
struct Work<'a, 'b> {
    store: &'a Store,
    session: &'a Session,
    remove_tree: &'a mut RemoveTree<'b>,
    done: Recovery,
}

impl Work<'_, '_> {
    fn settle(&mut self, intent: &Intent) -> Result<(), StoreError> {
        match intent {
            Intent::Layer { id, cache } => self.settle_layer(id, cache),
            Intent::Layers { layers } => layers
                .iter()
                .try_for_each(|(id, cache)| self.settle_layer(id, cache)),
            Intent::RemoveLayer { id, cache } => self.settle_removal(id, cache),
            Intent::DescribeLayer { id } => layers::revise::reindex(self.store, id),
            Intent::Images(plan) => images::settle::settle(self.store, self.session, plan),
            Intent::CompleteImages { images } => images
                .iter()
                .try_for_each(|id| images::restore::reindex(self.store, id)),
            Intent::RemoveImage { id } => self.settle_image_removal(id),
            Intent::Name { name } => names::reindex(self.store, name),
            // Whoever knows drivers has removed what there was to be removed.
            Intent::SwitchDriver { .. } => Ok(()),
        }
    }

    /// A folder that stands without a row gets it, held by the dead session, so that it is
    /// swept unless something claims it. A tree that no layer uses goes.
    fn settle_layer(&mut self, id: &LayerId, cache: &str) -> Result<(), StoreError> {
        let _lock = self.store.lock_layer(id)?;
        if !self.store.has_layer(id)? {
            match LayerRecord::read(&self.store.root().layer(id), id) {
                Ok(_) => match layers::publish::adopt(self.store, id, Some(self.session)) {
                    Ok(()) => {}
                    Err(PublishLayerError::Store(error)) => return Err(error),
                    // It cannot stand without its parent.
                    Err(_) => drop(layers::remove::put_aside(self.store, self.session, id)?),
                },
                Err(error) => tracing::debug!(layer = %id, %error, "was not published"),
            }
        }
        self.abandon(cache)
    }

    /// Undone when the row is still, or again, there; else finished.
    fn settle_removal(&mut self, id: &LayerId, cache: &str) -> Result<(), StoreError> {
        let _lock = self.store.lock_layer(id)?;
        if !self.store.has_layer(id)? {
            layers::remove::put_aside(self.store, self.session, id)?;
        }
        self.abandon(cache)
    }

    /// Removes a tree unless a layer uses it.
    fn abandon(&mut self, cache: &str) -> Result<(), StoreError> {
        if !self.store.layers_by_cache(cache)?.is_empty() {
            return Ok(());
        }
        (self.remove_tree)(cache).map_err(|source| StoreError::AbandonedTree {
            cache: cache.to_owned(),
            source,
        })?;
        self.done.trees.push(cache.to_owned());
        Ok(())
    }

    fn settle_image_removal(&mut self, id: &ImageId) -> Result<(), StoreError> {
        let _lock = self.store.lock_image(id)?;
        if self.store.has_image(id)? {
            return Ok(());
        }
        images::remove::discard(self.store, self.session, id)
    }

    /// Removes a layer unless something claims it, and then its ancestors in the same way:
    /// another session may have had to leave them because of this one.
    fn sweep(&mut self, id: &LayerId, held: &BTreeSet<LayerId>) -> Result<(), StoreError> {
        let mut next = Some(*id);
        while let Some(id) = next {
            let Some(record) = self.store.layer(&id)? else {
                return Ok(());
            };
            // Before the layer goes, so that a death after that does not forget its parent.
            if let Some(parent) = record.parent.filter(|parent| !held.contains(parent)) {
                layers::hold::sweep_later(self.store, self.session.id(), &parent)?;
            }
            let removal = match self.store.take_unclaimed_layer(self.session, &id) {
                Ok(removal) => removal,
                Err(RemoveLayerError::Store(error)) => return Err(error),
                Err(
                    RemoveLayerError::NotFound { .. }
                    | RemoveLayerError::InUse { .. }
                    | RemoveLayerError::Claimed { .. }
                    | RemoveLayerError::OtherLock { .. },
                ) => return Ok(()),
            };
            next = removal.record.parent;
            self.abandon(&removal.record.cache.clone())?;
            removal.finish()?;
            self.done.swept.push(id);
        }
        Ok(())
    }
}
