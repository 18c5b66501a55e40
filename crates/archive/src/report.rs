//! What was written of each image.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use lith_store::{DiffId, Digest, ImageId, Reference};
use serde::Serialize;

use crate::{ArchiveImage, ArchiveIndex, LoadedImage, config};

/// One image that was saved or copied.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CopiedImage {
    /// The digest of its config.
    pub id: ImageId,
    /// Its names in what was written.
    #[serde(serialize_with = "crate::load::familiar")]
    pub names: Vec<Reference>,
    /// The digest of its manifest there; none in formats without manifests.
    pub digest: Option<Digest>,
    /// Its images, where it is an index: they stand before it in the list.
    pub members: Vec<ImageId>,
    /// How many layers it has.
    pub layers: usize,
    /// Bytes of its layers as they were written, without those that came with an earlier image.
    pub bytes: u64,
    /// Seconds that it took. The images appear together: the first has all of the time, the
    /// others none.
    pub seconds: f64,
}

/// Copied into the store.
impl From<LoadedImage> for CopiedImage {
    fn from(loaded: LoadedImage) -> Self {
        CopiedImage {
            id: loaded.id,
            names: loaded.names,
            digest: loaded.digest,
            members: loaded.members,
            layers: loaded.layers_new + loaded.layers_reused,
            bytes: loaded.bytes,
            seconds: loaded.seconds,
        }
    }
}

/// Reports on images, each once, and on the indexes behind them; `written` has the bytes of each
/// layer that was written.
pub(crate) fn images(
    (images, indexes): (&[ArchiveImage], &[ArchiveIndex]),
    written: &HashMap<DiffId, u64>,
    manifests: Vec<(ImageId, Digest)>,
    seconds: f64,
) -> Vec<CopiedImage> {
    let manifests: HashMap<ImageId, Digest> = manifests.into_iter().collect();
    let mut counted = HashSet::new();
    let mut places = HashMap::new();
    let mut all: Vec<CopiedImage> = Vec::new();
    for image in images {
        let id = ImageId::of_bytes(&image.config);
        let at = match places.entry(id) {
            Entry::Occupied(place) => *place.get(),
            Entry::Vacant(place) => {
                // A config that cannot be read was refused before.
                let facts = config::parse(&image.config);
                let layers = facts.map(|facts| facts.diff_ids).unwrap_or_default();
                let new = layers.iter().filter(|diff_id| counted.insert(**diff_id));
                all.push(CopiedImage {
                    id,
                    names: Vec::new(),
                    digest: manifests.get(&id).copied(),
                    members: Vec::new(),
                    bytes: new.filter_map(|diff_id| written.get(diff_id)).sum(),
                    layers: layers.len(),
                    seconds: 0.0,
                });
                *place.insert(all.len() - 1)
            }
        };
        let Some(report) = all.get_mut(at) else {
            continue;
        };
        for name in &image.names {
            if !report.names.contains(name) {
                report.names.push(name.clone());
            }
        }
    }
    for index in indexes {
        let id = index.id();
        all.push(CopiedImage {
            id,
            names: index.names.clone(),
            digest: manifests.get(&id).copied(),
            members: index.members.iter().map(|(_, image)| *image).collect(),
            layers: 0,
            bytes: 0,
            seconds: 0.0,
        });
    }
    if let Some(first) = all.first_mut() {
        first.seconds = seconds;
    }
    all
}
