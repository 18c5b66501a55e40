//! Writes docker-archives in the default layout, that of podman and skopeo.

use std::collections::HashSet;
use std::io::{BufRead, Read, Seek, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use lith_store::{DiffId, ImageId, Reference};

use super::manifest::{self, OutItem};
use super::v1::{self, V1Layer};
use crate::compress::{self, Layer, Written};
use crate::images::{Added, ArchiveImage, Books, Contents};
use crate::tar_writer::{Attributes, TarWriter};
use crate::{ConfigError, LayerCompression, WriteError};

/// Writes a docker-archive: layers, then images, then `close`.
///
/// May be used from several threads. Equal calls in equal order give equal bytes, whatever
/// the time or the machine. Layers are written at once; of images only small documents are
/// kept until the archive is closed.
///
/// ```
/// use lith_archive::{ArchiveImage, DockerArchiveWriter};
/// use lith_store::{DiffId, ImageId};
///
/// let layer = [0; 1024]; // a tar without entries
/// let diff_id = DiffId::of_bytes(&layer);
/// let config = format!(r#"{{"rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#);
///
/// let writer = DockerArchiveWriter::new(Vec::new());
/// writer.add_layer(&diff_id, 1024, &mut &layer[..])?;
/// let image = ArchiveImage {
///     config: config.into_bytes(),
///     names: vec!["example.org/nothing:1".parse()?],
///     ..ArchiveImage::default()
/// };
/// let id: ImageId = writer.add_image(&image)?;
/// let archive: Vec<u8> = writer.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct DockerArchiveWriter<W: Write> {
    books: Books,
    compression: LayerCompression,
    /// Taken when the archive is closed.
    tar: Mutex<Option<TarWriter<W>>>,
}

impl<W: Write> DockerArchiveWriter<W> {
    /// Begins an archive with uncompressed layers.
    pub fn new(out: W) -> Self {
        Self::on(TarWriter::new(out), LayerCompression::None)
    }

    /// Begins an archive whose layers are compressed inside; each waits in a file without a
    /// name in `folder` until its size is known.
    pub fn compressed(out: W, compression: LayerCompression, folder: &Path) -> Self {
        Self::on(TarWriter::spooled(out, folder), compression)
    }

    /// Begins an archive whose layers are compressed inside, at the end of a file: sizes are
    /// written when they are known, and nothing waits.
    pub fn compressed_file(out: W, compression: LayerCompression) -> Self
    where
        W: Seek,
    {
        Self::on(TarWriter::seekable(out), compression)
    }

    fn on(tar: TarWriter<W>, compression: LayerCompression) -> Self {
        DockerArchiveWriter {
            books: Books::new(),
            compression,
            tar: Mutex::new(Some(tar)),
        }
    }

    /// True when the layer was added already.
    ///
    /// # Errors
    /// When the archive is closed or broken.
    pub fn has_layer(&self, diff_id: &DiffId) -> Result<bool, WriteError> {
        self.books.has_layer(diff_id)
    }

    /// Adds a layer of exactly `size` bytes; false when it was there already, and nothing was
    /// read.
    ///
    /// Other threads wait meanwhile: an archive is one stream. The content is not hashed
    /// here; whoever gives it answers for it.
    ///
    /// # Errors
    /// Content that is shorter or longer than announced, or that cannot be read; an output
    /// that refuses. The archive is unusable afterwards.
    pub fn add_layer(
        &self,
        diff_id: &DiffId,
        size: u64,
        content: &mut dyn Read,
    ) -> Result<bool, WriteError> {
        let layer = Layer::tar(*diff_id, size, self.compression);
        self.add(layer, &mut compress::buffered(content))
            .map(|(new, _)| new)
    }

    /// As `add_layer`, of any form; gives what was written, now or before, too.
    pub(crate) fn add(
        &self,
        layer: Layer,
        content: &mut dyn BufRead,
    ) -> Result<(bool, Written), WriteError> {
        self.books.add_layer(&layer.diff_id, || {
            let mut tar = self.tar.lock().unwrap_or_else(PoisonError::into_inner);
            let tar = tar.as_mut().ok_or(WriteError::Closed)?;
            let path = |_: &_| layer_name(&layer.diff_id);
            tar.layer(&layer, Attributes::FILE, &path, content)
        })
    }

