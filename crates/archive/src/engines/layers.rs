//! Layers of an engine's store: put together from record and tree while they are read.

use std::io::{self, BufReader, Read};

use lith_drivers::TreeFiles;
use lith_graph::{Observer, compression};
use lith_tarsplit::{Assembler, FileEntry, FileGetter};

use super::EngineError;
use crate::LoadError;
use crate::folder::Folder;
use crate::source::{LayerBytes, LayerKey, LayerOpener};

/// The layers that images of a store consist of.
pub(super) struct StoredLayers {
    pub(super) store: Folder,
    pub(super) layers: Vec<StoredLayer>,
    /// How the engine keeps others from removing a layer while it reads it.
    pub(super) hold: Option<Hold>,
}

/// Takes whatever keeps the layers in place until it is dropped.
pub(super) type Hold =
    Box<dyn Fn(&Folder, &dyn Observer) -> Result<Box<dyn Send>, LoadError> + Send + Sync>;

/// Where a layer's parts are, below the store's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredLayer {
    /// The layer's ID in that store.
    pub(super) id: String,
    pub(super) record: String,
    pub(super) tree: String,
    /// What is there instead of a tree when the layer is kept as a composefs image.
    pub(super) composefs: Option<String>,
    /// Which layers of this kind have no record, and what helps.
    pub(super) hint: &'static str,
}

impl LayerOpener for StoredLayers {
    fn open(&self, layer: LayerKey, observer: &dyn Observer) -> Result<LayerBytes<'_>, LoadError> {
        let held = match &self.hold {
            Some(hold) => Some(hold(&self.store, observer)?),
            None => None,
        };
        let stored = self.layers.get(layer.0);
        let tar = stored.map(|stored| self.assemble(stored)).transpose()?;
        Ok(Box::new(Held { tar, _held: held }))
    }
}

impl StoredLayers {
    fn assemble(&self, layer: &StoredLayer) -> Result<Tar, EngineError> {
        if let Some(composefs) = &layer.composefs
            && self.store.folder(composefs)?.is_some()
        {
            let layer = layer.id.clone();
            return Err(EngineError::Composefs { layer });
        }
        let record = self.store.file(&layer.record)?;
        let record = record.ok_or_else(|| EngineError::NoRecord {
            layer: layer.id.clone(),
            path: self.store.path(&layer.record),
            hint: layer.hint,
        })?;
        let tree = self.store.folder(&layer.tree)?;
        let tree = tree.ok_or_else(|| EngineError::Missing {
            path: self.store.path(&layer.tree),
        })?;
        let (_, text) = compression::reader(record).map_err(|source| EngineError::Io {
            action: "read",
            path: self.store.path(&layer.record),
            source,
        })?;
        let files = Files(TreeFiles::extracted_in(tree.into_fd()));
        Ok(Assembler::new(BufReader::new(text), files))
    }
}

type Tar = Assembler<BufReader<Box<dyn Read + Send>>, Files>;

/// The files of a tree that the engine extracted.
struct Files(TreeFiles);

impl FileGetter for Files {
    fn open(&mut self, entry: &FileEntry) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(self.0.open(&entry.name)?))
    }
}

/// A layer that cannot be removed while it is read.
struct Held {
    tar: Option<Tar>,
    _held: Option<Box<dyn Send>>,
}

impl Read for Held {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.tar.as_mut().map_or(Ok(0), |tar| tar.read(buf))
    }
}
