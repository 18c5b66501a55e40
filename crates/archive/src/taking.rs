//! The steps in which names, images and layers go: each whole or not at all.

use lith_graph::{Graph, Swept};
use lith_store::{EventKind, ImageError, ImageId, LayerId, Reference, RemovedImages, Session};

use crate::RemoveError;
use crate::kept::Because;
use crate::{mounted, writable};

/// Takes things out of a store, in a session.
pub(crate) struct Taking<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) session: &'a Session,
}

/// What became of an image.
pub(crate) enum TakenImage {
    /// With the members of an index that nothing else kept.
    Gone(RemovedImages),
    /// Somebody named it or holds it.
    Stays(Because),
    /// Another process removed it.
    NotThere,
}

impl Taking<'_> {
    /// Removes a name of an image; false when it does not point there any more.
    pub(crate) fn name(&self, name: &Reference, id: &ImageId) -> Result<bool, RemoveError> {
        let removed = self.graph.store().remove_name_of(self.session, name, id)?;
        if removed {
            self.event(EventKind::Untag, id, Some(&name.to_string()));
        }
        Ok(removed)
    }

    /// Gives back names that were taken from an image that stays after all, unless they are
    /// somebody else's by now.
    pub(crate) fn name_again(&self, names: &[Reference], id: &ImageId) -> Result<(), RemoveError> {
        let store = self.graph.store();
        for name in names {
            if store.name(name)?.is_none() {
                store.set_name(self.session, name, id)?;
                self.event(EventKind::Tag, id, Some(&name.to_string()));
            }
        }
        Ok(())
    }

    /// Removes an image that has no name; one that a session holds only with `held`.
    pub(crate) fn image(&self, id: &ImageId, held: bool) -> Result<TakenImage, RemoveError> {
        let store = self.graph.store();
        let removed = if held {
            store.remove_image(self.session, id)
        } else {
            store.remove_unheld_image(self.session, id)
        };
        match removed {
            Ok(removed) => {
                for image in &removed.images {
                    self.event(EventKind::Delete, image, None);
                }
                Ok(TakenImage::Gone(removed))
            }
            Err(ImageError::InIndex { indexes, .. }) => {
                Ok(TakenImage::Stays(Because::Indexes(indexes)))
            }
            Err(ImageError::InUse { names, .. }) => Ok(TakenImage::Stays(Because::Named(names))),
            Err(ImageError::Held { sessions, .. }) => {
                Ok(TakenImage::Stays(Because::Sessions(sessions)))
            }
            Err(ImageError::NotFound { .. }) => Ok(TakenImage::NotThere),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a layer if nobody needs it, and then those below it of which the same is true.
    pub(crate) fn layer(&self, id: &LayerId) -> Result<Vec<Swept>, RemoveError> {
        Ok(self.graph.sweep_unclaimed(self.session, &[*id])?)
    }

    /// Why a layer stays; none when another process removed it.
    pub(crate) fn why(&self, id: &LayerId) -> Result<Option<Because>, RemoveError> {
        let store = self.graph.store();
        if !store.has_layer(id)? {
            return Ok(None);
        }
        let claims = store.layer_claims(id)?;
        if claims.image_count > 0 {
            return Ok(Some(Because::Images(claims.images, claims.image_count)));
        }
        if claims.layer_count > 0 {
            return Ok(Some(Because::Layers(claims.layers, claims.layer_count)));
        }
        let sessions = store.holders(id)?;
        if !sessions.is_empty() {
            return Ok(Some(Because::Sessions(sessions)));
        }
        let mounts = mounted::mounts(self.graph)?.into_iter();
        let places: Vec<_> = mounts
            .filter(|mount| mount.writable.is_none() && mount.layer == Some(*id))
            .map(|mount| mount.target)
            .collect();
        if !places.is_empty() {
            return Ok(Some(Because::Mounted(places)));
        }
        let written = writable::on_layer(&writable::writable_images(self.graph)?, id);
        if !written.is_empty() {
            return Ok(Some(Because::Written(written)));
        }
        Ok(Some(Because::Owner))
    }

    /// It is done by now, whether that can be noted or not.
    fn event(&self, kind: EventKind, id: &ImageId, subject: Option<&str>) {
        if let Err(error) = self.graph.store().record_event(kind, Some(id), subject) {
            tracing::warn!(%error, "cannot record an event");
        }
    }
}
