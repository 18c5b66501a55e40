//! Publishing an image: its folder appears in one rename, then its row, then its names.

use crate::digest::ImageId;
use crate::error::{StoreError, is_there};
use crate::images::{ImageError, ImageRecord, folder, table};
use crate::intent::{Intent, PlannedName};
use crate::layers::Published;
use crate::names::NameError;
use crate::reference::Reference;
use crate::session::Session;
use crate::store::Store;

/// What publishing an image with names did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublishedImage {
    /// Whether the image is new.
    pub published: Published,
    /// Names that pointed to another image before, with that image.
    pub moved: Vec<(Reference, ImageId)>,
}

impl Store {
    /// Publishes an image. Its layers must be there, and are claimed by it from now on.
    ///
    /// An image that is there is left as it is.
    ///
    /// # Errors
    /// [`ImageError::MissingLayers`], [`ImageError::ConfigDigest`],
    /// [`ImageError::OtherLayers`]; on any error nothing is visible.
    pub fn publish_image(
        &self,
        session: &Session,
        record: &ImageRecord,
    ) -> Result<Published, ImageError> {
        let _lock = self.lock_image(&record.id)?;
        self.publish_image_locked(session, record)
    }

    fn publish_image_locked(
        &self,
        session: &Session,
        record: &ImageRecord,
    ) -> Result<Published, ImageError> {
        check(record)?;
        if find_or_adopt(self, session, record)? {
            return Ok(Published::AlreadyThere);
        }
        let intent = session.note(&Intent::Image {
            id: record.id,
            names: Vec::new(),
        })?;
        let staged = session.fresh_path("image");
        let place = self.root().image(&record.id);
        let run = || {
            folder::write(self.effects(), &staged, record)?;
            self.effects().rename(&staged, &place)?;
            self.effects().sync_dir(&self.root().images())?;
            self.index()
                .write("publish image", |view| table::insert(view, record))
        };
        let result = run();
        if result.is_err() {
            if place.symlink_metadata().is_ok() {
                self.effects()
                    .rename(&place, &session.fresh_path("undone"))?;
            }
            self.effects().remove_tree(&staged)?;
        }
        intent.settled();
        result.map(|()| Published::New)
    }

    /// Publishes an image and points names to it; the whole is finished by the recovery
    /// when the session dies in the middle, and undone when it fails.
    ///
    /// # Errors
    /// As [`Store::publish_image`] and [`Store::set_name`].
    pub fn publish_image_as(
        &self,
        session: &Session,
        record: &ImageRecord,
        names: &[Reference],
    ) -> Result<PublishedImage, ImageError> {
        // Nobody removes the image before it has its names.
        let _lock = self.lock_image(&record.id)?;
        let mut planned: Vec<PlannedName> = Vec::with_capacity(names.len());
        for name in names {
            let before = self.name(name)?;
            planned.push(PlannedName {
                name: name.clone(),
                before,
            });
        }
        let intent = session.note(&Intent::Image {
            id: record.id,
            names: planned.clone(),
        })?;
        let published = match self.publish_image_locked(session, record) {
            Ok(published) => published,
            Err(error) => {
                intent.settled();
                return Err(error);
            }
        };
        let mut moved = Vec::new();
        for (count, plan) in planned.iter().enumerate() {
            match self.set_name(session, &plan.name, &record.id) {
                Ok(before) => moved.extend(before.map(|before| (plan.name.clone(), before))),
                Err(error) => {
                    undo_names(self, session, planned.get(..count).unwrap_or_default())?;
                    if published == Published::New {
                        undo_image(self, session, &record.id)?;
                    }
                    intent.settled();
                    return Err(wrap(error));
                }
            }
        }
        intent.settled();
        Ok(PublishedImage { published, moved })
    }
}

fn wrap(error: NameError) -> ImageError {
    match error {
        NameError::Store(error) => ImageError::Store(error),
        error => ImageError::Name(Box::new(error)),
    }
}

/// Removes an image again, unless somebody has named it since.
fn undo_image(store: &Store, session: &Session, id: &ImageId) -> Result<(), ImageError> {
    match store.remove_image_locked(session, id) {
        Ok(_) | Err(ImageError::InUse { .. } | ImageError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

fn undo_names(store: &Store, session: &Session, done: &[PlannedName]) -> Result<(), ImageError> {
    for plan in done {
        match &plan.before {
            Some(before) => store.set_name(session, &plan.name, before).map_err(wrap)?,
            None => store.remove_name(session, &plan.name).map_err(wrap)?,
        };
    }
    Ok(())
}

fn check(record: &ImageRecord) -> Result<(), ImageError> {
    folder::check_names(record)?;
    let found = ImageId::of_bytes(&record.config);
    if found != record.id {
        return Err(ImageError::ConfigDigest {
            expected: record.id,
            found,
        });
    }
    Ok(())
}

/// Whether the image is there, with the same layers. A folder without a row is adopted, or
/// put out of the way where that cannot be.
fn find_or_adopt(
    store: &Store,
    session: &Session,
    record: &ImageRecord,
) -> Result<bool, ImageError> {
    let listed = store.index().read::<_, StoreError>("find image", |view| {
        Ok(if table::exists(view, &record.id)? {
            Some(table::layers(view, &record.id)?)
        } else {
            None
        })
    })?;
    if let Some(found) = listed {
        if found == record.layers {
            return Ok(true);
        }
        let expected = record.layers.clone();
        return Err(ImageError::OtherLayers {
            image: record.id,
            expected,
            found,
        });
    }
    let place = store.root().image(&record.id);
    if !is_there(&place)? {
        return Ok(false);
    }
    let adopted = match folder::read(&place, &record.id) {
        Ok(found) if found.layers == record.layers => adopt(store, &record.id),
        Ok(_) => Err(ImageError::NotFound { image: record.id }),
        Err(error) => Err(error.into()),
    };
    match adopted {
        Ok(()) => Ok(true),
        Err(ImageError::Store(error @ (StoreError::Index { .. } | StoreError::Busy { .. }))) => {
            Err(error.into())
        }
        Err(error) => {
            tracing::warn!(image = %record.id, %error, "replacing a leftover of this image");
            store
                .effects()
                .rename(&place, &session.fresh_path("leftover"))?;
            Ok(false)
        }
    }
}

/// Adds the row of an image folder that stands without one. Wants the image's lock held.
pub(crate) fn adopt(store: &Store, id: &ImageId) -> Result<(), ImageError> {
    let record = folder::read(&store.root().image(id), id)?;
    store
        .index()
        .write("adopt image", |view| table::insert(view, &record))
}
