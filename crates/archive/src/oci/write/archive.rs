//! Writes an OCI layout as a tar: oci-archive, and the docker-archive of newer engines.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{BufRead, Read, Seek, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use lith_store::{DiffId, Digest, ImageId, Reference};

use super::layout::{self, Blobs, Flavour, LAYOUT, Outcome};
use crate::compress::{self, Layer, Written};
use crate::docker_archive::manifest::{self, OutItem};
use crate::images::{Added, ArchiveImage, ArchiveIndex, Books, Contents};
use crate::oci::Descriptor;
use crate::tar_writer::{Attributes, TarWriter};
use crate::{LayerCompression, WriteError};

/// Writes an oci-archive: layers, then images, then `close`.
///
/// May be used from several threads. Equal calls in equal order give equal bytes, whatever
/// the time, the machine or the kind of output.
///
/// ```
/// use lith_archive::{ArchiveImage, LayerCompression, OciArchiveWriter};
/// use lith_store::DiffId;
/// use std::io::Cursor;
///
/// let layer = [0; 1024]; // a tar without entries
/// let diff_id = DiffId::of_bytes(&layer);
/// let config = format!(r#"{{"rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#);
///
/// let writer = OciArchiveWriter::file(Cursor::new(Vec::new()), LayerCompression::Gzip);
/// writer.add_layer(&diff_id, 1024, &mut &layer[..])?;
/// let image = ArchiveImage {
///     config: config.into_bytes(),
///     names: vec!["example.org/nothing:1".parse()?],
///     ..ArchiveImage::default()
/// };
/// writer.add_image(&image)?;
/// let archive: Vec<u8> = writer.close()?.into_inner();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct OciArchiveWriter<W: Write> {
    books: Books,
    compression: LayerCompression,
    /// With the documents that docker reads.
    docker: bool,
    /// Taken when the archive is closed.
    tar: Mutex<Option<TarBlobs<W>>>,
}

/// Files that anybody may read, of no time and of nobody.
const FILE: Attributes = Attributes {
    mode: 0o644,
    ..Attributes::FILE
};

impl<W: Write> OciArchiveWriter<W> {
    /// Begins an archive on an output that only goes forward; each compressed layer waits in
    /// a file without a name in `folder` until its size is known.
    pub fn stream(out: W, compression: LayerCompression, folder: &Path) -> Self {
        Self::on(TarWriter::spooled(out, folder), compression)
    }

    /// Begins an archive at the end of a file: sizes are written when they are known, and
    /// nothing waits.
    pub fn file(out: W, compression: LayerCompression) -> Self
    where
        W: Seek,
    {
        Self::on(TarWriter::seekable(out), compression)
    }

    fn on(tar: TarWriter<W>, compression: LayerCompression) -> Self {
        let tar = TarBlobs {
            tar,
            begun: false,
            there: HashSet::new(),
        };
        OciArchiveWriter {
            books: Books::new(),
            compression,
            docker: false,
            tar: Mutex::new(Some(tar)),
        }
    }

    /// Writes what docker reads beside, too: then the archive is a docker-archive as newer
    /// engines write it.
    #[must_use]
    pub fn with_docker_manifest(self) -> Self {
        OciArchiveWriter {
            docker: true,
            ..self
        }
    }

    /// True when the layer was added already.
    ///
    /// # Errors
    /// When the archive is closed or broken.
    pub fn has_layer(&self, diff_id: &DiffId) -> Result<bool, WriteError> {
        self.books.has_layer(diff_id)
    }

    /// Adds a layer, a tar of exactly `size` bytes; false when it was there already, and
    /// nothing was read.
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
            tar.as_mut()
                .ok_or(WriteError::Closed)?
                .layer(&layer, content)
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

    /// Adds an image for several platforms, all of whose images have been added.
    ///
    /// Its index is written as it is where all its images are written with the manifests that it
    /// lists, and else anew.
    ///
    /// # Errors
    /// An image that is not there, a name that another image has, a name without a tag. The
    /// writer stays usable.
    pub fn add_index(&self, index: &ArchiveIndex) -> Result<(), WriteError> {
        self.books.add_index(index)
    }

