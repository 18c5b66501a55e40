//! Whole indexes: an image for every platform, and what else an index lists.

use std::collections::BTreeMap;

use lith_store::{Digest, ImageId, IndexMember, Reference};

use super::Reader;
use super::choose::{MAX_DEPTH, MAX_MANIFESTS, is_no_image};
use super::entries::Entry;
use crate::LoadError;
use crate::oci::{Descriptor, Document, IMAGE_NAME, Index, Kind, MediaType, REF_NAME};
use crate::source::SourceIndex;

/// An index as its documents are found.
#[derive(Default)]
struct Gathered {
    members: Vec<IndexMember>,
    blobs: BTreeMap<Digest, Vec<u8>>,
    listed: usize,
}

impl Reader<'_> {
    /// Adds all images of an entry, and the index that it is; false when it is none: a manifest
    /// that stands alone.
    ///
    /// Where a layout lists several manifests under one name, an index is made that lists them.
    pub(super) fn add_whole(&mut self, entry: &Entry) -> Result<bool, LoadError> {
        let document = match &entry.descriptors[..] {
            [only] if only.media_type.kind() == Kind::Index => {
                self.blobs.manifest(only, "index.json")?.0
            }
            [_] | [] => return Ok(false),
            several => made(several).into_bytes(),
        };
        let (names, nameless) = entry.names();
        self.warnings.extend(nameless);
        self.add_document(document, names, &entry.label())?;
        Ok(true)
    }

    /// Adds all images of an index.
    pub(crate) fn add_document(
        &mut self,
        document: Vec<u8>,
        names: Vec<Reference>,
        label: &str,
    ) -> Result<(), LoadError> {
        let mut gathered = Gathered::default();
        let above = vec![Digest::of(&document)];
        let parsed = super::blobs::parse(&document, label)?;
        if let Document::Index(index) = parsed {
            self.gather(index, &above, &mut gathered)?;
        }
        if gathered.members.is_empty() {
            self.left_out.push(format!("{label} holds no image"));
            return Ok(());
        }
        self.indexes.push(SourceIndex {
            id: ImageId::of_bytes(&document),
            document,
            names,
            members: gathered.members,
            blobs: gathered.blobs,
        });
        Ok(())
    }

    fn gather(
        &mut self,
        index: Index,
        above: &[Digest],
        gathered: &mut Gathered,
    ) -> Result<(), LoadError> {
        let by = above
            .last()
            .map_or_else(String::new, |id| format!("index {id}"));
        for descriptor in index.manifests {
            gathered.listed += 1;
            if gathered.listed > MAX_MANIFESTS {
                let (what, limit) = ("manifests of one image", MAX_MANIFESTS);
                return Err(LoadError::TooMany { what, limit });
            }
            let read = match descriptor.media_type.kind() {
                Kind::Index => self.gather_index(&descriptor, above, &by, gathered),
                Kind::Manifest => self.gather_manifest(&descriptor, &by, gathered),
                _ => self.gather_blob(&descriptor, &by, gathered),
            };
            match read {
                // An index may list what was not copied with it.
                Err(LoadError::MissingMember { .. }) if !self.cut_off => self.warnings.push(
                    format!("{by} lists {}, which is not here", described(&descriptor)),
                ),
                Err(LoadError::TooLarge { member, size, .. }) if is_no_image(&descriptor) => {
                    self.warnings.push(format!(
                        "{member} is not kept with {by}: it has {size} bytes, and is no image"
                    ));
                }
                other => other?,
            }
        }
        Ok(())
    }

    fn gather_index(
        &mut self,
        descriptor: &Descriptor,
        above: &[Digest],
        by: &str,
        gathered: &mut Gathered,
    ) -> Result<(), LoadError> {
        if above.contains(&descriptor.digest) || above.len() >= MAX_DEPTH {
            let (what, limit) = ("indexes within each other", MAX_DEPTH);
            return Err(LoadError::TooMany { what, limit });
        }
        let (bytes, document) = self.blobs.manifest(descriptor, by)?;
        gathered.blobs.insert(descriptor.digest, bytes);
        let mut above = above.to_vec();
        above.push(descriptor.digest);
        match document {
            Document::Index(index) => self.gather(index, &above, gathered),
            Document::Manifest(_) => Ok(()),
        }
    }

    fn gather_manifest(
        &mut self,
        descriptor: &Descriptor,
        by: &str,
        gathered: &mut Gathered,
    ) -> Result<(), LoadError> {
        let (bytes, document) = self.blobs.manifest(descriptor, by)?;
        let Document::Manifest(manifest) = document else {
            return Ok(());
        };
        let image = match is_no_image(descriptor) {
            true => None,
            false => self.image(descriptor, by)?,
        };
        if let Some(image) = image {
            gathered.members.push(IndexMember {
                image: image.id,
                manifest: descriptor.digest,
                platform: image.platform().map(|platform| platform.to_string()),
            });
            self.add(image);
        } else {
            let by = format!("manifest {}", descriptor.digest);
            for below in manifest.layers.iter().chain([&manifest.config]) {
                self.gather_blob(below, &by, gathered)?;
            }
        }
        gathered.blobs.insert(descriptor.digest, bytes);
        Ok(())
    }

    /// Keeps something small that is no part of an image.
    fn gather_blob(
        &mut self,
        descriptor: &Descriptor,
        by: &str,
        gathered: &mut Gathered,
    ) -> Result<(), LoadError> {
        let bytes = self.blobs.config(descriptor, by)?;
        gathered.blobs.insert(descriptor.digest, bytes);
        Ok(())
    }
}

fn described(descriptor: &Descriptor) -> String {
    match &descriptor.platform {
        Some(platform) => format!("{} for {platform}", descriptor.digest),
        None => descriptor.digest.to_string(),
    }
}

/// An index of manifests that a layout lists under one name, which stays outside.
fn made(several: &[Descriptor]) -> String {
    let manifests = several.iter().map(|descriptor| {
        let mut descriptor = descriptor.clone();
        for key in [IMAGE_NAME, REF_NAME] {
            descriptor.annotations.remove(key);
        }
        descriptor
    });
    let index = Index {
        media_type: MediaType::OciIndex,
        manifests: manifests.collect(),
        annotations: BTreeMap::new(),
    };
    index.to_json()
}
