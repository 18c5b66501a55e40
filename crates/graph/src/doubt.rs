//! Layers that may have lost files in a crash of the machine are read once before their files are used.
//!
//! In doubt is what was published in another boot and is not known to be on disk (see
//! [`Graph::sync_layers`]). Nothing else pays. What is read is checked as for a save, every file and the
//! whole; nothing is changed but the marks, so that no lock is needed and a kill costs nothing.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;

use lith_drivers::{CacheId, Change, ChangeKind, LayerFiles, TreeFiles};
use lith_store::{LayerId, LayerRecord};

use crate::damage::{self, NOTE};
use crate::stream::chain;
use crate::{Damage, Graph, GraphError, record};

impl Graph {
    /// Reads those of the layer and all below it that are in doubt. Whoever uses the files of a layer
    /// without reading its [stream](Graph::tar_layer) asks first. Nothing but the marks is changed.
    ///
    /// # Errors
    /// [`GraphError::LostInCrash`].
    pub(crate) fn prove(&self, id: &LayerId) -> Result<(), GraphError> {
        if !self.has_doubts()? {
            return Ok(());
        }
        for layer in self.store().layer_chain(id)? {
            self.prove_one(&layer)?;
        }
        Ok(())
    }

    /// Whether the layer is [whole](Graph::is_whole); reads it to find out where it is in doubt. Takes
    /// locks of layers.
    pub(crate) fn proves_whole(&self, layer: &LayerRecord) -> Result<bool, GraphError> {
        if !layer.is_doubtful() {
            return self.is_whole(layer);
        }
        let proven = match self.driver().info().copies_parents {
            true => self.prove(&layer.id),
            false => self.prove_one(layer),
        };
        match proven {
            Ok(()) => match self.listed(&layer.id)? {
                Some(layer) => self.is_whole(&layer),
                None => Ok(false),
            },
            // What is not there and what is not right are both to be made anew.
            Err(error) if error.is_damage() => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn prove_one(&self, layer: &LayerRecord) -> Result<(), GraphError> {
        if !layer.is_doubtful() {
            return Ok(());
        }
        tracing::info!(layer = %layer.id, "it may have lost files in a crash: reading it");
        let proven = self.read_through(layer).and_then(|()| match layer.parent {
            Some(_) if self.driver().info().copies_parents => self.compare_copies(layer),
            _ => Ok(()),
        });
        match proven {
            Ok(()) => self.believe(layer),
            Err(GraphError::Corrupt { layer, reason }) => {
                Err(GraphError::LostInCrash { layer, reason })
            }
            Err(error) => Err(error),
        }
    }

    /// Reads the layer's stream, which checks every file and the whole.
    fn read_through(&self, layer: &LayerRecord) -> Result<(), GraphError> {
        let mut stream = self.tar_layer(&layer.id)?;
        let read = io::copy(&mut stream, &mut io::sink());
        read.map(drop).map_err(|error| self.unread(layer, error))
    }

    /// Compares the files that the tree has copies of with those of the tree below: the layer's own
    /// record says nothing of them.
    fn compare_copies(&self, layer: &LayerRecord) -> Result<(), GraphError> {
        let cache = crate::read::cache_id(layer)?;
        let Some(below) = self.parent_cache(layer)? else {
            return Ok(());
        };
        let (new, old) = (self.driver().tree(&cache)?, self.driver().tree(&below)?);
        let changes = lith_drivers::changes(&new, Some(&old));
        let changes = changes.map_err(|error| self.unread(layer, io::Error::other(error)))?;
        let lost = self.foreign(layer, &cache, &changes);
        match lost.map_err(|error| self.unread(layer, error))? {
            None => Ok(()),
            Some(path) => Err(GraphError::Corrupt {
                layer: layer.id,
                reason: format!("its copy of {path} is another file than that of the layer below"),
            }),
        }
    }

    /// The first regular file that is another than below though the layer's tar does not have it.
    fn foreign(
        &self,
        layer: &LayerRecord,
        cache: &CacheId,
        changes: &[Change],
    ) -> io::Result<Option<String>> {
        let LayerFiles::Tree(mut files) = self.driver().files(cache).map_err(io::Error::other)?
        else {
            return Ok(None);
        };
        let mut own = HashSet::new();
        let mut entries = record::open(&self.store().root().layer(&layer.id))?;
        while let Some(item) = entries.next_item().map_err(io::Error::other)? {
            if let lith_tarsplit::RecordItem::File(entry) = item
                && let Some(file) = open_regular(&mut files, &entry.name)?
            {
                own.insert(identity(&file)?);
            }
        }
        for change in changes.iter().filter(|c| c.kind == ChangeKind::Modify) {
            if let Some(file) = open_regular(&mut files, &change.path)?
                && !own.contains(&identity(&file)?)
            {
                return Ok(Some(String::from_utf8_lossy(&change.path).into_owned()));
            }
        }
        Ok(None)
    }

    /// Why a layer could not be read through: damage, or something that tells nothing of it.
    fn unread(&self, layer: &LayerRecord, error: io::Error) -> GraphError {
        if damage::lasts(&error) {
            let damage = error.get_ref().and_then(|inner| inner.downcast_ref());
            let reason = match damage {
                Some(Damage { reason, .. }) => reason.clone(),
                None => chain(&error),
            };
            let layer = layer.id;
            return GraphError::Corrupt { layer, reason };
        }
        GraphError::Io {
            action: "read through the files of",
            path: self.store().root().layer(&layer.id),
            source: error,
        }
    }

    /// Takes note that a layer has survived the crash, whatever was thought of it before.
    fn believe(&self, layer: &LayerRecord) -> Result<(), GraphError> {
        let _lock = self.store().lock_layer(&layer.id)?;
        match self.listed(&layer.id)? {
            Some(now) if now.is_doubtful() && now.cache == layer.cache => {}
            // Removed or made anew meanwhile.
            _ => return Ok(()),
        }
        let note = self.store().root().layer(&layer.id).join(NOTE);
        self.store().effects().remove_file(&note)?;
        let tree = (layer.id, layer.cache.clone());
        Ok(self.store().mark_synced(&[tree])?)
    }
}

/// Opens a file of a tree; `None` where that is no regular file, or none.
fn open_regular(files: &mut TreeFiles, name: &[u8]) -> io::Result<Option<File>> {
    match files.open(name) {
        Ok(file) => Ok(Some(file)),
        Err(error) if !damage::lasts(&error) => Err(error),
        Err(_) => Ok(None),
    }
}

/// Names of one file have the same.
fn identity(file: &File) -> io::Result<(u64, u64)> {
    let stat = file.metadata()?;
    Ok((stat.dev(), stat.ino()))
}
