//! The folders are the truth: bringing the index in line with them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::digest::{ImageId, LayerId};
use crate::effects::{Effect, Effects};
use crate::error::{IoContext, StoreError};
use crate::images::pending::Pending;
use crate::images::{self, ImageError, ImageRecord};
use crate::index::{self, View, column, schema};
use crate::layers::{KEEP, LayerRecord, table};
use crate::names;
use crate::reference::Reference;
use crate::root::Root;

/// What was found when index and folders were compared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RebuildReport {
    /// Layers that were listed anew.
    pub layers: usize,
    /// Images that were listed anew.
    pub images: usize,
    /// Names that were listed anew or point elsewhere now.
    pub names: usize,
    /// Layers, images and names that were listed and are no longer.
    pub unlisted: usize,
    /// What is there and cannot be listed.
    pub problems: Vec<Problem>,
}

/// Something in the folders that cannot be listed. It is left as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub path: PathBuf,
    /// Why not.
    pub reason: String,
}

impl RebuildReport {
    pub(crate) fn trace(&self) {
        for Problem { path, reason } in &self.problems {
            tracing::warn!(path = %path.display(), %reason, "cannot be listed");
        }
    }

    fn problem(&mut self, path: &Path, reason: &dyn std::fmt::Display) {
        self.problems.push(Problem {
            path: path.to_owned(),
            reason: reason.to_string(),
        });
    }
}

/// Makes a new index from the folders and puts it in place of what is there. Nobody else
/// may use the store.
pub(crate) fn replace_index(root: &Root, effects: &Effects) -> Result<RebuildReport, StoreError> {
    for folder in root.folders() {
        effects.ensure_dir(&folder)?;
    }
    let place = root.index();
    let fresh = beside(&place, ".new");
    let old = beside(&place, ".old");
    for stale in [&fresh, &old] {
        effects.remove_file(stale)?;
        remove_log(effects, stale)?;
    }
    effects.write_new(&fresh, b"")?;
    let report = fill(root, effects, &fresh)?;
    remove_log(effects, &fresh)?;
    effects.sync_file(&fresh)?;
    // From here to the last rename there is no index: whoever opens then, rebuilds.
    if place.symlink_metadata().is_ok() {
        effects.rename(&place, &old)?;
    }
    remove_log(effects, &place)?;
    effects.rename(&fresh, &place)?;
    effects.sync_dir(root.path())?;
    effects.remove_file(&old)?;
    report.trace();
    Ok(report)
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Removes the files that SQLite keeps beside a closed index: they must not be taken for
/// those of another one in its place.
fn remove_log(effects: &Effects, index: &Path) -> Result<(), StoreError> {
    effects.remove_file(&beside(index, "-wal"))?;
    effects.remove_file(&beside(index, "-shm"))?;
    Ok(())
}

fn fill(root: &Root, effects: &Effects, path: &Path) -> Result<RebuildReport, StoreError> {
    let wrong = |source| StoreError::index("make", path, source);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(wrong)?;
    index::tune(&mut connection).map_err(wrong)?;
    schema::create(&mut connection).map_err(wrong)?;
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(wrong)?;
    let view = View { transaction, path };
    let report = reconcile(root, &view)?;
    let empty = report.layers == 0 && report.problems.is_empty();
    crate::boot::note_new_index(&view, empty)?;
    effects
        .announce(&Effect::Commit("rebuild index"))
        .at("rebuild", path)?;
    view.commit().map_err(wrong)?;
    connection.close().map_err(|(_, source)| wrong(source))?;
    Ok(report)
}

/// Lists what stands in the folders and is not listed; unlists what is not there.
pub(crate) fn reconcile(root: &Root, view: &View<'_>) -> Result<RebuildReport, StoreError> {
    let mut report = RebuildReport::default();
    let layers = entries(&root.layers(), &mut report)?;
    let images = entries(&root.images(), &mut report)?;
    // After the folders: what a living session has just put there, or takes away, is in here.
    let pending = Pending::read(root)?;
    reconcile_layers((root, view), &layers, &pending, &mut report)?;
    reconcile_images((root, view), images, &pending, &mut report)?;
    reconcile_names(root, view, &pending, &mut report)?;
    Ok(report)
}

/// The entries of a folder that are named by an ID; others are problems.
fn entries<T: FromStr + Ord>(
    folder: &Path,
    report: &mut RebuildReport,
) -> Result<BTreeSet<T>, StoreError> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).at("read folder", folder)? {
        let entry = entry.at("read folder", folder)?;
        match entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        {
            Some(id) => drop(found.insert(id)),
            None => report.problem(&entry.path(), &"its name is not an ID"),
        }
    }
    Ok(found)
}

