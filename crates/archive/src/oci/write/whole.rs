//! Indexes: written as they came where all that they list is, and else anew.
//!
//! An index that is written anew lists the new manifests in the places of the old ones. What
//! attests something of a manifest that is no longer there is left out, and said.

use std::collections::{BTreeMap, HashMap};

use lith_store::{Digest, ImageId};

use super::edit;
use super::layout::{Blobs, Described, Outcome};
use crate::WriteError;
use crate::images::{ArchiveIndex, Contents};
use crate::oci::{Descriptor, Document, DocumentError, Kind, MediaType};

/// Names the manifest that an attestation is about, as BuildKit writes it.
const ABOUT: &str = "vnd.docker.reference.digest";

/// Indexes within indexes; readers refuse more.
const MAX_DEPTH: usize = 32;

/// Writes all indexes.
pub(super) fn write(
    contents: &Contents,
    images: &[Described],
    blobs: &mut dyn Blobs,
    outcome: &mut Outcome,
) -> Result<Vec<Described>, WriteError> {
    let added = contents.images.iter().map(|added| added.id);
    let written: HashMap<ImageId, &Descriptor> = added
        .zip(images.iter().map(|image| &image.descriptor))
        .collect();
    let mut all = Vec::with_capacity(contents.indexes.len());
    for index in &contents.indexes {
        let id = index.id();
        let mut work = Work {
            index,
            written: &written,
            keep: BTreeMap::new(),
            left_out: 0,
            lacking: Vec::new(),
        };
        let document = work
            .rewrite(&index.document, 0)
            .map_err(|source| WriteError::Index { index: id, source })?;
        for (digest, bytes) in &work.keep {
            blobs.document(digest, bytes)?;
        }
        let described = described(index, document, id)?;
        blobs.document(&described.descriptor.digest, &described.manifest)?;
        outcome.warnings.extend(work.told(&described));
        outcome.manifests.push((id, described.descriptor.digest));
        all.push(described);
    }
    Ok(all)
}

fn described(
    index: &ArchiveIndex,
    document: Vec<u8>,
    id: ImageId,
) -> Result<Described, WriteError> {
    let failed = |source| WriteError::Index { index: id, source };
    let media_type = media_type(&document).map_err(failed)?;
    let digest = Digest::of(&document);
    Ok(Described {
        descriptor: Descriptor::new(media_type, digest, document.len() as u64),
        as_it_came: digest == *id.digest(),
        manifest: document,
        names: index.names.clone(),
        index_name: index.index_name.clone(),
    })
}

fn media_type(document: &[u8]) -> Result<MediaType, DocumentError> {
    match Document::parse(document)? {
        Document::Index(index) => Ok(index.media_type),
        Document::Manifest(manifest) => Err(DocumentError::MediaType {
            found: manifest.media_type,
        }),
    }
}

/// One index on its way.
struct Work<'a> {
    index: &'a ArchiveIndex,
    written: &'a HashMap<ImageId, &'a Descriptor>,
    /// What it lists and is written with it.
    keep: BTreeMap<Digest, Vec<u8>>,
    /// Attestations of manifests that are written anew.
    left_out: usize,
    /// What it lists and nobody has, as before.
    lacking: Vec<Digest>,
}

impl Work<'_> {
    /// The document of an index: the same where what it lists is the same.
    fn rewrite(&mut self, document: &[u8], depth: usize) -> Result<Vec<u8>, DocumentError> {
        let Document::Index(index) = Document::parse(document)? else {
            return Ok(document.to_vec());
        };
        let (members, raw) = edit::parts(document)?;
        let mut changed = false;
        let mut list = Vec::with_capacity(raw.len());
        for (descriptor, raw) in index.manifests.iter().zip(raw) {
            match self.place(descriptor, depth)? {
                Place::Same => list.push(raw.get().to_owned()),
                Place::Other(new) => {
                    changed = true;
                    let new = new.to_json();
                    if !list.contains(&new) {
                        list.push(new);
                    }
                }
                Place::None => changed = true,
            }
        }
        Ok(match changed {
            true => edit::with_manifests(members, list).into_bytes(),
            false => document.to_vec(),
        })
    }

    /// What stands in the place of something that an index lists.
    fn place(&mut self, descriptor: &Descriptor, depth: usize) -> Result<Place, DocumentError> {
        if let Some(new) = self.image(&descriptor.digest) {
            if new.digest == descriptor.digest {
                return Ok(Place::Same);
            }
            return Ok(Place::Other(Box::new(Descriptor {
                media_type: new.media_type.clone(),
                digest: new.digest,
                size: new.size,
                data: None,
                ..descriptor.clone()
            })));
        }
        if self.is_about_another(descriptor) {
            self.left_out += 1;
            return Ok(Place::None);
        }
        let Some(bytes) = self.index.blobs.get(&descriptor.digest) else {
            self.lacking.push(descriptor.digest);
            return Ok(Place::Same);
        };
        if descriptor.media_type.kind() != Kind::Index || depth >= MAX_DEPTH {
            self.keep_with_parts(descriptor.digest, bytes);
            return Ok(Place::Same);
        }
        let document = self.rewrite(bytes, depth + 1)?;
        let digest = Digest::of(&document);
        let size = document.len() as u64;
        self.keep.insert(digest, document);
        if digest == descriptor.digest {
            return Ok(Place::Same);
        }
        Ok(Place::Other(Box::new(Descriptor {
            digest,
            size,
            data: None,
            ..descriptor.clone()
        })))
    }

    /// The manifest that was written of an image that the index lists by this digest.
    fn image(&self, listed: &Digest) -> Option<&Descriptor> {
        let mut members = self.index.members.iter();
        let (_, image) = members.find(|(digest, _)| digest == listed)?;
        self.written.get(image).copied()
    }

    /// True for an attestation of a manifest that is written anew.
    fn is_about_another(&self, descriptor: &Descriptor) -> bool {
        let about = descriptor.annotations.get(ABOUT);
        let about = about.and_then(|about| about.parse::<Digest>().ok());
        about.is_some_and(|about| self.image(&about).is_some_and(|new| new.digest != about))
    }

    /// Keeps a blob, and what it lists where it is a manifest.
    fn keep_with_parts(&mut self, digest: Digest, bytes: &[u8]) {
        self.keep.insert(digest, bytes.to_vec());
        let Ok(Document::Manifest(manifest)) = Document::parse(bytes) else {
            return;
        };
        for part in manifest.layers.iter().chain([&manifest.config]) {
            match self.index.blobs.get(&part.digest) {
                Some(bytes) => drop(self.keep.insert(part.digest, bytes.clone())),
                None => self.lacking.push(part.digest),
            }
        }
    }

    /// What the user should know of the index that was written.
    fn told(&self, described: &Described) -> Vec<String> {
        let label = match self.index.names.first() {
            Some(name) => name.familiar(),
            None => self.index.id().to_string(),
        };
        let mut told = Vec::new();
        if !described.as_it_came {
            let (old, new) = (self.index.id(), described.descriptor.digest);
            told.push(format!(
                "{label} is written with a new index, {new} instead of {old}: manifests of its \
                 images are new"
            ));
        }
        if self.left_out > 0 {
            told.push(format!(
                "{} attestations of {label} are left out: they are about manifests that are \
                 written anew",
                self.left_out
            ));
        }
        if !self.lacking.is_empty() {
            told.push(format!(
                "{label} is written without {} of what its index lists, which it came without",
                self.lacking.len()
            ));
        }
        told
    }
}

/// What stands where an index listed something.
enum Place {
    Same,
    Other(Box<Descriptor>),
    None,
}
