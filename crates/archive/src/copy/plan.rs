//! Which layers are copied: each once, in the order of first use.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use lith_store::{DiffId, ImageId};

use crate::save::{layer_sources, signatures};
use crate::source::{LayerData, SourceBlob, SourceImage, SourceIndex};
use crate::{ArchiveImage, ArchiveIndex, CopyError, LoadError, SaveOptions};

/// The images to be written, and the layers that they need.
pub(super) struct Plan {
    images: Vec<ArchiveImage>,
    indexes: Vec<ArchiveIndex>,
    layers: Vec<Needed>,
}

/// A layer to be copied.
#[derive(Debug, Clone)]
pub(super) struct Needed {
    pub(super) diff_id: DiffId,
    /// What the source calls it.
    pub(super) name: String,
    /// Where it is; the source has it.
    pub(super) data: LayerData,
    /// Bytes as transported, where that is known.
    pub(super) size: Option<u64>,
    /// What the source says of them.
    pub(super) blob: Option<Arc<SourceBlob>>,
}

impl Needed {
    /// The bytes, when the manifest itself has them.
    pub(super) fn inline(&self) -> Option<&[u8]> {
        self.blob.as_ref()?.inline.as_deref()
    }

    /// True when nobody has it.
    fn is_absent(&self) -> bool {
        self.data == LayerData::Absent && self.inline().is_none()
    }
}

impl Plan {
    pub(super) fn new(
        images: &[SourceImage],
        indexes: Vec<SourceIndex>,
        cut_off: Option<u64>,
        output: &SaveOptions,
    ) -> Result<Plan, CopyError> {
        let indexes = indexes.into_iter().map(|index| ArchiveIndex {
            members: index.members().collect(),
            document: index.document,
            names: index.names,
            index_name: output.index_name.clone(),
            blobs: index.blobs,
        });
        let mut plan = Plan {
            images: Vec::with_capacity(images.len()),
            indexes: indexes.collect(),
            layers: Vec::new(),
        };
        let mut numbers = HashMap::new();
        for image in images {
            plan.add(image, &mut numbers);
            let mut written = archive_image(image, output)?;
            plan.use_index(&image.id, &mut written);
            plan.images.push(written);
        }
        plan.look(images, cut_off)?;
        Ok(plan)
    }

    fn add(&mut self, image: &SourceImage, numbers: &mut HashMap<DiffId, usize>) {
        for layer in &image.layers {
            let number = *numbers.entry(layer.diff_id).or_insert(self.layers.len());
            let needed = Needed {
                diff_id: layer.diff_id,
                name: layer.name.clone(),
                data: layer.data,
                size: layer.size,
                blob: layer.blob.clone(),
            };
            match self.layers.get_mut(number) {
                // Another image may know where it is.
                Some(known) if known.is_absent() => *known = needed,
                Some(_) => {}
                None => self.layers.push(needed),
            }
        }
    }

    /// Makes sure that every layer can be had, before anything is written.
    fn look(&self, images: &[SourceImage], cut_off: Option<u64>) -> Result<(), CopyError> {
        let absent = self.layers.iter();
        let absent = absent.filter(|layer| layer.is_absent());
        let absent: HashSet<DiffId> = absent.map(|layer| layer.diff_id).collect();
        for image in images {
            let mut listed = HashSet::new();
            let missing = image.layers.iter().map(|layer| layer.diff_id);
            let missing = missing.filter(|id| absent.contains(id) && listed.insert(*id));
            let missing: Vec<DiffId> = missing.collect();
            return Err(match (missing.first(), cut_off) {
                (None, _) => continue,
                (Some(first), Some(offset)) => LoadError::Truncated {
                    offset,
                    missing: format!("layer {first}"),
                }
                .into(),
                (Some(_), None) => CopyError::MissingLayers {
                    image: image.id,
                    missing,
                },
            });
        }
        Ok(())
    }

    pub(super) fn images(&self) -> &[ArchiveImage] {
        &self.images
    }

    pub(super) fn indexes(&self) -> &[ArchiveIndex] {
        &self.indexes
    }

    /// Gives an image of an index the manifest that the index lists.
    fn use_index(&self, id: &ImageId, image: &mut ArchiveImage) {
        let listed = self
            .indexes
            .iter()
            .find_map(|index| Some(index.blobs.get(index.lists(id)?)));
        if let Some(manifest) = listed {
            image.manifest = manifest.cloned().or_else(|| image.manifest.take());
            image.index_name = None;
        }
    }

    pub(super) fn layers(&self) -> &[Needed] {
        &self.layers
    }

    /// The layers in this order, when one is given.
    pub(super) fn in_order(&self, order: Option<Vec<DiffId>>) -> Vec<&Needed> {
        let Some(order) = order else {
            return self.layers.iter().collect();
        };
        let layers: HashMap<DiffId, &Needed> = self
            .layers
            .iter()
            .map(|layer| (layer.diff_id, layer))
            .collect();
        let layers = order.iter().filter_map(|diff_id| layers.get(diff_id));
        layers.copied().collect()
    }
}

fn archive_image(image: &SourceImage, output: &SaveOptions) -> Result<ArchiveImage, CopyError> {
    Ok(ArchiveImage {
        config: image.config.clone(),
        names: image.names.clone(),
        parent: image.parent,
        layer_sources: layer_sources(&image.id, &image.extra, output.usual())?,
        manifest: image
            .manifest
            .as_ref()
            .map(|manifest| manifest.bytes.clone()),
        index_name: output.index_name.clone(),
        signatures: signatures(&image.extra),
    })
}
