//! Removing an image: the row first, then the folder aside.

use std::io;

use crate::digest::{ImageId, LayerId};
use crate::error::StoreError;
use crate::images::{ImageError, folder, table};
use crate::intent::Intent;
use crate::layers;
use crate::session::Session;
use crate::store::Store;

impl Store {
    /// Removes an image that no name points to; gives its layers, bottom first.
    ///
    /// Sweeping those that nobody needs any more is up to the caller; when the session dies
    /// before it ends, its recovery does that.
    ///
    /// # Errors
    /// [`ImageError::NotFound`]; [`ImageError::InUse`] lists the names.
    pub fn remove_image(
        &self,
        session: &Session,
        id: &ImageId,
    ) -> Result<Vec<LayerId>, ImageError> {
        self.remove_image_if(session, id, false)
    }

    /// As [`Store::remove_image`], but refuses an image whose top layer another living session
    /// holds: for whoever removes what nobody asked to be removed.
    ///
    /// # Errors
    /// As [`Store::remove_image`]; [`ImageError::Held`] lists the sessions.
    pub fn remove_unheld_image(
        &self,
        session: &Session,
        id: &ImageId,
    ) -> Result<Vec<LayerId>, ImageError> {
        self.remove_image_if(session, id, true)
    }

    fn remove_image_if(
        &self,
        session: &Session,
        id: &ImageId,
        mind_holders: bool,
    ) -> Result<Vec<LayerId>, ImageError> {
        let _lock = self.lock_image(id)?;
        if !self
            .index()
            .read("find image", |view| table::exists(view, id))?
        {
            return Err(ImageError::NotFound { image: *id });
        }
        let intent = session.note(&Intent::RemoveImage { id: *id })?;
        let unlisted = self.index().write("remove image", |view| {
            if !table::exists(view, id)? {
                return Err(ImageError::NotFound { image: *id });
            }
            let names = table::names(view, id)?;
            if !names.is_empty() {
                return Err(ImageError::InUse { image: *id, names });
            }
            let layers = table::layers(view, id)?;
            if let Some(top) = layers.last().filter(|_| mind_holders) {
                let mut holders = layers::table::holders(view, top)?;
                holders.retain(|holder| holder != session.id());
                let sessions = layers::hold::living(self, holders)?;
                if !sessions.is_empty() {
                    return Err(ImageError::Held {
                        image: *id,
                        sessions,
                    });
                }
            }
            table::delete(view, id)?;
            for layer in &layers {
                layers::table::sweep_later(view, session.id(), layer)?;
            }
            Ok(layers)
        });
        let layers = match unlisted {
            Ok(layers) => layers,
            Err(error) => {
                intent.settled();
                return Err(error);
            }
        };
        if let Err(error) = discard(self, session, id) {
            // Still whole where it was, or gone altogether.
            if self.root().image(id).symlink_metadata().is_ok() {
                adopt(self, id)?;
            }
            intent.settled();
            return Err(error.into());
        }
        intent.settled();
        Ok(layers)
    }
}

/// Adds the row of an image folder that stands without one. Wants the image's lock held.
fn adopt(store: &Store, id: &ImageId) -> Result<(), ImageError> {
    let record = folder::read(&store.root().image(id), id)?;
    store
        .index()
        .write("adopt image", |view| table::insert(view, &record))
}

/// Moves the folder of an image without a row into the session's staging and removes it.
pub(crate) fn discard(store: &Store, session: &Session, id: &ImageId) -> Result<(), StoreError> {
    let folder = session.fresh_path("removed-image");
    match store.effects().rename(&store.root().image(id), &folder) {
        Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(());
        }
        other => other?,
    }
    store.effects().sync_dir(&store.root().images())?;
    store.effects().remove_tree(&folder).map(drop)
}
