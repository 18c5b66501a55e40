//! What a load has done.

use std::collections::BTreeMap;

use lith_store::{ImageId, Reference};
use serde::{Serialize, Serializer};

/// What a load has done.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct LoadReport {
    /// The images, in the archive's order.
    pub images: Vec<LoadedImage>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// The list of images, as `lith load --json` shows it.
impl Serialize for LoadReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.images.serialize(serializer)
    }
}

/// One image that is in the store now.
#[derive(Debug, Clone, Serialize)]
pub struct LoadedImage {
    /// The digest of its config.
    pub id: ImageId,
    /// The names that point to it now because of this load.
    #[serde(serialize_with = "familiar")]
    pub names: Vec<Reference>,
    /// Those of them that pointed to another image before, and to which.
    #[serde(serialize_with = "by_name")]
    pub moved: Vec<(Reference, ImageId)>,
    /// Layers that were registered for it.
    pub layers_new: usize,
    /// Layers that were in the store before, or came with an earlier image of the archive.
    pub layers_reused: usize,
    /// Bytes of the tars of the new layers.
    pub bytes: u64,
    /// Time since the image before it, or since the start.
    pub seconds: f64,
}

fn familiar<S: Serializer>(names: &[Reference], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(names.iter().map(Reference::familiar))
}

fn by_name<S: Serializer>(
    moved: &[(Reference, ImageId)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let moved: BTreeMap<_, _> = moved
        .iter()
        .map(|(name, id)| (name.familiar(), id))
        .collect();
    moved.serialize(serializer)
}
