//! Publishing a layer: its folder appears in one rename, then its row.

use std::path::{Path, PathBuf};

use crate::digest::LayerId;
use crate::error::{IoContext, StoreError, is_there};
use crate::intent::Intent;
use crate::layers::{KEEP, LayerRecord, table};
use crate::session::Session;
use crate::store::{LayerLock, Store};

/// Whether something that was published is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// It is.
    New,
    /// It was there already; the new copy was discarded.
    AlreadyThere,
}

/// Why a layer could not be published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishLayerError {
    /// Its parent is not there.
    #[error("layer {layer} has parent {parent}, which is not in the store")]
    MissingParent {
        /// The layer.
        layer: LayerId,
        /// Its parent.
        parent: LayerId,
    },
    /// The tree of its parent is not the one that its own was made over: the parent was lost
    /// and registered again.
    #[error(
        "layer {layer} was made over tree {expected} of its parent {parent}, which has {found} now"
    )]
    OtherParentTree {
        /// The layer.
        layer: LayerId,
        /// Its parent.
        parent: LayerId,
        /// The tree it was made over.
        expected: Box<str>,
        /// The tree that the parent has.
        found: Box<str>,
    },
    /// What was staged is not what was announced.
    #[error("staged layer {}: {reason}", path.display())]
    Staged {
        /// The staged folder.
        path: PathBuf,
        /// What was found, and what was expected.
        reason: String,
    },
    /// Anything else.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Publishes a staged layer folder and holds the layer for the session, new or not.
    ///
    /// The folder must lie on the same file system as the root ([`Session::scratch`]) and be
    /// complete; `layer.json` is written here when it is not there, and must say the same as
    /// `record` when it is. It is synced, then renamed. Takes the layer's lock.
    ///
    /// On an error nothing is visible and the staged folder is still the caller's.
    ///
    /// # Errors
    /// [`PublishLayerError::MissingParent`] when the parent is not there at that moment.
    pub fn publish_layer(
        &self,
        session: &Session,
        staged: &Path,
        record: &LayerRecord,
    ) -> Result<Published, PublishLayerError> {
        let lock = self.lock_layer(&record.id)?;
        self.publish_layer_locked(&lock, session, staged, record)
    }

    /// As [`Store::publish_layer`] for a caller that holds the layer's lock.
    ///
    /// # Errors
    /// As [`Store::publish_layer`].
    pub fn publish_layer_locked(
        &self,
        lock: &LayerLock,
        session: &Session,
        staged: &Path,
        record: &LayerRecord,
    ) -> Result<Published, PublishLayerError> {
        if *lock.id() != record.id {
            let reason = format!("the lock is that of layer {}, not {}", lock.id(), record.id);
            return Err(PublishLayerError::Staged {
                path: staged.to_owned(),
                reason,
            });
        }
        describe(self, staged, record)?;
        if find_or_adopt(self, session, &record.id)? {
            self.effects().remove_tree(staged)?;
            return Ok(Published::AlreadyThere);
        }
        self.index()
            .read("find parent", |view| check_parent(view, record))?;
        self.effects().sync_tree(staged)?;
        let intent = session.note(&Intent::Layer {
            id: record.id,
            cache: record.cache.clone(),
        })?;
        let place = self.root().layer(&record.id);
        match place_folder(self, session, staged, &place, record) {
            Ok(()) => {
                intent.settled();
                Ok(Published::New)
            }
            Err(error) => {
                if place.symlink_metadata().is_ok() {
                    self.effects().rename(&place, staged)?;
                }
                intent.settled();
                Err(error)
            }
        }
    }
}

fn place_folder(
    store: &Store,
    session: &Session,
    staged: &Path,
    place: &Path,
    record: &LayerRecord,
) -> Result<(), PublishLayerError> {
    store.effects().rename(staged, place)?;
    store.effects().sync_dir(&store.root().layers())?;
    let kept = place.join(KEEP).symlink_metadata().is_ok();
    store.index().write("publish layer", |view| {
        check_parent(view, record)?;
        table::insert(view, record, kept)?;
        table::hold(view, session.id(), &record.id)?;
        Ok(())
    })
}

/// Puts `layer.json` into the staged folder, or checks the one that is there.
pub(crate) fn describe(
    store: &Store,
    staged: &Path,
    record: &LayerRecord,
) -> Result<(), PublishLayerError> {
    let path = staged.join(LayerRecord::FILE);
    if path.symlink_metadata().is_err() {
        let text = record.to_json().at("describe", &path)?;
        return Ok(store.effects().write_new(&path, &text)?);
    }
    let found = LayerRecord::read(staged, &record.id)?;
    if found == *record {
        return Ok(());
    }
    let reason = "its layer.json says something else than its record".to_owned();
    Err(PublishLayerError::Staged {
        path: staged.to_owned(),
        reason,
    })
}

pub(crate) fn check_parent(
    view: &crate::index::View<'_>,
    record: &LayerRecord,
) -> Result<(), PublishLayerError> {
    let Some(parent) = record.parent else {
        return Ok(());
    };
    let layer = record.id;
    match (table::cache(view, &parent)?, &record.parent_cache) {
        (None, _) => Err(PublishLayerError::MissingParent { layer, parent }),
        (Some(found), Some(expected)) if found != *expected => {
            Err(PublishLayerError::OtherParentTree {
                layer,
                parent,
                expected: expected.as_str().into(),
                found: found.into(),
            })
        }
        _ => Ok(()),
    }
}

/// Holds the layer when it is there. A folder without a row, left by a process that died in
/// between, is adopted: it appeared complete. One that cannot be is put out of the way.
fn find_or_adopt(
    store: &Store,
    session: &Session,
    id: &LayerId,
) -> Result<bool, PublishLayerError> {
    let listed = store.index().write("hold layer", |view| {
        let there = table::exists(view, id)?;
        if there {
            table::hold(view, session.id(), id)?;
        }
        Ok::<bool, StoreError>(there)
    })?;
    if listed {
        return Ok(true);
    }
    let place = store.root().layer(id);
    if !is_there(&place)? {
        return Ok(false);
    }
    match adopt(store, id, Some(session)) {
        Ok(()) => Ok(true),
        Err(PublishLayerError::Store(
            error @ (StoreError::Index { .. } | StoreError::Busy { .. }),
        )) => Err(error.into()),
        Err(error) => {
            tracing::warn!(layer = %id, %error, "replacing a leftover of this layer");
            store
                .effects()
                .rename(&place, &session.fresh_path("leftover"))?;
            Ok(false)
        }
    }
}

/// Adds the row of a layer folder that stands without one. Wants the layer's lock held.
pub(crate) fn adopt(
    store: &Store,
    id: &LayerId,
    holder: Option<&Session>,
) -> Result<(), PublishLayerError> {
    let record = LayerRecord::read(&store.root().layer(id), id)?;
    let kept = store.has_keep_mark(id);
    store.index().write("adopt layer", |view| {
        check_parent(view, &record)?;
        table::insert(view, &record, kept)?;
        if let Some(session) = holder {
            table::hold(view, session.id(), id)?;
        }
        Ok(())
    })
}
