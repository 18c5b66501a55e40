//! Publishing images: their folders appear in a rename each, then all rows and names at once.

use crate::digest::ImageId;
use crate::images::batch::Batch;
use crate::images::request::{Request, Wanted};
use crate::images::{ImageError, ImageRecord, restore};
use crate::intent::{Intent, PlannedImages, PlannedName};
use crate::layers::Published;
use crate::reference::Reference;
use crate::session::Session;
use crate::store::Store;

/// An image to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewImage {
    /// The image.
    pub record: ImageRecord,
    /// The names it gets.
    pub names: Vec<Reference>,
}

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
    /// An image that is there gets the manifest and the members that it lacked, and is written
    /// anew where its folder is damaged.
    ///
    /// # Errors
    /// [`ImageError::MissingLayers`], [`ImageError::ConfigDigest`],
    /// [`ImageError::OtherLayers`]; on any error nothing is visible.
    pub fn publish_image(
        &self,
        session: &Session,
        record: &ImageRecord,
    ) -> Result<Published, ImageError> {
        Ok(self.publish_image_as(session, record, &[])?.published)
    }

    /// Publishes an image and points names to it: [`Store::publish_images`] of one.
    ///
    /// # Errors
    /// As [`Store::publish_images`].
    pub fn publish_image_as(
        &self,
        session: &Session,
        record: &ImageRecord,
        names: &[Reference],
    ) -> Result<PublishedImage, ImageError> {
        let done = publish(self, session, vec![Wanted { record, names }])?;
        Ok(done.into_iter().next().unwrap_or(PublishedImage {
            published: Published::AlreadyThere,
            moved: Vec::new(),
        }))
    }

    /// Publishes images and points names to them, all or nothing: when the session dies in the
    /// middle, its recovery finishes the whole, or undoes it where a layer has gone since; when
    /// something fails, nothing has changed. Says of each in turn what was done.
    ///
    /// An image that is there gets its names, and the manifest and the members that it lacked; it
    /// is written anew where its folder is damaged. One that is given twice is
    /// published once. Of two that give the same name the later gets it.
    ///
    /// Everything is on disk when this returns, save for the index, which the first open after
    /// a boot compares with the folders.
    ///
    /// # Errors
    /// [`ImageError::MissingLayers`], [`ImageError::ConfigDigest`], [`ImageError::OtherLayers`],
    /// [`ImageError::MissingMembers`], [`ImageError::NoIndex`], [`ImageError::FileName`] and
    /// [`ImageError::Name`] say what of which image is wrong. When what an image lacked cannot be
    /// added, all else has been published.
    pub fn publish_images(
        &self,
        session: &Session,
        images: &[NewImage],
    ) -> Result<Vec<PublishedImage>, ImageError> {
        let wanted = images.iter().map(|image| Wanted {
            record: &image.record,
            names: &image.names,
        });
        publish(self, session, wanted.collect())
    }
}

fn publish(
    store: &Store,
    session: &Session,
    wanted: Vec<Wanted<'_>>,
) -> Result<Vec<PublishedImage>, ImageError> {
    let request = Request::new(store, session, wanted)?;
    // Writing takes time: it comes before the locks.
    let prepared = request.stage_lacking().and_then(|()| {
        let images = store.lock_images(request.images())?;
        let names = store.lock_names(request.names())?;
        Ok((request.plan()?, images, names))
    });
    let (planned, _image_locks, _name_locks) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            discard(store, &request.folder);
            return Err(error);
        }
    };
    let plan = &planned.plan;
    if plan.images.is_empty() && plan.adopted.is_empty() && plan.names.is_empty() {
        discard(store, &request.folder);
    } else {
        let records: Vec<&ImageRecord> = planned.records.iter().map(|record| &**record).collect();
        carry_out(store, session, plan, &records)?;
    }
    restore::complete(store, session, &planned.behind)?;
    Ok(planned.done)
}

/// Publishes what is staged. What fails is undone; where that fails too, the intent stays,
/// and the recovery of the session sees to it.
fn carry_out(
    store: &Store,
    session: &Session,
    plan: &PlannedImages,
    records: &[&ImageRecord],
) -> Result<(), ImageError> {
    let batch = Batch {
        store,
        session,
        plan,
    };
    let intent = match session.intend(&Intent::Images(plan.clone())) {
        Ok(intent) => intent,
        Err(error) => {
            // It may have appeared before it failed: then nobody is to follow it.
            if let Err(error) = batch.undo() {
                tracing::warn!(%error, "left to the next recovery");
            }
            return Err(error.into());
        }
    };
    let run = || {
        batch.place_images(&plan.images)?;
        let moving = |name: &&PlannedName| name.before != Some(name.image);
        batch.place_names(plan.names.iter().filter(moving))?;
        batch.list(records, plan.names.iter())
    };
    let Err(error) = run() else {
        intent.settled();
        discard(store, &batch.staging());
        return Ok(());
    };
    match batch.undo() {
        Ok(()) => {
            intent.settled();
            // Else a power failure could bring the intent back, and with it what failed.
            if let Err(error) = store.effects().sync_dir(session.dir()) {
                tracing::warn!(%error, "cannot sync");
            }
            discard(store, &batch.undone());
        }
        Err(error) => tracing::warn!(%error, "cannot undo now; left to the next recovery"),
    }
    Err(error)
}

/// Removes a folder of this session that nobody needs: what stays goes when the session ends.
fn discard(store: &Store, folder: &std::path::Path) {
    if let Err(error) = store.effects().remove_tree(folder) {
        tracing::warn!(folder = %folder.display(), %error, "stays until the session ends");
    }
}
