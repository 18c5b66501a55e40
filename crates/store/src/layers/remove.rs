//! Removing a layer: the row first, then the folder aside, then the driver's tree.

use std::io;
use std::path::PathBuf;

use crate::digest::{ImageId, LayerId};
use crate::error::StoreError;
use crate::index::{View, column};
use crate::intent::{Intent, IntentGuard};
use crate::layers::hold::{list, living};
use crate::layers::{LayerRecord, table};
use crate::session::{Session, SessionId};
use crate::store::{LayerLock, Store};

/// Why a layer was not removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoveLayerError {
    /// It is not there.
    #[error("no such layer: {layer}")]
    NotFound {
        /// The layer.
        layer: LayerId,
    },
    /// Something needs it.
    #[error("layer {layer} is in use{}", by(children, images, sessions, *kept))]
    InUse {
        /// The layer.
        layer: LayerId,
        /// Layers on top of it.
        children: Vec<LayerId>,
        /// Images made of it.
        images: Vec<ImageId>,
        /// Living sessions, other than the asking one, that hold it.
        sessions: Vec<SessionId>,
        /// Whether it was [kept](Store::keep_layer); only
        /// [`Store::take_unclaimed_layer`] minds.
        kept: bool,
    },
    /// Something needs it that the store knows nothing of ([`Store::set_outside_claims`]).
    #[error("layer {layer} is in use; by {}", outside.join(", "))]
    Claimed {
        /// The layer.
        layer: LayerId,
        /// What needs it.
        outside: Vec<String>,
    },
    /// The caller holds the lock of another layer.
    #[error("removing layer {layer} wants its lock, not that of layer {locked}")]
    OtherLock {
        /// The layer.
        layer: LayerId,
        /// The layer whose lock is held.
        locked: LayerId,
    },
    /// Anything else.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn by(children: &[LayerId], images: &[ImageId], sessions: &[SessionId], kept: bool) -> String {
    let mut text = String::new();
    for (what, which) in [
        ("layer", list(children)),
        ("image", list(images)),
        ("session", list(sessions)),
    ] {
        if !which.is_empty() {
            text.push_str(&format!("; by {what} {which}"));
        }
    }
    if kept {
        text.push_str("; it is kept");
    }
    text
}

/// A layer that is no longer listed and whose folder lies in the session's staging.
///
/// The caller removes the driver's tree, then calls [`Removal::finish`]. Dropping without it
/// leaves that to the recovery of the session. Holds the layer's lock.
#[derive(Debug)]
#[must_use = "a removal that is not finished is finished by the next recovery"]
pub struct Removal {
    /// The folder, renamed aside; not there when the store was damaged.
    pub folder: PathBuf,
    /// What the layer was.
    pub record: LayerRecord,
    intent: IntentGuard,
    store: Store,
    _lock: LayerLock,
}

impl Removal {
    /// Removes the folder: the driver's tree is gone.
    ///
    /// # Errors
    /// The file system's.
    pub fn finish(self) -> Result<(), StoreError> {
        self.store.effects().remove_tree(&self.folder)?;
        self.intent.done()
    }
}

impl Store {
    /// Takes a layer out of the store, unless a child, an image or another living session
    /// needs it. Takes the layer's lock, and keeps it in what it returns.
    ///
    /// # Errors
    /// [`RemoveLayerError::InUse`] says by what.
    pub fn take_layer_for_removal(
        &self,
        session: &Session,
        id: &LayerId,
    ) -> Result<Removal, RemoveLayerError> {
        take(self, self.lock_layer(id)?, session, id, false)
    }

    /// As [`Store::take_layer_for_removal`] for a caller that holds the layer's lock, which
    /// goes into what this returns; with an error it is let go.
    ///
    /// # Errors
    /// As [`Store::take_layer_for_removal`], and [`RemoveLayerError::OtherLock`].
    pub fn take_layer_for_removal_locked(
        &self,
        lock: LayerLock,
        session: &Session,
        id: &LayerId,
    ) -> Result<Removal, RemoveLayerError> {
        take(self, lock, session, id, false)
    }

