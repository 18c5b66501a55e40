//! Where images go: the boundary between saving and formats.

use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lith_graph::Observer;
use lith_graph::compression::Compression;
use lith_store::DiffId;

use crate::compress::{Layer, Written};
use crate::docker_archive::{DirsArchive, DirsWriter};
use crate::docker_dir::DockerDirWriter;
#[cfg(feature = "daemon")]
use crate::engines::DaemonSink;
use crate::images::Contents;
use crate::oci::write::Outcome;
use crate::tar_writer::TarWriter;
use crate::{
    ArchiveImage, ArchiveIndex, DockerArchiveWriter, DockerLayout, Format, OciArchiveWriter,
    OciDirWriter, SaveError, SaveOptions, Target, WriteError,
};

/// Takes images in some format: it hears of all images, then takes their layers, each once,
/// then the images.
pub(crate) trait ImageSink: Send + Sync {
    /// Hears of all images; says in which order it takes the layers, when that is not the
    /// order of their first use.
    fn begin(&mut self, images: &[ArchiveImage]) -> Result<Option<Vec<DiffId>>, WriteError> {
        let _ = images;
        Ok(None)
    }

    /// True when layers of this compression can be written as the blobs that they came as.
    fn keeps(&self, compression: Compression) -> bool {
        let _ = compression;
        false
    }

    /// True when several layers are written side by side, in any order.
    fn is_wide(&self) -> bool {
        false
    }

    /// True when the layer was put already.
    fn has_layer(&self, diff_id: &DiffId) -> Result<bool, WriteError>;

    /// Takes a layer; says what was written.
    fn put_layer(&self, layer: Layer, content: &mut dyn BufRead) -> Result<Written, WriteError>;

    /// Takes an image whose layers were put.
    fn put_image(&self, image: &ArchiveImage) -> Result<(), WriteError>;

    /// Takes an index whose images were put.
    fn put_index(&self, index: &ArchiveIndex) -> Result<(), WriteError> {
        let _ = index;
        Err(WriteError::NoIndexes)
    }

    /// Completes what is written.
    fn finish(self: Box<Self>) -> Result<Outcome, WriteError>;
}

/// Opens the output of a save; what has to wait does so in `staging`.
pub(crate) fn open<'a, 't: 'a>(
    target: Target<'t>,
    options: &SaveOptions,
    staging: &Path,
    observer: &'a dyn Observer,
) -> Result<Box<dyn ImageSink + 'a>, SaveError> {
    let format = options.format;
    let compression = options.usual();
    #[cfg(not(feature = "daemon"))]
    let _ = observer;
    Ok(match (format, options.docker_layout, target) {
        (Format::OciDir, _, Target::Folder(path)) => {
            Box::new(OciDirWriter::create(path, compression)?)
        }
        (Format::DockerDir, _, Target::Folder(path)) => {
            Box::new(DockerDirWriter::create(path, compression)?)
        }
        (Format::OciArchive, _, Target::Stream(out)) => {
            Box::new(OciArchiveWriter::stream(out, compression, staging))
        }
        (Format::OciArchive, _, Target::File(out)) => {
            Box::new(OciArchiveWriter::file(out, compression))
        }
        (Format::DockerArchive, DockerLayout::Default, Target::Stream(out)) => {
            Box::new(DockerArchiveWriter::compressed(out, compression, staging))
        }
        (Format::DockerArchive, DockerLayout::Default, Target::File(out)) => {
            Box::new(DockerArchiveWriter::compressed_file(out, compression))
        }
        (Format::DockerArchive, DockerLayout::Dirs, Target::Stream(out)) => {
            Box::new(DirsSink::new(TarWriter::spooled(out, staging)))
        }
        (Format::DockerArchive, DockerLayout::Dirs, Target::File(out)) => {
            Box::new(DirsSink::new(TarWriter::seekable(out)))
        }
        (Format::DockerArchive, DockerLayout::Blobs, Target::Stream(out)) => {
            let writer = OciArchiveWriter::stream(out, compression, staging);
            Box::new(writer.with_docker_manifest())
        }
        (Format::DockerArchive, DockerLayout::Blobs, Target::File(out)) => {
            let writer = OciArchiveWriter::file(out, compression);
            Box::new(writer.with_docker_manifest())
        }
        #[cfg(feature = "daemon")]
        (Format::DockerDaemon, _, Target::Daemon(address)) => {
            let sink = DaemonSink::start(address, compression, staging, observer);
            Box::new(sink.map_err(WriteError::from)?)
        }
        (_, _, target) => {
            let target = target.kind();
            return Err(SaveError::Target { format, target });
        }
    })
}

impl<W: Write + Send> ImageSink for DockerArchiveWriter<W> {
    fn has_layer(&self, diff_id: &DiffId) -> Result<bool, WriteError> {
        DockerArchiveWriter::has_layer(self, diff_id)
    }

    fn put_layer(&self, layer: Layer, content: &mut dyn BufRead) -> Result<Written, WriteError> {
        self.add(layer, content).map(|(_, written)| written)
    }

