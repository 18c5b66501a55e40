//! What has been added to an output: layers, then images that need them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use lith_store::{DiffId, Digest, ImageId, Reference};

use crate::WriteError;
use crate::compress::Written;
use crate::config::{self, ConfigFacts};
use crate::naming;

/// An image to be added to an output.
#[derive(Debug, Clone, Default)]
pub struct ArchiveImage {
    /// The config, byte for byte: its digest is the image ID, and its diff IDs are the
    /// image's layers.
    pub config: Vec<u8>,
    /// Names with tags.
    pub names: Vec<Reference>,
    /// The image that this one was built on; written only when it is in the output too, and
    /// the format knows of such.
    pub parent: Option<ImageId>,
    /// Where layers come from, by diff ID; the values are JSON. For docker-archives.
    pub layer_sources: BTreeMap<DiffId, String>,
    /// The manifest that the image came with, byte for byte; written again where it describes
    /// what is written. For formats that have manifests.
    pub manifest: Option<Vec<u8>>,
    /// What an index calls it beside its names, where that is no name of an image: a tag alone,
    /// say. For formats that have an index.
    pub index_name: Option<String>,
    /// Signatures of that manifest, by file name. For docker-dir.
    pub signatures: BTreeMap<String, Vec<u8>>,
}

/// An image for several platforms to be added to an output.
#[derive(Debug, Clone, Default)]
pub struct ArchiveIndex {
    /// The index, byte for byte; written again where it lists what is written.
    pub document: Vec<u8>,
    /// Names with tags.
    pub names: Vec<Reference>,
    /// What an index of a layout calls it beside its names, where that is no name of an image.
    pub index_name: Option<String>,
    /// The images by the digests of their manifests as the index lists them.
    pub members: Vec<(Digest, ImageId)>,
    /// What it lists beside images: manifests, indexes, attestations with what they are made of.
    pub blobs: BTreeMap<Digest, Vec<u8>>,
}

impl ArchiveIndex {
    /// The digest of the document.
    pub(crate) fn id(&self) -> ImageId {
        ImageId::of_bytes(&self.document)
    }

    /// The digest of the manifest by which it lists an image.
    pub(crate) fn lists(&self, image: &ImageId) -> Option<&Digest> {
        let mut members = self.members.iter();
        let (manifest, _) = members.find(|(_, member)| member == image)?;
        Some(manifest)
    }
}

/// Books for a writer that several threads use.
pub(crate) struct Books {
    state: Mutex<State>,
    /// Told whenever a layer is written or cannot be.
    changed: Condvar,
}

enum State {
    Open(Contents),
    Closed,
    /// Something failed while the output was being written.
    Broken,
}

/// What was added.
#[derive(Default)]
pub(crate) struct Contents {
    /// None for those that are being written.
    layers: HashMap<DiffId, Option<Written>>,
    /// In the order in which they were added.
    pub(crate) images: Vec<Added>,
    pub(crate) indexes: Vec<ArchiveIndex>,
    by_id: HashMap<ImageId, usize>,
    owners: HashMap<Reference, ImageId>,
}

/// An image that was added.
pub(crate) struct Added {
    pub(crate) id: ImageId,
    /// With all the names it was added under.
    pub(crate) image: ArchiveImage,
    pub(crate) facts: ConfigFacts,
}

impl Added {
    /// Its layers as they were written, bottom first.
    pub(crate) fn layers<'a>(
        &'a self,
        contents: &'a Contents,
    ) -> impl Iterator<Item = (&'a DiffId, &'a Written)> {
        let ids = self.facts.diff_ids.iter();
        ids.filter_map(|id| Some((id, contents.layers.get(id)?.as_ref()?)))
    }
}

impl Books {
    pub(crate) fn new() -> Books {
        Books {
            state: Mutex::new(State::Open(Contents::default())),
            changed: Condvar::new(),
        }
    }

    /// True when the layer was added already.
    pub(crate) fn has_layer(&self, diff_id: &DiffId) -> Result<bool, WriteError> {
        let mut state = self.lock();
        Ok(matches!(
            open(&mut state)?.layers.get(diff_id),
            Some(Some(_))
        ))
    }

    /// Adds a layer, written by `write` while others may add theirs; false with what was written
    /// then when it was there, perhaps because another thread has just written it.
    ///
    /// When it cannot be written, the output is unusable.
    pub(crate) fn add_layer(
        &self,
        diff_id: &DiffId,
        write: impl FnOnce() -> Result<Written, WriteError>,
    ) -> Result<(bool, Written), WriteError> {
        let mut state = self.lock();
        loop {
            match open(&mut state)?.layers.get(diff_id) {
                Some(Some(written)) => return Ok((false, *written)),
                Some(None) => state = self.wait(state),
                None => break,
            }
        }
        open(&mut state)?.layers.insert(*diff_id, None);
        drop(state);
        // Whoever waits learns of a panic, too.
        let mut breaking = Breaking {
            books: self,
            armed: true,
        };
        let written = write()?;
        breaking.armed = false;
        open(&mut self.lock())?
            .layers
            .insert(*diff_id, Some(written));
        self.changed.notify_all();
        Ok((true, written))
    }

    /// Adds an image, all of whose layers have been added; one that was added before gets the
    /// further names.
    pub(crate) fn add_image(&self, image: &ArchiveImage) -> Result<ImageId, WriteError> {
        let (id, facts) = read(image)?;
        open(&mut self.lock())?.add(id, image, facts)?;
        Ok(id)
    }

