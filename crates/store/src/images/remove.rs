//! Removing an image: the row first, then the folder aside.

use std::collections::BTreeMap;
use std::io;

use crate::digest::{ImageId, LayerId};
use crate::error::StoreError;
use crate::images::{ImageError, folder, members, table};
use crate::index::View;
use crate::intent::{Intent, IntentGuard};
use crate::layers;
use crate::session::Session;
use crate::store::Store;

impl Store {
    /// Removes an image that no name points to and no index has. With an index go those of its
    /// images that nothing else keeps, all in one step.
    ///
    /// Sweeping the layers that nobody needs any more is up to the caller; when the session dies
    /// before it ends, its recovery does that.
    ///
    /// # Errors
    /// [`ImageError::NotFound`]; [`ImageError::InUse`] lists the names and
    /// [`ImageError::InIndex`] the indexes.
    pub fn remove_image(
        &self,
        session: &Session,
        id: &ImageId,
    ) -> Result<RemovedImages, ImageError> {
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
    ) -> Result<RemovedImages, ImageError> {
        self.remove_image_if(session, id, true)
    }

    fn remove_image_if(
        &self,
        session: &Session,
        id: &ImageId,
        mind_holders: bool,
    ) -> Result<RemovedImages, ImageError> {
        let members = self.index().read("find image", |view| {
            if !table::exists(view, id)? {
                return Err(ImageError::NotFound { image: *id });
            }
            Ok(members::kept_by_it_alone(view, id)?)
        })?;
        let mut locked = members;
        locked.push(*id);
        let _locks = self.lock_images(locked.iter())?;
        let removal = Removal {
            store: self,
            session,
            id,
            mind_holders,
        };
        let mut intents = BTreeMap::new();
        for image in &locked {
            intents.insert(*image, session.note(&Intent::RemoveImage { id: *image })?);
        }
        let done = removal.run(&locked, &mut intents);
        intents.into_values().for_each(IntentGuard::settled);
        done
    }
}

/// What went with [`Store::remove_image`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemovedImages {
    /// The image, and members of an index.
    pub images: Vec<ImageId>,
    /// Their layers, those of each bottom first.
    pub layers: Vec<LayerId>,
}

/// A removal whose images are locked.
struct Removal<'a> {
    store: &'a Store,
    session: &'a Session,
    id: &'a ImageId,
    /// Refuses images whose top layers other living sessions hold.
    mind_holders: bool,
}

impl Removal<'_> {
    /// Removes the image, and those of the `locked` ones that go with it. Takes out the intents
    /// of what is to be finished by the recovery.
    fn run(
        &self,
        locked: &[ImageId],
        intents: &mut BTreeMap<ImageId, IntentGuard>,
    ) -> Result<RemovedImages, ImageError> {
        let removed = self.store.index().write("remove image", |view| {
            let mut images = self.check(view)?;
            // Others have become its own since they were looked for: they stay, nameless.
            images.retain(|member| locked.contains(member));
            images.insert(0, *self.id);
            let mut removed = RemovedImages::default();
            for image in images {
                let layers = table::layers(view, &image)?;
                self.check_holders(view, &image, &layers)?;
                table::delete(view, &image)?;
                for layer in &layers {
                    layers::table::sweep_later(view, self.session.id(), layer)?;
                }
                removed.images.push(image);
                removed.layers.extend(layers);
            }
            Ok::<_, ImageError>(removed)
        })?;
        let mut failed = None;
        for image in &removed.images {
            if let Err(error) = discard(self.store, self.session, image) {
                if image == self.id && self.store.root().image(image).symlink_metadata().is_ok() {
                    self.take_back(&removed.images)?;
                    return Err(error.into());
                }
                intents.remove(image);
                failed.get_or_insert(error);
            }
        }
        failed.map_or(Ok(removed), |error| Err(error.into()))
    }

    /// Makes sure that the image may go; gives the members that go with it.
    fn check(&self, view: &View<'_>) -> Result<Vec<ImageId>, ImageError> {
        let image = *self.id;
        if !table::exists(view, self.id)? {
            return Err(ImageError::NotFound { image });
        }
        let names = table::names(view, self.id)?;
        if !names.is_empty() {
            return Err(ImageError::InUse { image, names });
        }
        let indexes = members::indexes(view, self.id)?;
        if !indexes.is_empty() {
            return Err(ImageError::InIndex { image, indexes });
        }
        Ok(members::kept_by_it_alone(view, self.id)?)
    }

    fn check_holders(
        &self,
        view: &View<'_>,
        image: &ImageId,
        layers: &[LayerId],
    ) -> Result<(), ImageError> {
        let Some(top) = layers.last().filter(|_| self.mind_holders) else {
            return Ok(());
        };
        let mut holders = layers::table::holders(view, top)?;
        holders.retain(|holder| holder != self.session.id());
        let sessions = layers::hold::living(self.store, holders)?;
        match sessions.is_empty() {
            true => Ok(()),
            false => Err(ImageError::Held {
                image: *image,
                sessions,
            }),
        }
    }

    /// Lists images again whose folders are still where they were.
    fn take_back(&self, images: &[ImageId]) -> Result<(), ImageError> {
        // Members before the index that has them.
        images
            .iter()
            .rev()
            .try_for_each(|image| adopt(self.store, image))
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
