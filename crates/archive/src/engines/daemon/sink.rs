//! A docker-archive that goes straight into an engine.

use std::io::{self, BufRead, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use lith_graph::Observer;
use lith_store::DiffId;

use super::import::DaemonImport;
use crate::compress::{Layer, Written};
use crate::oci::write::Outcome;
use crate::sink::ImageSink;
use crate::{
    ArchiveImage, DockerArchiveWriter, EngineAddress, EngineError, LayerCompression, WriteError,
};

/// How the lines of an engine begin that say what it was told to do.
const DONE: &str = "Loaded image";

/// Writes images into a running engine, which takes them when all have come.
pub(crate) struct DaemonSink<'a> {
    archive: DockerArchiveWriter<Engine<'a>>,
    engine: Engine<'a>,
}

/// The engine, for the writer of the archive and for whoever ends it.
#[derive(Clone)]
struct Engine<'a>(Arc<Mutex<Option<DaemonImport<'a>>>>);

impl<'a> DaemonSink<'a> {
    /// Connects to the engine; a layer whose size is not known before waits in `staging`.
    pub(crate) fn start(
        address: &EngineAddress,
        compression: LayerCompression,
        staging: &Path,
        observer: &'a dyn Observer,
    ) -> Result<DaemonSink<'a>, EngineError> {
        let import = DaemonImport::start(address, observer)?;
        let engine = Engine(Arc::new(Mutex::new(Some(import))));
        Ok(DaemonSink {
            archive: DockerArchiveWriter::compressed(engine.clone(), compression, staging),
            engine,
        })
    }

    /// What the engine has to say of it, when it does not take bytes any more.
    fn explain(&self, error: WriteError) -> WriteError {
        if !matches!(error, WriteError::Output { .. }) {
            return error;
        }
        match self.engine.take().map(DaemonImport::finish) {
            Some(Err(reason)) => reason.into(),
            Some(Ok(_)) | None => error,
        }
    }
}

impl<'a> Engine<'a> {
    fn take(&self) -> Option<DaemonImport<'a>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn with<T>(&self, act: impl FnOnce(&mut DaemonImport<'a>) -> io::Result<T>) -> io::Result<T> {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(import) => act(import),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl Write for Engine<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.with(|import| import.write(buf))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.with(|import| import.flush())
    }
}

impl ImageSink for DaemonSink<'_> {
    fn has_layer(&self, diff_id: &DiffId) -> Result<bool, WriteError> {
        self.archive.has_layer(diff_id)
    }

    fn put_layer(&self, layer: Layer, content: &mut dyn BufRead) -> Result<Written, WriteError> {
        let written = self.archive.add(layer, content);
        written
            .map(|(_, written)| written)
            .map_err(|error| self.explain(error))
    }

    fn put_image(&self, image: &ArchiveImage) -> Result<(), WriteError> {
        self.archive.add_image(image).map(drop)
    }

    fn finish(self: Box<Self>) -> Result<Outcome, WriteError> {
        let (_, bytes) = self
            .archive
            .close_counted()
            .map_err(|error| self.explain(error))?;
        let lines = match self.engine.take() {
            Some(import) => import.finish()?,
            None => Vec::new(),
        };
        let warnings = lines.into_iter().filter(|line| !line.starts_with(DONE));
        Ok(Outcome {
            bytes,
            warnings: warnings.collect(),
            ..Outcome::default()
        })
    }
}
