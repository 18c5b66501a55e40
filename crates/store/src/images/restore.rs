//! Images that are listed and whose folders are damaged, written anew by whoever has them.

use std::collections::{BTreeMap, BTreeSet};

use crate::digest::ImageId;
use crate::error::is_there;
use crate::images::{ImageError, ImageRecord, batch, folder, table};
use crate::session::Session;
use crate::store::Store;

/// Puts the folders of those images in order that are listed, which are all but the `lacking`
/// ones. Wants their locks held.
///
/// A death in between leaves an image damaged, as it was, for the next time.
pub(crate) fn damaged(
    store: &Store,
    session: &Session,
    records: &BTreeMap<ImageId, &ImageRecord>,
    lacking: &BTreeSet<ImageId>,
) -> Result<(), ImageError> {
    let mut damaged = Vec::new();
    for (id, record) in records.iter().filter(|(id, _)| !lacking.contains(id)) {
        let found = folder::read_if_whole(&store.root().image(id), id)?;
        if found.is_none_or(|found| found.layers != record.layers) {
            damaged.push(*record);
        }
    }
    if damaged.is_empty() {
        return Ok(());
    }
    let staging = session.fresh_path("restored");
    let effects = store.effects();
    batch::stage(effects, &staging, &damaged, &[])?;
    for record in &damaged {
        tracing::warn!(image = %record.id, "it was damaged and is written anew");
        let place = store.root().image(&record.id);
        if is_there(&place)? {
            effects.rename(&place, &session.fresh_path("damaged"))?;
        }
        effects.rename(&batch::staged_image(&staging, &record.id), &place)?;
    }
    effects.sync_dir(&store.root().images())?;
    // The documents beside the config may be others than before.
    store.index().write("restore images", |view| {
        for record in damaged {
            table::delete(view, &record.id)?;
            table::insert(view, record)?;
        }
        Ok(())
    })
}