    /// Adds an image, all of whose layers have been added.
    ///
    /// An image that was added before gets the further names.
    ///
    /// # Errors
    /// A config that cannot be used, a layer that is not there, a name that another image
    /// has, a name without a tag. The archive stays usable.
    pub fn add_image(&self, image: &ArchiveImage) -> Result<ImageId, WriteError> {
        self.books.add_image(image)
    }

    /// Completes the archive and gives the output back.
    ///
    /// # Errors
    /// When it was closed before, is broken, or the output refuses.
    pub fn close(&self) -> Result<W, WriteError> {
        self.close_counted().map(|(out, _)| out)
    }

    /// As `close`, and says how many bytes the archive has.
    pub(crate) fn close_counted(&self) -> Result<(W, u64), WriteError> {
        let contents = self.books.close()?;
        let tar = self
            .tar
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        finish(tar.ok_or(WriteError::Closed)?, &contents)
    }
}

fn finish<W: Write>(mut tar: TarWriter<W>, contents: &Contents) -> Result<(W, u64), WriteError> {
    let output = |source| WriteError::Output { source };
    let stacks = contents.images.iter().map(v1_layers);
    let stacks: Vec<Vec<V1Layer>> = stacks.collect::<Result<_, _>>()?;
    let mut folders = HashSet::new();
    for layer in stacks.iter().flatten() {
        if folders.insert(&layer.id) {
            let target = format!("../{}", layer_name(&layer.diff_id));
            let path = |file: &str| format!("{}/{file}", layer.id);
            tar.symlink(&path("layer.tar"), &target).map_err(output)?;
            tar.whole_file(&path("VERSION"), Attributes::FILE, b"1.0")
                .map_err(output)?;
            tar.whole_file(&path("json"), Attributes::FILE, layer.json.as_bytes())
                .map_err(output)?;
        }
    }
    for added in &contents.images {
        let config = &added.image.config;
        tar.whole_file(&config_name(&added.id), Attributes::FILE, config)
            .map_err(output)?;
    }
    let items: Vec<OutItem> = contents
        .images
        .iter()
        .map(|added| item(added, contents))
        .collect();
    let tops: std::collections::HashMap<ImageId, &V1Layer> = contents
        .images
        .iter()
        .zip(&stacks)
        .filter_map(|(added, stack)| Some((added.id, stack.last()?)))
        .collect();
    let repositories = contents.repositories(Reference::repository, |added| {
        tops.get(&added.id).map(|top| top.id.clone())
    });
    for (path, content) in [
        ("manifest.json", manifest::write(&items)),
        ("repositories", manifest::repositories(&repositories)),
    ] {
        tar.whole_file(path, Attributes::FILE, content.as_bytes())
            .map_err(output)?;
    }
    tar.finish().map_err(output)
}

fn v1_layers(added: &Added) -> Result<Vec<V1Layer>, WriteError> {
    let layers = v1::layers(&added.image.config, &added.facts.diff_ids);
    layers.map_err(|source| WriteError::Config {
        image: added.id,
        source: ConfigError::Json(source),
    })
}

fn item(added: &Added, contents: &Contents) -> OutItem {
    let names = added.image.names.iter();
    let layers = added.facts.diff_ids.iter();
    let sources = added.image.layer_sources.iter();
    OutItem {
        config: config_name(&added.id),
        repo_tags: Some(names.map(Reference::to_string).collect()),
        layers: Some(layers.map(layer_name).collect()),
        parent: contents.parent(added).map(|parent| parent.to_string()),
        layer_sources: sources
            .map(|(id, json)| (id.to_string(), json.clone()))
            .collect(),
    }
}

fn layer_name(diff_id: &DiffId) -> String {
    format!("{}.tar", diff_id.hex())
}

fn config_name(id: &ImageId) -> String {
    format!("{}.json", id.hex())
}
