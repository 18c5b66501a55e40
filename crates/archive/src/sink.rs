//! Where images go: the boundary between saving and formats.

use std::io::{Read, Write};
use std::path::Path;

use lith_store::DiffId;

use crate::compress::Layer;
use crate::docker_archive::{DirsArchive, DirsWriter};
use crate::docker_dir::DockerDirWriter;
use crate::images::Contents;
use crate::oci::write::Outcome;
use crate::tar_writer::TarWriter;
use crate::{
    ArchiveImage, DockerArchiveWriter, DockerLayout, Format, OciArchiveWriter, OciDirWriter,
    SaveError, SaveOptions, Target, WriteError,
};

/// Takes images in some format: it hears of all images, then takes their layers, each once and
/// uncompressed, then the images.
pub(crate) trait ImageSink {
    /// Hears of all images; says in which order it takes the layers, when that is not the
    /// order of their first use.
    fn begin(&mut self, images: &[ArchiveImage]) -> Result<Option<Vec<DiffId>>, WriteError> {
        let _ = images;
        Ok(None)
    }

    /// True when the layer was put already.
    fn has_layer(&self, diff_id: &DiffId) -> Result<bool, WriteError>;

    /// Takes a layer's tar.
    fn put_layer(&mut self, layer: Layer, tar: &mut dyn Read) -> Result<(), WriteError>;

    /// Takes an image whose layers were put.
    fn put_image(&mut self, image: &ArchiveImage) -> Result<(), WriteError>;

    /// Completes what is written.
    fn finish(self: Box<Self>) -> Result<Outcome, WriteError>;
}

/// Opens the output of a save; what has to wait does so in `staging`.
pub(crate) fn open<'a>(
    target: Target<'a>,
    options: &SaveOptions,
    staging: &Path,
) -> Result<Box<dyn ImageSink + 'a>, SaveError> {
    let format = options.format;
    let compression = options.usual();
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
            Box::new(DirsSink::Waiting(TarWriter::spooled(out, staging)))
        }
        (Format::DockerArchive, DockerLayout::Dirs, Target::File(out)) => {
            Box::new(DirsSink::Waiting(TarWriter::seekable(out)))
        }
        (Format::DockerArchive, DockerLayout::Blobs, Target::Stream(out)) => {
            let writer = OciArchiveWriter::stream(out, compression, staging);
            Box::new(writer.with_docker_manifest())
        }
        (Format::DockerArchive, DockerLayout::Blobs, Target::File(out)) => {
            let writer = OciArchiveWriter::file(out, compression);
            Box::new(writer.with_docker_manifest())
        }
        (_, _, target) => {
            let target = target.kind();
            return Err(SaveError::Target { format, target });
        }
    })
}

impl<W: Write> ImageSink for DockerArchiveWriter<W> {
    fn has_layer(&self, diff_id: &DiffId) -> Result<bool, WriteError> {
        DockerArchiveWriter::has_layer(self, diff_id)
    }

    fn put_layer(&mut self, layer: Layer, tar: &mut dyn Read) -> Result<(), WriteError> {
        self.add_layer(&layer.diff_id, layer.size, tar).map(drop)
    }

    fn put_image(&mut self, image: &ArchiveImage) -> Result<(), WriteError> {
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

impl<W: Write> ImageSink for OciArchiveWriter<W> {
    fn has_layer(&self, diff_id: &DiffId) -> Result<bool, WriteError> {
        OciArchiveWriter::has_layer(self, diff_id)
    }

    fn put_layer(&mut self, layer: Layer, tar: &mut dyn Read) -> Result<(), WriteError> {
        self.add(layer, tar).map(drop)
    }

    fn put_image(&mut self, image: &ArchiveImage) -> Result<(), WriteError> {
        self.add_image(image).map(drop)
    }

    fn finish(self: Box<Self>) -> Result<Outcome, WriteError> {
        self.close_with().map(|(_, outcome)| outcome)
    }
}

impl ImageSink for OciDirWriter {
    fn has_layer(&self, diff_id: &DiffId) -> Result<bool, WriteError> {
        OciDirWriter::has_layer(self, diff_id)
    }

    fn put_layer(&mut self, layer: Layer, tar: &mut dyn Read) -> Result<(), WriteError> {
        self.add(layer, tar).map(drop)
    }

    fn put_image(&mut self, image: &ArchiveImage) -> Result<(), WriteError> {
        self.add_image(image).map(drop)
    }

    fn finish(self: Box<Self>) -> Result<Outcome, WriteError> {
        self.close_with()
    }
}

impl ImageSink for DockerDirWriter {
    fn has_layer(&self, diff_id: &DiffId) -> Result<bool, WriteError> {
        DockerDirWriter::has_layer(self, diff_id)
    }

    fn put_layer(&mut self, layer: Layer, tar: &mut dyn Read) -> Result<(), WriteError> {
        self.add(layer, tar).map(drop)
    }

    fn put_image(&mut self, image: &ArchiveImage) -> Result<(), WriteError> {
        self.add_image(image).map(drop)
    }

    fn finish(self: Box<Self>) -> Result<Outcome, WriteError> {
        self.close_with()
    }
}

/// A docker-archive whose images have to be known before its layers.
pub(crate) enum DirsSink<W> {
    Waiting(TarWriter<W>),
    Writing(DirsWriter<W>),
    /// Between the two.
    Failed,
}

impl<W: Write> ImageSink for DirsSink<W> {
    fn begin(&mut self, images: &[ArchiveImage]) -> Result<Option<Vec<DiffId>>, WriteError> {
        let DirsSink::Waiting(tar) = std::mem::replace(self, DirsSink::Failed) else {
            return Err(WriteError::Closed);
        };
        let plan = DirsArchive::plan(&Contents::of(images)?)?;
        let order = plan.layers();
        *self = DirsSink::Writing(plan.begin(tar));
        Ok(Some(order))
    }

    fn has_layer(&self, diff_id: &DiffId) -> Result<bool, WriteError> {
        match self {
            DirsSink::Writing(writer) => Ok(writer.has_layer(diff_id)),
            _ => Err(WriteError::Closed),
        }
    }

    fn put_layer(&mut self, layer: Layer, tar: &mut dyn Read) -> Result<(), WriteError> {
        match self {
            DirsSink::Writing(writer) => writer.layer(&layer, tar),
            _ => Err(WriteError::Closed),
        }
    }

    fn put_image(&mut self, _: &ArchiveImage) -> Result<(), WriteError> {
        // It was planned.
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Outcome, WriteError> {
        match *self {
            DirsSink::Writing(writer) => Ok(Outcome {
                bytes: writer.finish()?,
                ..Outcome::default()
            }),
            _ => Err(WriteError::Closed),
        }
    }
}
