//! Layers on their way: opened, checked, handed to the sink.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use lith_graph::compression::{self, Compression, HEAD_LEN};
use lith_graph::{Event, Metered, Observer};
use lith_store::DiffId;

use super::feed::{self, Fed, Passed};
use super::plan::Needed;
use super::spool::Spool;
use crate::compress::{Form, Layer, SMALL, Written};
use crate::load::mismatch;
use crate::members::{Verified, read_full};
use crate::sink::ImageSink;
use crate::source::{LayerBytes, LayerData, LayerOpener};
use crate::{CopyError, LayerCompression, SaveOptions, WriteError};

/// More would only compete for the disk.
const MAX_WORKERS: usize = 4;

/// Copies layers.
pub(super) struct Work<'a> {
    pub(super) sink: &'a dyn ImageSink,
    pub(super) opener: &'a dyn LayerOpener,
    pub(super) spool: &'a Spool<'a>,
    pub(super) output: &'a SaveOptions,
    pub(super) observer: &'a dyn Observer,
    /// What the user should know.
    pub(super) warnings: Mutex<Vec<String>>,
}

/// What several workers share.
struct Shared {
    next: AtomicUsize,
    done: Mutex<Result<HashMap<DiffId, u64>, CopyError>>,
}

impl Work<'_> {
    /// Copies all; says how many bytes were written of each.
    pub(super) fn run(&self, layers: &[&Needed]) -> Result<HashMap<DiffId, u64>, CopyError> {
        let shared = Shared {
            next: AtomicUsize::new(0),
            done: Mutex::new(Ok(HashMap::new())),
        };
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let workers = match self.sink.is_wide() {
            true => processors.min(MAX_WORKERS).min(layers.len()),
            false => 1,
        };
        if workers <= 1 {
            self.work(layers, &shared);
        } else {
            thread::scope(|scope| {
                for _ in 0..workers {
                    scope.spawn(|| self.work(layers, &shared));
                }
            });
        }
        shared
            .done
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// What the user should know, and was not told yet.
    pub(super) fn into_warnings(self) -> Vec<String> {
        self.warnings
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, layers: &[&Needed], shared: &Shared) {
        while let Some(needed) = layers.get(shared.next.fetch_add(1, Ordering::Relaxed)) {
            let written = self.layer(needed);
            let mut done = shared.done.lock().unwrap_or_else(PoisonError::into_inner);
            match (&mut *done, written) {
                (Ok(done), Ok(written)) => {
                    done.insert(needed.diff_id, written.size);
                }
                // What broke for one shows to the others as something broken.
                (Err(CopyError::Write(WriteError::Broken)) | Ok(_), Err(error)) => {
                    *done = Err(error);
                    shared.next.store(layers.len(), Ordering::Relaxed);
                }
                (Err(_), _) => {}
            }
        }
    }

    fn layer(&self, needed: &Needed) -> Result<Written, CopyError> {
        if self.observer.cancelled() {
            return Err(CopyError::Cancelled);
        }
        let (bytes, total) = self.open(needed)?;
        let label = needed.diff_id.to_string();
        self.observer.event(&Event::LayerStart {
            label: &label,
            total,
        });
        let Passed { written, tar } = match self.pass(needed, &label, bytes, total) {
            Err(_) if self.observer.cancelled() => Err(CopyError::Cancelled),
            passed => passed,
        }?;
        self.observer.event(&Event::LayerDone {
            label: &label,
            bytes: tar.size,
            reused: false,
        });
        Ok(written)
    }

    /// Opens a layer as transported; says how many bytes it has, where that is known.
    fn open<'b>(&'b self, needed: &'b Needed) -> Result<(LayerBytes<'b>, Option<u64>), CopyError> {
        let failed = |source| CopyError::Layer {
            layer: needed.name.clone(),
            source,
        };
        match needed.data {
            LayerData::There(key) => {
                let bytes = self.opener.open(key, self.observer)?;
                Ok((verified(bytes, needed), needed.size))
            }
            LayerData::Passed(ticket) => {
                let file: Option<File> = self.spool.take(ticket);
                let file = file.ok_or_else(|| failed(io::ErrorKind::UnexpectedEof.into()))?;
                let size = file.metadata().map_err(failed)?.len();
                Ok((Box::new(file), Some(size)))
            }
            LayerData::Absent => {
                let inline = needed.inline();
                let inline = inline.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
                Ok((
                    verified(Box::new(inline), needed),
                    Some(inline.len() as u64),
                ))
            }
        }
    }

    fn pass(
        &self,
        needed: &Needed,
        label: &str,
        mut bytes: LayerBytes<'_>,
        transported: Option<u64>,
    ) -> Result<Passed, CopyError> {
        let failed = |source| CopyError::Layer {
            layer: needed.name.clone(),
            source,
        };
        let mut head = vec![0; HEAD_LEN];
        let read = read_full(&mut bytes, &mut head).map_err(failed)?;
        head.truncate(read);
        let kind = compression::detect(&head);
        let bytes = Cursor::new(head).chain(bytes);
        let told = needed.blob.as_ref();
        if let Some(message) = told.and_then(|blob| mismatch(blob, kind, &needed.name)) {
            let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
            warnings.push(message);
        }
        let blob = self.blob(needed, kind);
        let content: LayerBytes<'_> = match blob {
            Some(_) => Box::new(bytes),
            None => compression::reader(bytes).map_err(failed)?.1,
        };
        let mut content = Metered::new(content, label, self.observer);
        let mut start = Vec::new();
        let mut beginning = content.by_ref().take(SMALL + 1);
        beginning.read_to_end(&mut start).map_err(failed)?;
        let small = start.len() as u64 <= SMALL;
        let size = match small {
            true => Some(start.len() as u64),
            false => transported.filter(|_| kind == Compression::None),
        };
        let layer = Layer {
            diff_id: needed.diff_id,
            form: match blob {
                Some(blob) => Form::Blob(blob),
                None => Form::Tar {
                    size,
                    compression: self.compression(),
                },
            },
        };
        let fed = if small {
            feed::whole(self.sink, layer, &start)
        } else {
            feed::stream(self.sink, layer, start, content)
        };
        match fed {
            Ok(passed) if passed.tar.diff_id == needed.diff_id => Ok(passed),
            Ok(passed) => Err(CopyError::DiffId {
                layer: needed.name.clone(),
                expected: needed.diff_id,
                actual: passed.tar.diff_id,
            }),
            Err(Fed::Content(source)) => Err(failed(source)),
            Err(Fed::Sink(error)) => Err(error.into()),
        }
    }

    /// The blob that a layer can be written as without touching it.
    fn blob(&self, needed: &Needed, kind: Compression) -> Option<Written> {
        let asked = self.output.compression;
        let stays = asked.is_none_or(|asked| asked.kind() == kind) && self.sink.keeps(kind);
        let blob = needed.blob.as_ref().filter(|_| stays)?;
        Some(Written {
            digest: blob.expected.digest,
            size: blob.expected.size,
            compression: kind,
        })
    }

    /// How a layer is compressed that does not stay as it is.
    fn compression(&self) -> LayerCompression {
        self.output.usual()
    }
}

/// Holds the bytes to what the source says of them.
fn verified<'b>(bytes: LayerBytes<'b>, needed: &Needed) -> LayerBytes<'b> {
    match &needed.blob {
        Some(blob) => Box::new(Verified::new(bytes, blob.expected)),
        None => bytes,
    }
}
