//! Reading a layer to find out whether it is what it should be.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead};
use std::os::unix::fs::MetadataExt;

use lith_drivers::{CacheId, Change, ChangeKind, LayerFiles, TreeFiles};
use lith_store::{LayerId, LayerRecord};

use crate::stream::chain;
use crate::{Damage, Graph, GraphError, Metered, Observer, damage, record};

impl Graph {
    /// Reads all of a layer, as whoever saves it does: each file against its checksum, the whole against
    /// its diff ID; and compares the files that the driver has copied from the layer below with those.
    /// Returns what is wrong, after it was noted: the next registration of the layer makes it anew.
    ///
    /// # Errors
    /// [`GraphError::NotFound`]; whatever keeps the layer from being read without saying anything of
    /// it, as too many open files.
    pub fn verify(&self, id: &LayerId) -> Result<Option<Damage>, GraphError> {
        let layer = self.known(id)?;
        let error = match self.look_through(&layer, &()) {
            Ok(()) => return Ok(None),
            Err(error) => error,
        };
        let reason = match error {
            GraphError::Corrupt { reason, .. } => reason,
            error if error.is_damage() => chain(&error),
            error => return Err(error),
        };
        self.note_damage(id, &reason);
        let layer = *id;
        Ok(Some(Damage { layer, reason }))
    }

    /// Reads a layer's stream, which checks every file and the whole, and compares the tree's copies
    /// of other layers' files. Damage is [`GraphError::Corrupt`].
    pub(crate) fn look_through(
        &self,
        layer: &LayerRecord,
        observer: &dyn Observer,
    ) -> Result<(), GraphError> {
        self.read_through(layer, observer)?;
        match layer.parent {
            Some(_) if self.driver().info().copies_parents => self.compare_copies(layer),
            _ => Ok(()),
        }
    }

    fn read_through(&self, layer: &LayerRecord, observer: &dyn Observer) -> Result<(), GraphError> {
        let label = layer
            .diff_id
            .map_or_else(|| layer.id.to_string(), |id| id.to_string());
        let stream = Metered::new(self.tar_layer(&layer.id)?, &label, observer);
        read_out(stream).map_err(|error| self.unread(layer, error))
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
}

/// Reads to the end, for what is checked on the way.
fn read_out(mut stream: impl BufRead) -> io::Result<()> {
    loop {
        let length = stream.fill_buf()?.len();
        if length == 0 {
            return Ok(());
        }
        stream.consume(length);
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
