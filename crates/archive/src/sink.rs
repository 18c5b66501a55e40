//! Where images go: the boundary between saving and formats.

use std::io::{Read, Write};

use lith_store::{DiffId, ImageId};

use crate::{ArchiveImage, DockerArchiveWriter, WriteError};

/// Takes images in some format: their layers first, each once, uncompressed and in order of
/// first use; then the images. Closing is the format's own business: what it gives back
/// differs.
pub(crate) trait ImageSink {
    /// True when the layer was put already.
    fn has_layer(&self, diff_id: &DiffId) -> Result<bool, WriteError>;

    /// Takes a layer's tar of exactly `size` bytes.
    fn put_layer(
        &self,
        diff_id: &DiffId,
        size: u64,
        tar: &mut dyn Read,
    ) -> Result<bool, WriteError>;

    /// Takes an image whose layers were put.
    fn put_image(&self, image: &ArchiveImage) -> Result<ImageId, WriteError>;
}

impl<W: Write> ImageSink for DockerArchiveWriter<W> {
    fn has_layer(&self, diff_id: &DiffId) -> Result<bool, WriteError> {
        DockerArchiveWriter::has_layer(self, diff_id)
    }

    fn put_layer(
        &self,
        diff_id: &DiffId,
        size: u64,
        tar: &mut dyn Read,
    ) -> Result<bool, WriteError> {
        self.add_layer(diff_id, size, tar)
    }

    fn put_image(&self, image: &ArchiveImage) -> Result<ImageId, WriteError> {
        self.add_image(image)
    }
}
