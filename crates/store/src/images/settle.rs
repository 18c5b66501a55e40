//! Recovery of images that a dead session was publishing: finished, or undone wholly.

use std::collections::BTreeSet;

use crate::digest::ImageId;
use crate::error::{StoreError, is_there};
use crate::images::batch::Batch;
use crate::images::{ImageError, ImageRecord, folder, remove};
use crate::intent::{PlannedImages, PlannedName};
use crate::names;
use crate::session::Session;
use crate::store::Store;

/// Acts on the plan of a dead session. Takes the locks it needs.
pub(crate) fn settle(
    store: &Store,
    session: &Session,
    plan: &PlannedImages,
) -> Result<(), StoreError> {
    let named = plan.names.iter().map(|plan| &plan.image);
    let images = plan.images.iter().chain(&plan.adopted).chain(named);
    let _images = store.lock_images(images)?;
    let _names = store.lock_names(plan.names.iter().map(|plan| &plan.name))?;
    let batch = Batch {
        store,
        session,
        plan,
    };
    let Some(found) = find(&batch)? else {
        return batch.undo();
    };
    match finish(&batch, &found) {
        // A layer or a member has gone: one image cannot be, so none is.
        Err(ImageError::MissingLayers { .. } | ImageError::MissingMembers { .. }) => batch.undo(),
        Err(ImageError::Store(error)) => Err(error),
        Err(error) => Err(StoreError::Damaged {
            path: batch.staging(),
            reason: error.to_string(),
        }),
        Ok(()) => Ok(()),
    }
}

/// The images of a batch that are not listed and can be.
#[derive(Default)]
struct Found {
    records: Vec<ImageRecord>,
    /// Those that are still in staging.
    staged: Vec<ImageId>,
}

/// Looks where the images are. `None` when the batch is to be undone: somebody had begun to,
/// or an image is not whole.
fn find(batch: &Batch<'_>) -> Result<Option<Found>, StoreError> {
    if batch.is_undone()? {
        return Ok(None);
    }
    let mut found = Found::default();
    for id in batch.plan.images.iter().chain(&batch.plan.adopted) {
        if batch.store.has_image(id)? {
            continue;
        }
        let (place, staged) = (batch.store.root().image(id), batch.staged_image(id));
        if let Some(record) = folder::read_if_whole(&place, id)? {
            found.records.push(record);
        } else if is_there(&staged)? {
            let Some(record) = folder::read_if_whole(&staged, id)? else {
                return Ok(None);
            };
            // What stands in its place is not whole.
            remove::discard(batch.store, batch.session, id)?;
            found.records.push(record);
            found.staged.push(*id);
        } else if is_there(&place)? && batch.plan.images.contains(id) {
            return Ok(None);
        }
        // Else somebody took it over and removed it since.
    }
    Ok(Some(found))
}

fn finish(batch: &Batch<'_>, found: &Found) -> Result<(), ImageError> {
    let names = sort_names(batch, found)?;
    batch.place_images(&found.staged)?;
    batch.place_names(names.to_place.iter().copied())?;
    batch.restore_names(names.dangling.iter().copied())?;
    let records: Vec<&ImageRecord> = found.records.iter().collect();
    let ours = names.in_place.iter().chain(&names.to_place).copied();
    batch.list(&records, ours)
}

/// What is to be done about the names of a batch. Those that have moved since are left alone.
#[derive(Default)]
struct Names<'a> {
    /// Their files say what was planned.
    in_place: Vec<&'a PlannedName>,
    /// Their files say what they said before.
    to_place: Vec<&'a PlannedName>,
    /// Their files say what was planned, but the image is gone.
    dangling: Vec<&'a PlannedName>,
}

fn sort_names<'a>(batch: &Batch<'a>, found: &Found) -> Result<Names<'a>, StoreError> {
    let coming: BTreeSet<&ImageId> = found.records.iter().map(|record| &record.id).collect();
    let mut names = Names::default();
    for plan in &batch.plan.names {
        let file = match names::read(&batch.store.root().name(&plan.name), &plan.name) {
            // Healed by being written anew, as was planned.
            Err(StoreError::Damaged { .. }) => plan.before,
            other => other?,
        };
        let there = coming.contains(&plan.image) || batch.store.has_image(&plan.image)?;
        if file == Some(plan.image) {
            if there {
                names.in_place.push(plan);
            } else {
                names.dangling.push(plan);
            }
        } else if there && file == plan.before && batch.has_staged_name(plan)? {
            names.to_place.push(plan);
        }
    }
    Ok(names)
}
