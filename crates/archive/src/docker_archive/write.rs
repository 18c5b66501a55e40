//! Writes docker-archives in the default layout, that of podman and skopeo.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{Read, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lith_store::{DiffId, ImageId, Reference};

use super::manifest::{self, OutItem};
use super::tar_writer::TarWriter;
use super::v1::{self, V1Layer};
use crate::config;
use crate::{ConfigError, WriteError};

/// How much of a layer is copied at once.
const BUFFER: usize = 128 << 10;

/// An image to be added to an archive.
#[derive(Debug, Clone, Default)]
pub struct ArchiveImage {
    /// The config, byte for byte: its digest is the image ID, and its diff IDs are the
    /// image's layers.
    pub config: Vec<u8>,
    /// Names with tags.
    pub names: Vec<Reference>,
    /// The image that this one was built on; written only when it is in the archive too.
    pub parent: Option<ImageId>,
    /// Where layers come from, by diff ID; the values are JSON.
    pub layer_sources: BTreeMap<DiffId, String>,
}

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
    state: Mutex<State<W>>,
}

enum State<W> {
    Open(Box<Open<W>>),
    Closed,
    /// Something failed while the output was being written.
    Broken,
}

struct Open<W> {
    tar: TarWriter<W>,
    layers: HashSet<DiffId>,
    images: Vec<Added>,
    owners: HashMap<Reference, ImageId>,
}

struct Added {
    id: ImageId,
    image: ArchiveImage,
    v1: Vec<V1Layer>,
}

impl<W: Write> DockerArchiveWriter<W> {
    /// Begins an archive.
    pub fn new(out: W) -> Self {
        let open = Open {
            tar: TarWriter::new(out),
            layers: HashSet::new(),
            images: Vec::new(),
            owners: HashMap::new(),
        };
        DockerArchiveWriter {
            state: Mutex::new(State::Open(Box::new(open))),
        }
    }

    /// True when the layer was added already.
    ///
    /// # Errors
    /// When the archive is closed or broken.
    pub fn has_layer(&self, diff_id: &DiffId) -> Result<bool, WriteError> {
        Ok(open(&mut self.lock())?.layers.contains(diff_id))
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
        let mut state = self.lock();
        let open = open(&mut state)?;
        if !open.layers.insert(*diff_id) {
            return Ok(false);
        }
        let added = open.layer(diff_id, size, content);
        if added.is_err() {
            *state = State::Broken;
        }
        added.map(|()| true)
    }

    /// Adds an image, all of whose layers have been added.
    ///
    /// An image that was added before gets the further names.
    ///
    /// # Errors
    /// A config that cannot be used, a layer that is not there, a name that another image
    /// has, a name without a tag. The archive stays usable.
    pub fn add_image(&self, image: &ArchiveImage) -> Result<ImageId, WriteError> {
        let id = ImageId::of_bytes(&image.config);
        let failed = |source| WriteError::Config { image: id, source };
        let facts = config::parse(&image.config).map_err(failed)?;
        let v1 = v1::layers(&image.config, &facts.diff_ids)
            .map_err(|source| failed(ConfigError::Json(source)))?;
        open(&mut self.lock())?.image(id, image, v1)
    }