    /// Adds an index, all of whose images have been added.
    pub(crate) fn add_index(&self, index: &ArchiveIndex) -> Result<(), WriteError> {
        open(&mut self.lock())?.add_index(index)
    }

    /// Ends the work and says what was added.
    pub(crate) fn close(&self) -> Result<Contents, WriteError> {
        let mut state = self.lock();
        while open(&mut state)?.layers.values().any(Option::is_none) {
            state = self.wait(state);
        }
        match std::mem::replace(&mut *state, State::Closed) {
            State::Open(contents) => Ok(contents),
            State::Closed | State::Broken => Err(WriteError::Closed),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(image: &ArchiveImage) -> Result<(ImageId, ConfigFacts), WriteError> {
    let id = ImageId::of_bytes(&image.config);
    let failed = |source| WriteError::Config { image: id, source };
    let facts = config::parse(&image.config).map_err(failed)?;
    Ok((id, facts))
}

/// Breaks the books unless told that all went well.
struct Breaking<'a> {
    books: &'a Books,
    armed: bool,
}

impl Drop for Breaking<'_> {
    fn drop(&mut self) {
        if self.armed {
            *self.books.lock() = State::Broken;
            self.books.changed.notify_all();
        }
    }
}

fn open(state: &mut State) -> Result<&mut Contents, WriteError> {
    match state {
        State::Open(contents) => Ok(contents),
        State::Closed => Err(WriteError::Closed),
        State::Broken => Err(WriteError::Broken),
    }
}

impl Contents {
    /// Images whose layers are still to come.
    pub(crate) fn of(images: &[ArchiveImage]) -> Result<Contents, WriteError> {
        let mut contents = Contents::default();
        for image in images {
            let (id, facts) = read(image)?;
            contents.insert(id, image, facts)?;
        }
        Ok(contents)
    }

    fn add(
        &mut self,
        id: ImageId,
        image: &ArchiveImage,
        facts: ConfigFacts,
    ) -> Result<(), WriteError> {
        let missing = |layer: &&DiffId| !matches!(self.layers.get(layer), Some(Some(_)));
        if let Some(layer) = facts.diff_ids.iter().find(missing) {
            return Err(WriteError::LayerMissing {
                image: id,
                layer: *layer,
            });
        }
        self.insert(id, image, facts)
    }

    fn insert(
        &mut self,
        id: ImageId,
        image: &ArchiveImage,
        facts: ConfigFacts,
    ) -> Result<(), WriteError> {
        self.check_names(id, &image.names)?;
        let index = *self.by_id.entry(id).or_insert(self.images.len());
        if index == self.images.len() {
            let image = ArchiveImage {
                names: Vec::new(),
                ..image.clone()
            };
            self.images.push(Added { id, image, facts });
        }
        if let Some(added) = self.images.get_mut(index) {
            for name in &image.names {
                if self.owners.insert(name.clone(), id).is_none() {
                    added.image.names.push(name.clone());
                }
            }
        }
        Ok(())
    }

    fn add_index(&mut self, index: &ArchiveIndex) -> Result<(), WriteError> {
        let id = index.id();
        self.check_names(id, &index.names)?;
        let added = |(_, image): &&(Digest, ImageId)| self.by_id.contains_key(image);
        if let Some((_, image)) = index.members.iter().find(|member| !added(member)) {
            let image = *image;
            return Err(WriteError::MemberMissing { index: id, image });
        }
        let names = index.names.iter();
        self.owners.extend(names.map(|name| (name.clone(), id)));
        match self.indexes.iter_mut().find(|there| there.id() == id) {
            None => self.indexes.push(index.clone()),
            Some(there) => {
                for name in &index.names {
                    if !there.names.contains(name) {
                        there.names.push(name.clone());
                    }
                }
            }
        }
        Ok(())
    }

    /// True when an image has no name of its own and is part of an index.
    pub(crate) fn is_only_member(&self, added: &Added) -> bool {
        let has = |index: &ArchiveIndex| index.lists(&added.id).is_some();
        added.image.names.is_empty()
            && added.image.index_name.is_none()
            && self.indexes.iter().any(has)
    }

    fn check_names(&self, id: ImageId, names: &[Reference]) -> Result<(), WriteError> {
        if let Some(name) = naming::not_a_tag(names) {
            return Err(WriteError::NotATag { name: name.clone() });
        }
        for name in names {
            if let Some(first) = self.owners.get(name).filter(|first| **first != id) {
                return Err(WriteError::NameTwice {
                    name: name.familiar(),
                    first: *first,
                    second: id,
                });
            }
        }
        Ok(())
    }

    /// The parent of an image, when that is here too and not the image itself.
    pub(crate) fn parent(&self, added: &Added) -> Option<ImageId> {
        let here = |parent: &ImageId| self.by_id.contains_key(parent) && *parent != added.id;
        added.image.parent.filter(here)
    }

    /// Repository to tag to what `top` says of the image, which has layers; repositories are
    /// called as `repository` says.
    pub(crate) fn repositories(
        &self,
        repository: impl Fn(&Reference) -> &str,
        top: impl Fn(&Added) -> Option<String>,
    ) -> BTreeMap<String, BTreeMap<String, String>> {
        let mut all: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for added in &self.images {
            let Some(top) = top(added) else { continue };
            for name in &added.image.names {
                let tags = all.entry(repository(name).to_owned()).or_default();
                tags.insert(name.tag().unwrap_or_default().to_owned(), top.clone());
            }
        }
        all
    }
}