fn reconcile_layers(
    (root, view): (&Root, &View<'_>),
    there: &BTreeSet<LayerId>,
    pending: &Pending,
    report: &mut RebuildReport,
) -> Result<(), StoreError> {
    let at_work = &pending.at_work.layers;
    let listed: Vec<(LayerId, Option<LayerId>, String)> = view.all(
        "list layers",
        "SELECT id, parent, cache FROM layers ORDER BY num",
        [],
        |row| Ok((column(row, 0)?, index::column_opt(row, 1)?, row.get(2)?)),
    )?;
    // With the driver's IDs of their trees.
    let mut standing: BTreeMap<LayerId, String> = BTreeMap::new();
    let mut waiting: BTreeMap<LayerId, Vec<LayerRecord>> = BTreeMap::new();
    let mut ready: Vec<LayerRecord> = Vec::new();
    // Parents come before their children: a layer whose parent went, goes.
    for (id, parent, cache) in listed {
        if there.contains(&id) && parent.is_none_or(|parent| standing.contains_key(&parent)) {
            standing.insert(id, cache);
            continue;
        }
        unlist_layer(view, &id)?;
        report.unlisted += 1;
    }
    let unlisted = there
        .iter()
        .filter(|id| !standing.contains_key(id) && !at_work.contains(id));
    for id in unlisted {
        match LayerRecord::read(&root.layer(id), id) {
            Err(error) => report.problem(&root.layer(id), &error),
            Ok(record) => match record.parent {
                Some(parent) if !standing.contains_key(&parent) => {
                    waiting.entry(parent).or_default().push(record);
                }
                _ => ready.push(record),
            },
        }
    }
    while let Some(record) = ready.pop() {
        let below = record.parent.and_then(|parent| standing.get(&parent));
        if !record.stands_on(below.map(String::as_str)) {
            let reason = "its tree was made over another tree of its parent";
            report.problem(&root.layer(&record.id), &reason);
            continue;
        }
        let kept = root.layer(&record.id).join(KEEP).symlink_metadata().is_ok();
        table::insert(view, &record, kept)?;
        report.layers += 1;
        ready.extend(waiting.remove(&record.id).unwrap_or_default());
        standing.insert(record.id, record.cache);
    }
    for (parent, orphans) in waiting {
        for record in orphans {
            if at_work.contains(&parent) {
                continue;
            }
            report.problem(
                &root.layer(&record.id),
                &format!("its parent {parent} is missing"),
            );
        }
    }
    Ok(())
}

/// Removes the row of a layer, and those of images that have it.
fn unlist_layer(view: &View<'_>, id: &LayerId) -> Result<(), StoreError> {
    let sql = "SELECT DISTINCT i.id FROM layers l
               JOIN image_layers p ON p.layer = l.num JOIN images i ON i.num = p.image
               WHERE l.id = ?1";
    let images: Vec<ImageId> = view.all("find images", sql, [id.hex()], |row| column(row, 0))?;
    for image in images {
        images::table::delete(view, &image)?;
    }
    table::delete(view, id)
}

fn reconcile_images(
    (root, view): (&Root, &View<'_>),
    there: BTreeSet<HexImage>,
    pending: &Pending,
    report: &mut RebuildReport,
) -> Result<(), StoreError> {
    let mut listed: BTreeSet<ImageId> = BTreeSet::new();
    let rows: Vec<ImageId> = view.all("list images", "SELECT id FROM images", [], |row| {
        column(row, 0)
    })?;
    for id in rows {
        if there.contains(&HexImage(id)) {
            listed.insert(id);
        } else {
            images::table::delete(view, &id)?;
            report.unlisted += 1;
        }
    }
    // Members before the indexes that have them.
    let mut indexes = Vec::new();
    for HexImage(id) in there
        .into_iter()
        .filter(|HexImage(id)| !listed.contains(id))
        .filter(|HexImage(id)| !pending.images.contains(id))
        .filter(|HexImage(id)| !pending.at_work.images.contains(id))
    {
        match images::folder::read(&root.image(&id), &id) {
            Ok(record) if record.index.is_some() => indexes.push(record),
            Ok(record) => list_image(root, view, &record, report)?,
            Err(error) => report.problem(&root.image(&id), &error),
        }
    }
    for (index, member) in images::members::unlist_incomplete(view)? {
        report.unlisted += 1;
        let reason = format!("its image {member} is not here");
        report.problem(&root.image(&index), &reason);
    }
    for record in &indexes {
        list_image(root, view, record, report)?;
    }
    Ok(())
}

fn list_image(
    root: &Root,
    view: &View<'_>,
    record: &ImageRecord,
    report: &mut RebuildReport,
) -> Result<(), StoreError> {
    match images::table::insert(view, record) {
        Ok(()) => report.images += 1,
        Err(ImageError::Store(
            error @ (StoreError::Index { .. }
            | StoreError::Busy { .. }
            | StoreError::IndexDamaged { .. }),
        )) => return Err(error),
        Err(error) => report.problem(&root.image(&record.id), &error),
    }
    Ok(())
}

/// An image's folder is named by the hex digits alone.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct HexImage(ImageId);

impl FromStr for HexImage {
    type Err = crate::ParseDigestError;

    fn from_str(text: &str) -> Result<HexImage, Self::Err> {
        ImageId::from_hex(text).map(HexImage)
    }
}

fn reconcile_names(
    root: &Root,
    view: &View<'_>,
    pending: &Pending,
    report: &mut RebuildReport,
) -> Result<(), StoreError> {
    let folder = root.names();
    let mut listed: BTreeMap<Reference, ImageId> = view
        .all("list names", "SELECT name, image FROM names", [], |row| {
            Ok((names::column(row, 0)?, column(row, 1)?))
        })?
        .into_iter()
        .collect();
    for entry in fs::read_dir(&folder).at("read folder", &folder)? {
        let path = entry.at("read folder", &folder)?.path();
        let (name, image) = match names::read_any(&path) {
            Ok(Some(found)) => found,
            Ok(None) => continue,
            Err(error) => {
                report.problem(&path, &error);
                continue;
            }
        };
        if let Some(plan) = pending.of_name(&name, &image) {
            if listed.remove(&name).is_none()
                && let Some(before) = plan.before
                && images::table::exists(view, &before)?
            {
                names::insert(view, &name, &before)?;
                report.names += 1;
            }
            continue;
        }
        if !images::table::exists(view, &image)? {
            report.problem(
                &path,
                &format!("name {name} points to {image}, which is not here"),
            );
            continue;
        }
        if listed.remove(&name) != Some(image) {
            names::insert(view, &name, &image)?;
            report.names += 1;
        }
    }
    for name in listed.keys() {
        names::delete(view, name)?;
        report.unlisted += 1;
    }
    Ok(())
}
