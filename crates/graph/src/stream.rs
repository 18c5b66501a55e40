//! The exact bytes of a layer, put together from its record and its files.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::path::Path;
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use lith_drivers::{CacheId, LayerFiles, TreeFiles};
use lith_store::{DiffId, LayerId, LayerRecord, RetainError, Session};
use lith_tarsplit::{FileEntry, FileGetter, Run, RunReader, Runs};

use crate::ahead::{self, Ahead, CHUNK, RunSource, Whole};
use crate::{Damage, Graph, GraphError};
use crate::{damage, record};

/// A layer's uncompressed tar, as it was registered.
///
/// Each file is checked against its CRC and the whole against its diff ID while it streams:
/// the last bytes come only when both hold, so whoever got [`LayerStream::len`] bytes got
/// the right ones. Damage is an [`io::Error`] around a [`Damage`] that names the layer and the file.
/// The layer is held until the stream is dropped.
///
/// Its bytes are read ahead by several threads. Whoever takes them as a [`BufRead`] gets them
/// without a copy.
pub struct LayerStream {
    bytes: Ahead,
    layer: LayerId,
    expected: Option<DiffId>,
    len: u64,
    /// Bytes that were read so far.
    done: u64,
    /// Those of them that were not given out.
    current: Bytes,
    /// All was read, and is as it should be.
    checked: bool,
    /// Reading has failed, and there is no more to say.
    broken: bool,
    /// Damage is that of a tree that is not the layer's yet.
    on_trial: bool,
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
        let bytes = self.ahead(&hold, &layer, &cache)?;
        Ok(LayerStream {
            bytes,
            layer: *id,
            expected: layer.diff_id,
            len: layer.tar_size,
            done: 0,
            current: Bytes::new(),
            checked: false,
            broken: false,
            on_trial: self.on_trial,
            hold,
        })
    }

    /// Begins to read a layer's bytes.
    fn ahead(
        &self,
        hold: &Session,
        layer: &LayerRecord,
        cache: &CacheId,
    ) -> Result<Ahead, GraphError> {
        let corrupt = |reason: String| GraphError::Corrupt {
            layer: layer.id,
            reason,
        };
        let unstarted =
            |error: io::Error| corrupt(format!("its stream cannot be started: {error}"));
        let files = self.driver().files(cache);
        let files = files.inspect_err(|error| self.note(hold, layer, error))?;
        let tree = match files {
            LayerFiles::Stream(stream) if !layer.has_record => {
                let whole = std::iter::once(());
                return Ahead::start(whole, Whole(stream), Vec::new(), layer.tar_size)
                    .map_err(unstarted);
            }
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
            self.note(hold, layer, &error);
            corrupt(format!(
                "cannot open {}: {error}",
                record::record_path(&folder).display()
            ))
        })?;
        let kept = record::kept_path(&folder);
        let kept: Option<Arc<Path>> = kept.is_dir().then(|| kept.into());
        let files = StoredFiles { tree, kept };
        let more = (1..ahead::readers(layer.tar_size))
            .map(|_| files.another().map(RunReader::new))
            .collect::<io::Result<Vec<_>>>()
            .map_err(unstarted)?;
        let mut runs = Runs::new(record);
        let runs = std::iter::from_fn(move || runs.next_run(CHUNK));
        Ahead::start(runs, RunReader::new(files), more, layer.tar_size).map_err(unstarted)
    }
}

impl Graph {
    /// Takes note of what is wrong with a layer's files.
    fn note(&self, hold: &Session, layer: &LayerRecord, error: &(dyn std::error::Error + 'static)) {
        if !self.on_trial {
            damage::note(hold, &layer.id, error);
        }
    }
}

impl RunSource<Run> for RunReader<StoredFiles> {
    fn begin(&mut self, run: Run) {
        RunReader::begin(self, run);
    }
}

/// Payloads: those kept beside the record first, the tree's files else.
struct StoredFiles {
    tree: TreeFiles,
    kept: Option<Arc<Path>>,
}

impl StoredFiles {
    /// The same, for another thread.
    fn another(&self) -> io::Result<Self> {
        Ok(Self {
            tree: self.tree.another()?,
            kept: self.kept.clone(),
        })
    }
}

impl FileGetter for StoredFiles {
    fn open(&mut self, entry: &FileEntry) -> io::Result<Box<dyn Read + Send>> {
        Ok(self.open_sized(entry)?.0)
    }

    fn open_sized(&mut self, entry: &FileEntry) -> io::Result<(Box<dyn Read + Send>, Option<u64>)> {
        if let Some(kept) = &self.kept {
            match File::open(kept.join(entry.position.to_string())) {
                Ok(file) => {
                    let length = file.metadata()?.len();
                    return Ok((Box::new(file), Some(length)));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let (file, length) = self.tree.open_sized(&entry.name)?;
        Ok((Box::new(file), Some(length)))
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
        self.note(&damage);
        io::Error::new(io::ErrorKind::InvalidData, damage)
    }

    fn note(&self, error: &(dyn std::error::Error + 'static)) {
        if !self.on_trial {
            damage::note(&self.hold, &self.layer, error);
        }
    }

    fn described(&self, reason: String) -> Damage {
        let layer = self.layer;
        Damage { layer, reason }
    }

    /// What failed while bytes were read.
    fn failed(&self, error: &io::Error) -> io::Error {
        self.note(error);
        io::Error::new(io::ErrorKind::InvalidData, self.described(chain(error)))
    }

    /// The next bytes, `None` at the end. The last come when all was checked.
    fn next_chunk(&mut self) -> io::Result<Option<Bytes>> {
        if self.checked {
            return Ok(None);
        }
        if std::mem::replace(&mut self.broken, true) {
            let damage = self.described("it could not be read to its end".to_owned());
            return Err(io::Error::new(io::ErrorKind::InvalidData, damage));
        }
        let next = self.bytes.next_chunk();
        let chunk = next.map_err(|error| self.failed(&error))?;
        let Some(chunk) = chunk else {
            self.check()?;
            return Ok(None);
        };
        self.done += chunk.len() as u64;
        if self.done >= self.len {
            self.check()?;
        }
        self.broken = false;
        Ok(Some(chunk))
    }

    /// Called when all bytes are there and before the last of them are given out.
    fn check(&mut self) -> io::Result<()> {
        let (done, len) = (self.done, self.len);
        if done < len {
            return Err(self.damage(format!("it ends after {done} of {len} bytes")));
        }
        let next = self.bytes.next_chunk();
        let more = next.map_err(|error| self.failed(&error))?.is_some();
        if more || done > len {
            return Err(self.damage(format!("it does not end after its {len} bytes")));
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
        let read = self.fill_buf()?.read(buf)?;
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for LayerStream {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.current.is_empty() {
            // Its room goes back before anyone waits.
            self.current = Bytes::new();
            self.current = self.next_chunk()?.unwrap_or_default();
        }
        Ok(&self.current)
    }

    fn consume(&mut self, length: usize) {
        self.current.advance(length.min(self.current.len()));
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
