//! The exact bytes of a layer, put together from its record and its files.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use lith_drivers::{CacheId, LayerFiles, TreeFiles};
use lith_store::{DiffId, LayerId, LayerRecord, RetainError, Session};
use lith_tarsplit::{Assembler, FileEntry, FileGetter};

use crate::pipeline::ReadAhead;
use crate::{Damage, Graph, GraphError};
use crate::{damage, record};

/// A layer's uncompressed tar, as it was registered.
///
/// Each file is checked against its CRC and the whole against its diff ID while it streams:
/// the last bytes come only when both hold, so whoever got [`LayerStream::len`] bytes got
/// the right ones. Damage is an [`io::Error`] around a [`Damage`] that names the layer and the file.
/// The layer is held until the stream is dropped.
pub struct LayerStream {
    bytes: ReadAhead,
    layer: LayerId,
    expected: Option<DiffId>,
    len: u64,
    done: u64,
    checked: bool,
    hold: Session,
}

impl Graph {
    /// Opens the exact bytes of a layer.
    ///
    /// The layer is held until the stream is dropped, so it is not deleted meanwhile; no lock is,
    /// so the stream may be the data of a registration.
    ///
    /// # Errors
    /// [`GraphError::NotFound`]; [`GraphError::NoTree`], [`GraphError::NoRecord`] and
    /// [`GraphError::Corrupt`] when it is damaged so that nothing can be read.
    pub fn tar_layer(&self, id: &LayerId) -> Result<LayerStream, GraphError> {
        let hold = self.store().begin_small()?;
        self.known(id)?;
        self.store()
            .retain(&hold, &[*id])
            .map_err(|error| match error {
                RetainError::Missing { .. } => GraphError::NotFound { id: id.to_string() },
                error => error.into(),
            })?;
        // Only now: until it was held it could have been deleted and made anew.
        let (layer, cache) = self.known_tree(id)?;
        let source = self.source(&hold, &layer, &cache)?;
        let bytes = ReadAhead::start(source).map_err(|error| GraphError::Corrupt {
            layer: *id,
            reason: format!("its stream cannot be started: {error}"),
        })?;
        Ok(LayerStream {
            bytes,
            layer: *id,
            expected: layer.diff_id,
            len: layer.tar_size,
            done: 0,
            checked: false,
            hold,
        })
    }

    fn source(
        &self,
        hold: &Session,
        layer: &LayerRecord,
        cache: &CacheId,
    ) -> Result<Box<dyn Read + Send>, GraphError> {
        let corrupt = |reason: String| GraphError::Corrupt {
            layer: layer.id,
            reason,
        };
        let files = self.driver().files(cache);
        let files = files.inspect_err(|error| damage::note(hold, &layer.id, error))?;
        let tree = match files {
            LayerFiles::Stream(stream) if !layer.has_record => return Ok(stream),
            LayerFiles::Stream(_) => {
                return Err(corrupt(
                    "it has a record, but its driver keeps no files".into(),
                ));
            }
            LayerFiles::Tree(_) if !layer.has_record => {
                return Err(GraphError::NoRecord { layer: layer.id });
            }
            LayerFiles::Tree(tree) => tree,
        };
        let folder = self.store().root().layer(&layer.id);
        let record = record::open(&folder).map_err(|error| {
            damage::note(hold, &layer.id, &error);
            corrupt(format!(
                "cannot open {}: {error}",
                record::record_path(&folder).display()
            ))
        })?;
        let kept = record::kept_path(&folder);
        let kept = kept.is_dir().then_some(kept);
        Ok(Box::new(Assembler::reading(
            record,
            StoredFiles { tree, kept },
        )))
    }
}

/// Payloads: those kept beside the record first, the tree's files else.
struct StoredFiles {
    tree: TreeFiles,
    kept: Option<PathBuf>,
}

impl FileGetter for StoredFiles {
    fn open(&mut self, entry: &FileEntry) -> io::Result<Box<dyn Read + Send>> {
        if let Some(kept) = &self.kept {
            match File::open(kept.join(entry.position.to_string())) {
                Ok(file) => return Ok(Box::new(file)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Box::new(self.tree.open(&entry.name)?))
    }
}

impl LayerStream {
    /// Bytes that the stream will give.
    #[allow(clippy::len_without_is_empty)] // No tar that was registered is empty in any useful sense.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// What is wrong with the bytes, which is noted for the next registration of the layer.
    fn damage(&self, reason: String) -> io::Error {
        let damage = self.described(reason);
        damage::note(&self.hold, &self.layer, &damage);
        io::Error::new(io::ErrorKind::InvalidData, damage)
    }

    fn described(&self, reason: String) -> Damage {
        let layer = self.layer;
        Damage { layer, reason }
    }

    /// What failed while bytes were read.
    fn failed(&self, error: &io::Error) -> io::Error {
        damage::note(&self.hold, &self.layer, error);
        io::Error::new(io::ErrorKind::InvalidData, self.described(chain(error)))
    }

    /// Called when all bytes are there and before the last of them are given out.
    fn check(&mut self) -> io::Result<()> {
        if self.checked {
            return Ok(());
        }
        if self.done < self.len {
            let (done, len) = (self.done, self.len);
            return Err(self.damage(format!("it ends after {done} of {len} bytes")));
        }
        let more = self
            .bytes
            .read(&mut [0])
            .map_err(|error| self.failed(&error))?;
        if more > 0 || self.done > self.len {
            return Err(self.damage(format!("it does not end after its {} bytes", self.len)));
        }
        let hashed = self.bytes.finish();
        let actual = hashed.map(|hashed| hashed.diff_id);
        match (self.expected, actual) {
            (None, Some(_)) => {}
            (Some(expected), Some(actual)) if expected == actual => {}
            (Some(expected), Some(actual)) => {
                return Err(self.damage(format!("its content is {actual}, expected {expected}")));
            }
            (_, None) => {
                let damage = self.described("it could not be read to its end".to_owned());
                return Err(io::Error::new(io::ErrorKind::InvalidData, damage));
            }
        }
        self.checked = true;
        Ok(())
    }
}

impl Read for LayerStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let read = self.bytes.read(buf).map_err(|error| self.failed(&error))?;
        self.done += read as u64;
        if read == 0 || self.done >= self.len {
            self.check()?;
        }
        Ok(read)
    }
}

/// An error with its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}
