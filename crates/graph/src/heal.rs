//! What a new registration makes of the remains of an old one.

use std::fs;
use std::path::Path;

use lith_drivers::CacheId;
use lith_store::{Intent, LayerLock, LayerRecord, Session};

use crate::damage::NOTE;
use crate::register::expect_diff_id;
use crate::stage::Applied;
use crate::{Descriptor, Graph, GraphError, RegisterError, Registered, StagedLayer, record};

/// What is noted of a layer for as long as it is made anew.
const MADE_ANEW: &[u8] = b"it was being made anew\n";

impl Graph {
    /// Makes a layer anew whose files the driver lost, or that was found to be damaged, under the
    /// same cache ID, so that whatever stands on it goes on to find it.
    ///
    /// The note of the damage stands first, then the record is replaced, the tree appears in one
    /// step, is waited for, and the note goes last: a kill leaves the layer damaged as it was, or whole,
    /// and after a crash of the machine it is doubted. Waited for, because the layer's row may say that
    /// the tree is on disk, and whoever is in the middle of a [sync](Graph::sync_layers) may be about to.
    pub(crate) fn heal(
        &self,
        _lock: &LayerLock,
        session: &Session,
        (descriptor, staged, applied): (&Descriptor, &StagedLayer, Applied),
        damaged: &LayerRecord,
    ) -> Result<Registered, RegisterError> {
        expect_diff_id(damaged.diff_id, staged)?;
        self.store().retain(session, &[damaged.id])?;
        let cache = crate::read::cache_id(damaged)?;
        let parent = self.parent_cache(damaged)?;
        if applied.has_record != damaged.has_record {
            let what = |has| if has { "a record" } else { "no record" };
            let reason = format!(
                "it has {}, but its driver now makes {}",
                what(damaged.has_record),
                what(applied.has_record)
            );
            let layer = damaged.id;
            return Err(GraphError::Corrupt { layer, reason }.into());
        }
        let folder = self.store().root().layer(&damaged.id);
        let there = folder.symlink_metadata().is_ok();
        if there && !self.has_note(&damaged.id) {
            let effects = self.store().effects();
            effects.write_synced(&folder.join(NOTE), MADE_ANEW)?;
            effects.sync_dir(&folder)?;
        }
        // Refused where it is mounted.
        self.driver().remove(&cache)?;
        if !there {
            self.place_folder(descriptor, staged, damaged)?;
        } else if applied.has_record {
            self.replace_record(&staged.folder, damaged)?;
        }
        applied.draft.commit(&cache, parent.as_ref())?;
        self.driver().sync()?;
        let tree = (damaged.id, damaged.cache.clone());
        self.store().mark_synced(&[tree])?;
        self.store().effects().remove_file(&folder.join(NOTE))?;
        tracing::info!(layer = %damaged.id, "it was damaged and is whole again");
        Ok(Registered::of(damaged, true))
    }

    /// Puts a folder in the place of that of a listed layer, which is gone.
    fn place_folder(
        &self,
        descriptor: &Descriptor,
        staged: &StagedLayer,
        layer: &LayerRecord,
    ) -> Result<(), RegisterError> {
        let effects = self.store().effects();
        effects.write_new(&staged.folder.join(NOTE), MADE_ANEW)?;
        let description = staged.folder.join(LayerRecord::FILE);
        let text = layer.to_json();
        let text = text.map_err(RegisterError::io("describe", &description))?;
        effects.write_new(&description, &text)?;
        if let Some(json) = &descriptor.json {
            effects.write_new(&record::json_path(&staged.folder), json)?;
        }
        effects.sync_tree(&staged.folder)?;
        effects.rename(&staged.folder, &self.store().root().layer(&layer.id))?;
        effects.sync_dir(&self.store().root().layers())?;
        Ok(())
    }

    /// The driver's ID of the layer below.
    pub(crate) fn parent_cache(&self, layer: &LayerRecord) -> Result<Option<CacheId>, GraphError> {
        let Some(parent) = layer.parent else {
            return Ok(None);
        };
        let parent = self.listed(&parent)?.ok_or_else(|| GraphError::Corrupt {
            layer: layer.id,
            reason: format!("its parent {parent} is missing"),
        })?;
        crate::read::cache_id(&parent).map(Some)
    }

    /// Puts the record of a staged layer in the place of the one that is there, which may be
    /// damaged too. Whoever reads it now finds no files to go with it.
    fn replace_record(&self, staged: &Path, layer: &LayerRecord) -> Result<(), RegisterError> {
        let effects = self.store().effects();
        let folder = self.store().root().layer(&layer.id);
        effects.sync_tree(staged)?;
        let old = record::kept_path(&folder);
        if old.symlink_metadata().is_ok() {
            effects.rename(&old, &staged.join("old"))?;
        }
        let new = record::kept_path(staged);
        if new.symlink_metadata().is_ok() {
            effects.rename(&new, &old)?;
        }
        effects.rename(&record::record_path(staged), &record::record_path(&folder))?;
        // One in the old form is not looked at where there is the other.
        effects.remove_file(&record::text_record_path(&folder))?;
        effects.sync_dir(&folder)?;
        Ok(())
    }

    /// Puts the folder of a layer aside that is not listed and cannot be: its files are gone, or
    /// were made over other ones than its parent has now. The store would adopt it as a layer
    /// that is whole. Only who holds the layer's lock may look.
    pub(crate) fn put_leftover_aside(
        &self,
        lock: &LayerLock,
        session: &Session,
        parent: Option<&CacheId>,
    ) -> Result<(), GraphError> {
        let place = self.store().root().layer(lock.id());
        if place.symlink_metadata().is_err() {
            return Ok(());
        }
        let Ok(leftover) = LayerRecord::read(&place, lock.id()) else {
            return self.put_aside(&place, session);
        };
        let stands = leftover.stands_on(parent.map(CacheId::as_str));
        if stands && self.has_tree(&leftover)? {
            return Ok(());
        }
        let cache = leftover.cache;
        let intent = session.intend(&Intent::Layer {
            id: *lock.id(),
            cache: cache.clone(),
        })?;
        self.put_aside(&place, session)?;
        if self.store().layers_by_cache(&cache)?.is_empty() {
            self.remove_tree(&cache)?;
        }
        Ok(intent.done()?)
    }

    /// Removes the folder of a layer that is not listed and was never complete: it has no
    /// description. False when it has one, damaged or not.
    pub(crate) fn sweep_folder(
        &self,
        lock: &LayerLock,
        session: &Session,
    ) -> Result<bool, GraphError> {
        let place = self.store().root().layer(lock.id());
        if place.join(LayerRecord::FILE).symlink_metadata().is_ok() {
            return Ok(false);
        }
        self.put_aside(&place, session)?;
        Ok(true)
    }

    /// Removes a folder from among those of the layers, in one step.
    fn put_aside(&self, place: &Path, session: &Session) -> Result<(), GraphError> {
        let aside = session.scratch("leftover")?;
        let effects = self.store().effects();
        effects.rename(place, &aside.join("layer"))?;
        effects.sync_dir(&self.store().root().layers())?;
        // The session's end removes it too; sooner gives back the space at once.
        let _ = fs::remove_dir_all(aside);
        Ok(())
    }
}
