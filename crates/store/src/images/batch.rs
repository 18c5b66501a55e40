//! Images on their way from staging into the store: all of them or none.
//!
//! One intent, synced, says what is to be published and named. From then on whoever finds the
//! session dead places what is not in its place yet and lists all in one transaction of the
//! index. What is no longer in staging has been placed once, and is not placed again. Undoing
//! begins with one rename, that of the folder in staging, after which nobody goes on.
//!
//! Everything here wants the locks of the plan's images and names held.

use std::path::{Path, PathBuf};

use crate::digest::ImageId;
use crate::effects::Effects;
use crate::error::{StoreError, is_there};
use crate::images::{ImageError, ImageRecord, folder, table};
use crate::intent::{PlannedImages, PlannedName};
use crate::names;
use crate::reference::Reference;
use crate::session::Session;
use crate::store::Store;

/// Up to so many files are forced to disk one by one. For more, all of the file system's are,
/// which is one step but waits for layer trees that nobody needs on disk yet.
const SYNCED_ALONE: usize = 256;

/// A plan with the session that carries it out.
pub(crate) struct Batch<'a> {
    pub(crate) store: &'a Store,
    pub(crate) session: &'a Session,
    pub(crate) plan: &'a PlannedImages,
}

impl Batch<'_> {
    /// The folder in staging.
    pub(crate) fn staging(&self) -> PathBuf {
        self.session.dir().join(&self.plan.folder)
    }

    pub(crate) fn staged_image(&self, id: &ImageId) -> PathBuf {
        staged_image(&self.staging(), id)
    }

    /// Where the folder in staging goes when the batch is undone.
    pub(crate) fn undone(&self) -> PathBuf {
        self.session
            .dir()
            .join(format!("undone-{}", self.plan.folder))
    }

    /// Whether undoing has begun.
    pub(crate) fn is_undone(&self) -> Result<bool, StoreError> {
        is_there(&self.undone())
    }

    /// Moves images from staging to where they belong.
    pub(crate) fn place_images<'i>(
        &self,
        ids: impl IntoIterator<Item = &'i ImageId>,
    ) -> Result<(), StoreError> {
        let (root, effects) = (self.store.root(), self.store.effects());
        let mut any = false;
        for id in ids {
            effects.rename(&self.staged_image(id), &root.image(id))?;
            any = true;
        }
        if any {
            effects.sync_dir(&root.images())?;
        }
        Ok(())
    }

    /// Moves the files of names from staging to where they belong.
    pub(crate) fn place_names<'n>(
        &self,
        plans: impl IntoIterator<Item = &'n PlannedName>,
    ) -> Result<(), StoreError> {
        let (root, effects) = (self.store.root(), self.store.effects());
        let folder = self.staging();
        let mut any = false;
        for plan in plans {
            effects.rename(&staged_name(&folder, &plan.name), &root.name(&plan.name))?;
            any = true;
        }
        if any {
            effects.sync_dir(&root.names())?;
        }
        Ok(())
    }

    /// Whether the file of a name is still in staging.
    pub(crate) fn has_staged_name(&self, plan: &PlannedName) -> Result<bool, StoreError> {
        is_there(&staged_name(&self.staging(), &plan.name))
    }

    /// Lists images and names in one transaction, which is the moment at which they appear.
    pub(crate) fn list<'n>(
        &self,
        records: &[&ImageRecord],
        plans: impl Iterator<Item = &'n PlannedName>,
    ) -> Result<(), ImageError> {
        self.store.index().write("publish images", |view| {
            table::insert_all(view, records)?;
            for plan in plans {
                names::insert(view, &plan.name, &plan.image)?;
            }
            Ok(())
        })
    }

    /// Takes everything back that nobody lists: images go back to staging, names to what they
    /// pointed to. An image that is listed, by whomever, stays, and so does a name whose row
    /// says what its file says.
    pub(crate) fn undo(&self) -> Result<(), StoreError> {
        let effects = self.store.effects();
        let undone = self.undone();
        if !is_there(&undone)? {
            let folder = self.staging();
            if is_there(&folder)? {
                effects.rename(&folder, &undone)?;
            } else {
                effects.make_dir(&undone)?;
            }
        }
        self.restore_names(&self.plan.names)?;
        let mut any = false;
        for id in &self.plan.images {
            let aside = staged_image(&undone, id);
            // With its own still in staging, the one in its place is somebody else's.
            if self.store.has_image(id)? || is_there(&aside)? {
                continue;
            }
            let place = self.store.root().image(id);
            if is_there(&place)? {
                effects.rename(&place, &aside)?;
                any = true;
            }
        }
        if any {
            effects.sync_dir(&self.store.root().images())?;
        }
        Ok(())
    }

    /// Gives names back what they pointed to where their files say otherwise and nothing but
    /// this batch made them.
    pub(crate) fn restore_names<'n>(
        &self,
        plans: impl IntoIterator<Item = &'n PlannedName>,
    ) -> Result<(), StoreError> {
        let root = self.store.root();
        let mut back: Vec<(&Reference, Option<ImageId>)> = Vec::new();
        for plan in plans {
            let listed = self.store.name(&plan.name)?;
            let file = match names::read(&root.name(&plan.name), &plan.name) {
                Err(StoreError::Damaged { .. }) => continue,
                other => other?,
            };
            if file != Some(plan.image) || listed == file {
                continue;
            }
            let before = match (listed, plan.before) {
                (None, Some(before)) if self.store.has_image(&before)? => Some(before),
                (listed, _) => listed,
            };
            back.push((&plan.name, before));
        }
        if back.is_empty() {
            return Ok(());
        }
        let drafts = self.session.fresh_path("names");
        let effects = self.store.effects();
        effects.make_dir(&drafts)?;
        for (name, before) in &back {
            if let Some(before) = before {
                names::write_draft(effects, &drafts.join(name_file(name)), name, before)?;
            }
        }
        sync(effects, &drafts, back.len())?;
        for (name, before) in &back {
            match before {
                Some(_) => effects.rename(&drafts.join(name_file(name)), &root.name(name))?,
                None => drop(effects.remove_file(&root.name(name))?),
            }
        }
        effects.sync_dir(&root.names())?;
        self.relist_names(&back)
    }

    /// Brings rows in line with the files: they differ where the index was lost meanwhile.
    fn relist_names(&self, back: &[(&Reference, Option<ImageId>)]) -> Result<(), StoreError> {
        let mut rows = Vec::new();
        for (name, image) in back {
            if self.store.name(name)? != *image {
                rows.push((name, image));
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        self.store.index().write("set names back", |view| {
            for (name, image) in rows {
                match image {
                    Some(image) => names::insert(view, name, image)?,
                    None => names::delete(view, name)?,
                }
            }
            Ok(())
        })
    }
}

pub(crate) fn staged_image(folder: &Path, id: &ImageId) -> PathBuf {
    folder.join(id.hex())
}

fn staged_name(folder: &Path, name: &Reference) -> PathBuf {
    folder.join("names").join(name_file(name))
}

fn name_file(name: &Reference) -> String {
    crate::Digest::of(name.to_string().as_bytes()).hex()
}

/// Writes images and files of names into a folder in staging and forces them to disk.
pub(crate) fn stage(
    effects: &Effects,
    folder: &Path,
    images: &[&ImageRecord],
    names: &[(&Reference, &ImageId)],
) -> Result<(), StoreError> {
    if images.is_empty() && names.is_empty() {
        return Ok(());
    }
    effects.ensure_dir(folder)?;
    let mut files = names.len();
    for record in images {
        files += folder::write(effects, &staged_image(folder, &record.id), record)?;
    }
    if !names.is_empty() {
        effects.ensure_dir(&folder.join("names"))?;
    }
    for (name, image) in names {
        names::write_draft(effects, &staged_name(folder, name), name, image)?;
    }
    sync(effects, folder, files)
}

/// Forces a folder in staging to disk.
fn sync(effects: &Effects, folder: &Path, files: usize) -> Result<(), StoreError> {
    if files <= SYNCED_ALONE {
        effects.sync_tree(folder)
    } else {
        effects.sync_fs(folder)
    }
}