    /// Completes the archive and gives the output back.
    ///
    /// # Errors
    /// When it was closed before, is broken, or the output refuses.
    pub fn close(&self) -> Result<W, WriteError> {
        self.close_with().map(|(out, _)| out)
    }

    /// As `close`, and says what was made.
    pub(crate) fn close_with(&self) -> Result<(W, Outcome), WriteError> {
        let output = |source| WriteError::Output { source };
        let contents = self.books.close()?;
        let tar = self
            .tar
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let mut tar = tar.ok_or(WriteError::Closed)?;
        tar.begin().map_err(output)?;
        let mut outcome = Outcome::default();
        let images = layout::write(&contents, &mut tar, &mut outcome)?;
        let index = layout::index(layout::entries(&images));
        tar.whole("index.json", &index).map_err(output)?;
        if self.docker {
            tar.docker(&contents).map_err(output)?;
        }
        let (out, bytes) = tar.tar.finish().map_err(output)?;
        outcome.bytes = bytes;
        Ok((out, outcome))
    }
}

/// Blobs as members of a tar.
struct TarBlobs<W: Write> {
    tar: TarWriter<W>,
    begun: bool,
    there: HashSet<Digest>,
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

impl<W: Write> TarBlobs<W> {
    /// Writes what says that this is a layout, before anything else.
    fn begin(&mut self) -> std::io::Result<()> {
        if self.begun {
            return Ok(());
        }
        self.begun = true;
        self.whole("oci-layout", LAYOUT)
    }

    fn whole(&mut self, path: &str, content: &str) -> std::io::Result<()> {
        self.tar.whole_file(path, FILE, content.as_bytes())
    }

    fn layer(&mut self, layer: &Layer, content: &mut dyn BufRead) -> Result<Written, WriteError> {
        self.begin()
            .map_err(|source| WriteError::Output { source })?;
        let path = |written: &Written| blob_path(&written.digest);
        let written = self.tar.layer(layer, FILE, &path, content)?;
        self.there.insert(written.digest);
        Ok(written)
    }

    /// Writes the documents that docker reads, in its words.
    fn docker(&mut self, contents: &Contents) -> std::io::Result<()> {
        let items: Vec<OutItem> = contents
            .images
            .iter()
            .map(|added| item(added, contents))
            .collect();
        // What stands for an image is its top layer, no longer a v1 ID.
        let repositories = contents.repositories(Reference::familiar_repository, |added| {
            added.facts.diff_ids.last().map(DiffId::hex)
        });
        self.whole("manifest.json", &manifest::write(&items))?;
        self.whole("repositories", &manifest::repositories(&repositories))
    }
}

impl<W: Write> Blobs for TarBlobs<W> {
    fn document(&mut self, digest: &Digest, bytes: &[u8]) -> Result<(), WriteError> {
        if !self.there.insert(*digest) {
            return Ok(());
        }
        self.tar
            .whole_file(&blob_path(digest), FILE, bytes)
            .map_err(|source| WriteError::Output { source })
    }
}

fn item(added: &Added, contents: &Contents) -> OutItem {
    let names: Vec<String> = added.image.names.iter().map(Reference::familiar).collect();
    let layers: Vec<(&DiffId, &Written)> = added.layers(contents).collect();
    let paths = layers.iter().map(|(_, written)| blob_path(&written.digest));
    let mut sources: HashMap<DiffId, String> = HashMap::new();
    for (diff_id, written) in &layers {
        let media_type = layout::layer_type(Flavour::Oci, written.compression);
        let source = Descriptor::new(media_type, written.digest, written.size);
        sources.insert(**diff_id, source.to_json());
    }
    // What lives elsewhere says so itself.
    for (diff_id, source) in &added.image.layer_sources {
        sources.insert(*diff_id, source.clone());
    }
    let sources: BTreeMap<String, String> = sources
        .into_iter()
        .map(|(diff_id, source)| (diff_id.to_string(), source))
        .collect();
    OutItem {
        config: blob_path(added.id.digest()),
        repo_tags: Some(names).filter(|names| !names.is_empty()),
        layers: Some(paths.collect()),
        parent: contents.parent(added).map(|parent| parent.to_string()),
        layer_sources: sources,
    }
}