    /// As [`Store::take_layer_for_removal`], but refuses a [kept](Store::keep_layer) layer
    /// too: for whoever sweeps.
    ///
    /// # Errors
    /// As [`Store::take_layer_for_removal`].
    pub fn take_unclaimed_layer(
        &self,
        session: &Session,
        id: &LayerId,
    ) -> Result<Removal, RemoveLayerError> {
        take(self, self.lock_layer(id)?, session, id, true)
    }

    /// As [`Store::take_unclaimed_layer`] for a caller that holds the layer's lock, which goes
    /// into what this returns; with an error it is let go.
    ///
    /// # Errors
    /// As [`Store::take_unclaimed_layer`], and [`RemoveLayerError::OtherLock`].
    pub fn take_unclaimed_layer_locked(
        &self,
        lock: LayerLock,
        session: &Session,
        id: &LayerId,
    ) -> Result<Removal, RemoveLayerError> {
        take(self, lock, session, id, true)
    }
}

fn take(
    store: &Store,
    lock: LayerLock,
    session: &Session,
    id: &LayerId,
    mind_keep: bool,
) -> Result<Removal, RemoveLayerError> {
    if lock.id() != id {
        return Err(RemoveLayerError::OtherLock {
            layer: *id,
            locked: *lock.id(),
        });
    }
    let Some(record) = store.layer(id)? else {
        return Err(RemoveLayerError::NotFound { layer: *id });
    };
    let outside = store.outside_claims(&record)?;
    if !outside.is_empty() {
        let layer = *id;
        return Err(RemoveLayerError::Claimed { layer, outside });
    }
    // Asked again in the transaction; here so that a refusal costs no sync.
    store.index().read("find claims", |view| {
        check_free(store, view, session, id, mind_keep)
    })?;
    let intent = session.intend(&Intent::RemoveLayer {
        id: *id,
        cache: record.cache.clone(),
    })?;
    let unlisted = store.index().write("remove layer", |view| {
        check_free(store, view, session, id, mind_keep)?;
        table::delete(view, id)?;
        Ok(())
    });
    if let Err(error) = unlisted {
        intent.settled();
        return Err(error);
    }
    match put_aside(store, session, id) {
        Ok(folder) => Ok(Removal {
            folder,
            record,
            intent,
            store: store.clone(),
            _lock: lock,
        }),
        Err(error) => {
            let kept = store.has_keep_mark(id);
            let again = |view: &View<'_>| {
                table::insert(view, &record, kept)?;
                table::hold(view, session.id(), id)
            };
            store.index().write("list layer again", again)?;
            intent.settled();
            Err(error.into())
        }
    }
}

/// Moves the folder of a layer without a row into the session's staging.
pub(crate) fn put_aside(
    store: &Store,
    session: &Session,
    id: &LayerId,
) -> Result<PathBuf, StoreError> {
    let folder = session.fresh_path("removed");
    match store.effects().rename(&store.root().layer(id), &folder) {
        Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
        other => other?,
    }
    // Before the driver's tree goes: a folder that came back would be adopted without it.
    store.effects().sync_dir(&store.root().layers())?;
    Ok(folder)
}

/// Refuses when something needs the layer.
fn check_free(
    store: &Store,
    view: &View<'_>,
    session: &Session,
    id: &LayerId,
    mind_keep: bool,
) -> Result<(), RemoveLayerError> {
    let Some(number) = table::number(view, id)? else {
        return Err(RemoveLayerError::NotFound { layer: *id });
    };
    let children = table::children(view, id)?;
    let images = view.all(
        "find images",
        "SELECT DISTINCT i.id FROM image_layers l JOIN images i ON i.num = l.image
         WHERE l.layer = ?1 ORDER BY i.id",
        [number],
        |row| column(row, 0),
    )?;
    let mut holders = table::holders(view, id)?;
    holders.retain(|holder| holder != session.id());
    let sessions = living(store, holders)?;
    let kept = mind_keep && store.has_keep_mark(id);
    if children.is_empty() && images.is_empty() && sessions.is_empty() && !kept {
        return Ok(());
    }
    Err(RemoveLayerError::InUse {
        layer: *id,
        children,
        images,
        sessions,
        kept,
    })
}