    /// Completes the archive and gives the output back.
    ///
    /// # Errors
    /// When it was closed before, is broken, or the output refuses.
    pub fn close(&self) -> Result<W, WriteError> {
        let mut state = self.lock();
        open(&mut state)?;
        match std::mem::replace(&mut *state, State::Closed) {
            State::Open(open) => open.finish(),
            State::Closed | State::Broken => Err(WriteError::Closed),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<W>> {
        // A thread that panicked half-way left a broken archive behind.
        self.state
            .lock()
            .unwrap_or_else(|poisoned: PoisonError<_>| {
                let mut state = poisoned.into_inner();
                *state = State::Broken;
                state
            })
    }
}

fn open<W>(state: &mut State<W>) -> Result<&mut Open<W>, WriteError> {
    match state {
        State::Open(open) => Ok(open),
        State::Closed => Err(WriteError::Closed),
        State::Broken => Err(WriteError::Broken),
    }
}

impl<W: Write> Open<W> {
    fn layer(
        &mut self,
        diff_id: &DiffId,
        size: u64,
        content: &mut dyn Read,
    ) -> Result<(), WriteError> {
        let output = |source| WriteError::Output { source };
        let failed = |source| WriteError::Content {
            name: diff_id.to_string(),
            source,
        };
        let length = |actual| WriteError::Length {
            name: diff_id.to_string(),
            announced: size,
            actual,
        };
        self.tar.file(&layer_name(diff_id), size).map_err(output)?;
        let mut buffer = vec![0; BUFFER];
        let mut written = 0;
        loop {
            let read = match content.read(&mut buffer) {
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(failed(error)),
            };
            let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
                break;
            };
            written += read as u64;
            if written > size {
                return Err(length(size + 1));
            }
            self.tar.content(bytes).map_err(output)?;
        }
        if written == size {
            Ok(())
        } else {
            Err(length(written))
        }
    }

    fn image(
        &mut self,
        id: ImageId,
        image: &ArchiveImage,
        v1: Vec<V1Layer>,
    ) -> Result<ImageId, WriteError> {
        for layer in v1.iter().map(|layer| layer.diff_id) {
            if !self.layers.contains(&layer) {
                return Err(WriteError::LayerMissing { image: id, layer });
            }
        }
        for name in &image.names {
            if name.tag().is_none() || name.digest().is_some() {
                return Err(WriteError::NotATag { name: name.clone() });
            }
            if let Some(first) = self.owners.get(name).filter(|first| **first != id) {
                let (name, first) = (name.familiar(), *first);
                return Err(WriteError::NameTwice {
                    name,
                    first,
                    second: id,
                });
            }
        }
        let index = self.images.iter().position(|added| added.id == id);
        let index = index.unwrap_or_else(|| {
            let image = ArchiveImage {
                names: Vec::new(),
                ..image.clone()
            };
            self.images.push(Added { id, image, v1 });
            self.images.len() - 1
        });
        if let Some(added) = self.images.get_mut(index) {
            for name in &image.names {
                if self.owners.insert(name.clone(), id).is_none() {
                    added.image.names.push(name.clone());
                }
            }
        }
        Ok(id)
    }

    fn finish(mut self) -> Result<W, WriteError> {
        let output = |source| WriteError::Output { source };
        let mut folders = HashSet::new();
        for layer in self.images.iter().flat_map(|added| &added.v1) {
            if folders.insert(&layer.id) {
                let target = format!("../{}", layer_name(&layer.diff_id));
                let path = |file: &str| format!("{}/{file}", layer.id);
                self.tar
                    .symlink(&path("layer.tar"), &target)
                    .map_err(output)?;
                self.tar
                    .whole_file(&path("VERSION"), b"1.0")
                    .map_err(output)?;
                self.tar
                    .whole_file(&path("json"), layer.json.as_bytes())
                    .map_err(output)?;
            }
        }
        for added in &self.images {
            let config = &added.image.config;
            self.tar
                .whole_file(&config_name(&added.id), config)
                .map_err(output)?;
        }
        let manifest = manifest::write(&self.items());
        let repositories = manifest::repositories(&self.repositories());
        self.tar
            .whole_file("manifest.json", manifest.as_bytes())
            .map_err(output)?;
        self.tar
            .whole_file("repositories", repositories.as_bytes())
            .map_err(output)?;
        self.tar.finish().map_err(output)
    }

    fn items(&self) -> Vec<OutItem> {
        let here: HashSet<ImageId> = self.images.iter().map(|added| added.id).collect();
        let items = self.images.iter().map(|added| {
            let parent = added.image.parent.filter(|parent| here.contains(parent));
            let parent = parent.filter(|parent| *parent != added.id);
            let sources = added.image.layer_sources.iter();
            OutItem {
                config: config_name(&added.id),
                repo_tags: added.image.names.iter().map(Reference::to_string).collect(),
                layers: added
                    .v1
                    .iter()
                    .map(|layer| layer_name(&layer.diff_id))
                    .collect(),
                parent: parent.map(|parent| parent.to_string()),
                layer_sources: sources
                    .map(|(id, json)| (id.to_string(), json.clone()))
                    .collect(),
            }
        });
        items.collect()
    }

    fn repositories(&self) -> BTreeMap<String, BTreeMap<String, String>> {
        let mut all: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for added in &self.images {
            let Some(top) = added.v1.last() else { continue };
            for name in &added.image.names {
                let tags = all.entry(name.repository().to_owned()).or_default();
                tags.insert(name.tag().unwrap_or_default().to_owned(), top.id.clone());
            }
        }
        all
    }
}

fn layer_name(diff_id: &DiffId) -> String {
    format!("{}.tar", diff_id.hex())
}

fn config_name(id: &ImageId) -> String {
    format!("{}.json", id.hex())
}
