//! Publishing many layers: each folder appears in one rename, all their rows together.

use std::path::{Path, PathBuf};

use crate::error::StoreError;
use crate::intent::IntentGuard;
use crate::layers::publish::{PublishLayerError, check_parent, describe};
use crate::layers::{KEEP, LayerRecord, table};
use crate::session::Session;
use crate::store::{LayerLocks, Store};

/// Up to so many folders are forced to disk one by one; for more, all of the file system is.
const SYNCED_ALONE: usize = 16;

/// A staged layer.
#[derive(Debug, Clone, PartialEq)]
pub struct NewLayer {
    /// Its folder in the session's staging.
    pub folder: PathBuf,
    /// What it is to be published as.
    pub record: LayerRecord,
}

impl Store {
    /// Publishes staged layers, parents before children, and holds them for the session: as
    /// [`Store::publish_layer`] for each, but what must be on disk is waited for once, and all
    /// are listed in one transaction.
    ///
    /// The caller holds the locks of all of them, has seen that none is there, and has left
    /// `_intent`, an [`Intent::Layers`](crate::Intent::Layers) that names them.
    ///
    /// # Errors
    /// As [`Store::publish_layer`]. Nothing is visible then and the staged folders are still the
    /// caller's.
    pub fn publish_layers(
        &self,
        locks: &LayerLocks,
        session: &Session,
        _intent: &IntentGuard,
        layers: &[NewLayer],
    ) -> Result<(), PublishLayerError> {
        for NewLayer { folder, record } in layers {
            if !locks.has(&record.id) {
                return Err(PublishLayerError::Staged {
                    path: folder.clone(),
                    reason: format!("the lock of layer {} is not held", record.id),
                });
            }
            describe(self, folder, record)?;
        }
        sync(self, session.dir(), layers)?;
        let mut placed = Vec::with_capacity(layers.len());
        let result = self.place_layers(session, layers, &mut placed);
        if result.is_err() {
            for layer in placed.into_iter().rev() {
                let place = self.root().layer(&layer.record.id);
                self.effects().rename(&place, &layer.folder)?;
            }
        }
        result
    }

    fn place_layers<'a>(
        &self,
        session: &Session,
        layers: &'a [NewLayer],
        placed: &mut Vec<&'a NewLayer>,
    ) -> Result<(), PublishLayerError> {
        for layer in layers {
            let place = self.root().layer(&layer.record.id);
            self.effects().rename(&layer.folder, &place)?;
            placed.push(layer);
        }
        self.effects().sync_dir(&self.root().layers())?;
        let kept: Vec<bool> = layers
            .iter()
            .map(|layer| self.root().layer(&layer.record.id).join(KEEP).exists())
            .collect();
        self.index().write("publish layers", |view| {
            for (NewLayer { record, .. }, kept) in layers.iter().zip(&kept) {
                check_parent(view, record)?;
                table::insert(view, record, *kept)?;
                table::hold(view, session.id(), &record.id)?;
            }
            Ok(())
        })
    }
}

fn sync(store: &Store, staging: &Path, layers: &[NewLayer]) -> Result<(), StoreError> {
    if layers.len() > SYNCED_ALONE {
        return store.effects().sync_fs(staging);
    }
    layers
        .iter()
        .try_for_each(|layer| store.effects().sync_tree(&layer.folder))
}