    fn put_image(&self, image: &ArchiveImage) -> Result<(), WriteError> {
        self.add_image(image).map(drop)
    }

    fn finish(self: Box<Self>) -> Result<Outcome, WriteError> {
        let (_, bytes) = self.close_counted()?;
        Ok(Outcome {
            bytes,
            ..Outcome::default()
        })
    }
}

impl<W: Write + Send> ImageSink for OciArchiveWriter<W> {
    fn keeps(&self, compression: Compression) -> bool {
        in_oci(compression)
    }

    fn has_layer(&self, diff_id: &DiffId) -> Result<bool, WriteError> {
        OciArchiveWriter::has_layer(self, diff_id)
    }

    fn put_layer(&self, layer: Layer, content: &mut dyn BufRead) -> Result<Written, WriteError> {
        self.add(layer, content).map(|(_, written)| written)
    }

    fn put_image(&self, image: &ArchiveImage) -> Result<(), WriteError> {
        self.add_image(image).map(drop)
    }

    fn put_index(&self, index: &ArchiveIndex) -> Result<(), WriteError> {
        self.add_index(index)
    }

    fn finish(self: Box<Self>) -> Result<Outcome, WriteError> {
        self.close_with().map(|(_, outcome)| outcome)
    }
}

/// What layers may be compressed with in the OCI's formats.
fn in_oci(compression: Compression) -> bool {
    use Compression::{Gzip, None, Zstd};
    matches!(compression, None | Gzip | Zstd)
}

impl ImageSink for OciDirWriter {
    fn keeps(&self, compression: Compression) -> bool {
        in_oci(compression)
    }

    fn is_wide(&self) -> bool {
        true
    }

    fn has_layer(&self, diff_id: &DiffId) -> Result<bool, WriteError> {
        OciDirWriter::has_layer(self, diff_id)
    }

    fn put_layer(&self, layer: Layer, content: &mut dyn BufRead) -> Result<Written, WriteError> {
        self.add(layer, content).map(|(_, written)| written)
    }

    fn put_image(&self, image: &ArchiveImage) -> Result<(), WriteError> {
        self.add_image(image).map(drop)
    }

    fn put_index(&self, index: &ArchiveIndex) -> Result<(), WriteError> {
        self.add_index(index)
    }

    fn finish(self: Box<Self>) -> Result<Outcome, WriteError> {
        self.close_with()
    }
}

impl ImageSink for DockerDirWriter {
    fn keeps(&self, compression: Compression) -> bool {
        matches!(compression, Compression::None | Compression::Gzip)
    }

    fn is_wide(&self) -> bool {
        true
    }

    fn has_layer(&self, diff_id: &DiffId) -> Result<bool, WriteError> {
        DockerDirWriter::has_layer(self, diff_id)
    }

    fn put_layer(&self, layer: Layer, content: &mut dyn BufRead) -> Result<Written, WriteError> {
        self.add(layer, content).map(|(_, written)| written)
    }

    fn put_image(&self, image: &ArchiveImage) -> Result<(), WriteError> {
        self.add_image(image).map(drop)
    }

    fn finish(self: Box<Self>) -> Result<Outcome, WriteError> {
        self.close_with()
    }
}

/// A docker-archive whose images have to be known before its layers.
struct DirsSink<W>(Mutex<Dirs<W>>);

enum Dirs<W> {
    Waiting(TarWriter<W>),
    Writing(DirsWriter<W>),
    /// Between the two.
    Failed,
}

impl<W> DirsSink<W> {
    fn new(tar: TarWriter<W>) -> Self {
        DirsSink(Mutex::new(Dirs::Waiting(tar)))
    }

    fn lock(&self) -> MutexGuard<'_, Dirs<W>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Write + Send> ImageSink for DirsSink<W> {
    fn begin(&mut self, images: &[ArchiveImage]) -> Result<Option<Vec<DiffId>>, WriteError> {
        let mut dirs = self.lock();
        let Dirs::Waiting(tar) = std::mem::replace(&mut *dirs, Dirs::Failed) else {
            return Err(WriteError::Closed);
        };
        let plan = DirsArchive::plan(&Contents::of(images)?)?;
        let order = plan.layers();
        *dirs = Dirs::Writing(plan.begin(tar));
        Ok(Some(order))
    }

    fn has_layer(&self, diff_id: &DiffId) -> Result<bool, WriteError> {
        match &*self.lock() {
            Dirs::Writing(writer) => Ok(writer.has_layer(diff_id)),
            _ => Err(WriteError::Closed),
        }
    }

    fn put_layer(&self, layer: Layer, content: &mut dyn BufRead) -> Result<Written, WriteError> {
        match &mut *self.lock() {
            Dirs::Writing(writer) => writer.layer(&layer, content),
            _ => Err(WriteError::Closed),
        }
    }

    fn put_image(&self, _: &ArchiveImage) -> Result<(), WriteError> {
        // It was planned.
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Outcome, WriteError> {
        match self.0.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Dirs::Writing(writer) => Ok(Outcome {
                bytes: writer.finish()?,
                ..Outcome::default()
            }),
            _ => Err(WriteError::Closed),
        }
    }
}
