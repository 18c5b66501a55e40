//! Images that are listed and whose folders are damaged, or lack what somebody has brought now,
//! written anew.

use crate::digest::ImageId;
use crate::error::{StoreError, is_there};
use crate::images::{ImageError, ImageRecord, batch, folder, table};
use crate::intent::Intent;
use crate::session::Session;
use crate::store::Store;

/// Writes the folders anew of those images that are damaged; returns those that lack what these
/// records have, as they are to be. Wants their locks held.
///
/// A death in between leaves an image damaged, as it was, for the next time.
pub(crate) fn damaged(
    store: &Store,
    session: &Session,
    listed: &[&ImageRecord],
) -> Result<Vec<ImageRecord>, ImageError> {
    let (mut damaged, mut behind) = (Vec::new(), Vec::new());
    for record in listed {
        match folder::read_if_whole(&store.root().image(&record.id), &record.id)? {
            Some(found) if found.layers == record.layers => {
                behind.extend(beyond(found, record));
            }
            _ => damaged.push(*record),
        }
    }
    if !damaged.is_empty() {
        replace(store, session, &damaged)?;
    }
    Ok(behind)
}

/// Gives images what they lack. Wants their locks held, and members there.
///
/// The rows come first: they may name members that a folder lacks, which keeps these a little
/// longer than needed, and never the other way round. A death in between leaves each image as it
/// was or as it is to be.
pub(crate) fn complete(
    store: &Store,
    session: &Session,
    behind: &[ImageRecord],
) -> Result<(), ImageError> {
    if behind.is_empty() {
        return Ok(());
    }
    let behind: Vec<&ImageRecord> = behind.iter().collect();
    let staging = session.fresh_path("completed");
    let effects = store.effects();
    batch::stage(effects, &staging, &behind, &[])?;
    let images = behind.iter().map(|record| record.id).collect();
    let intent = session.intend(&Intent::CompleteImages { images })?;
    relist(store, &behind)?;
    for record in behind {
        let staged = batch::staged_image(&staging, &record.id);
        effects.exchange(&staged, &store.root().image(&record.id))?;
    }
    effects.sync_dir(&store.root().images())?;
    intent.settled();
    effects.remove_tree(&staging)?;
    Ok(())
}

/// Brings the row of an image in line with its folder.
pub(crate) fn reindex(store: &Store, id: &ImageId) -> Result<(), StoreError> {
    let _lock = store.lock_image(id)?;
    if !store.has_image(id)? {
        return Ok(());
    }
    let record = folder::read(&store.root().image(id), id)?;
    match relist(store, &[&record]) {
        Err(ImageError::Store(error)) => Err(error),
        Err(error) => Err(StoreError::Damaged {
            path: store.root().image(id),
            reason: error.to_string(),
        }),
        Ok(()) => Ok(()),
    }
}

/// What was found, with what the record of the same image has beyond it: the manifest, members of
/// an index. None when that is nothing.
pub(crate) fn beyond(found: ImageRecord, record: &ImageRecord) -> Option<ImageRecord> {
    let has = |wanted: &_| found.members().contains(wanted);
    let manifest = found.manifest.is_none() && record.manifest.is_some();
    if !manifest && record.members().iter().all(has) {
        return None;
    }
    let mut merged = found;
    merged.manifest = merged.manifest.or_else(|| record.manifest.clone());
    for (name, content) in &record.extra {
        merged
            .extra
            .entry(name.clone())
            .or_insert_with(|| content.clone());
    }
    if let Some(index) = &mut merged.index {
        for member in record.members() {
            if !index.members.contains(member) {
                index.members.push(member.clone());
            }
        }
    }
    Some(merged)
}

/// Writes damaged images anew.
fn replace(store: &Store, session: &Session, damaged: &[&ImageRecord]) -> Result<(), ImageError> {
    let staging = session.fresh_path("restored");
    let effects = store.effects();
    batch::stage(effects, &staging, damaged, &[])?;
    for record in damaged {
        tracing::warn!(image = %record.id, "it was damaged and is written anew");
        let place = store.root().image(&record.id);
        if is_there(&place)? {
            effects.rename(&place, &session.fresh_path("damaged"))?;
        }
        effects.rename(&batch::staged_image(&staging, &record.id), &place)?;
    }
    effects.sync_dir(&store.root().images())?;
    // The documents beside the config may be others than before.
    relist(store, damaged)
}

fn relist(store: &Store, records: &[&ImageRecord]) -> Result<(), ImageError> {
    store.index().write("restore images", |view| {
        for record in records {
            table::delete(view, &record.id)?;
        }
        table::insert_all(view, records)
    })
}
