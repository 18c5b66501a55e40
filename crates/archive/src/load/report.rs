//! What a load has done.

use std::collections::{BTreeMap, HashMap};

use lith_store::{Digest, ImageId, ImageRecord, NewImage, PublishedImage, Reference};
use serde::{Serialize, Serializer};

use super::place::Stack;

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
    /// The digest of its manifest, when it came with one; that of an index is its ID.
    pub digest: Option<Digest>,
    /// Its images, where it is an index: they stand before it in the list.
    pub members: Vec<ImageId>,
    /// Layers that were registered for it.
    pub layers_new: usize,
    /// Layers that were in the store before, or came with an earlier image of the archive.
    pub layers_reused: usize,
    /// Bytes of the tars of the new layers.
    pub bytes: u64,
    /// Seconds that the load took. The images of a load appear together: the first has all
    /// of the time, the others none.
    pub seconds: f64,
}

/// What became of the images, in their order.
pub(super) fn images(
    images: &[NewImage],
    stacks: &[Stack],
    published: Vec<PublishedImage>,
) -> Vec<LoadedImage> {
    // Of several images with one name the last has it.
    let owners: HashMap<&Reference, ImageId> = images
        .iter()
        .flat_map(|image| image.names.iter().map(|name| (name, image.record.id)))
        .collect();
    // An index has no layers of its own.
    let none = Stack::default();
    let stacks = stacks.iter().chain(std::iter::repeat(&none));
    let images = images.iter().zip(stacks).zip(published);
    images
        .map(|((image, stack), published)| {
            let id = image.record.id;
            let is_owner = |name: &&Reference| owners.get(*name) == Some(&id);
            LoadedImage {
                id,
                names: image.names.iter().filter(is_owner).cloned().collect(),
                moved: published.moved,
                digest: digest(&image.record),
                members: members(&image.record),
                layers_new: stack.new,
                layers_reused: stack.reused,
                bytes: stack.bytes,
                seconds: 0.0,
            }
        })
        .collect()
}

fn digest(record: &ImageRecord) -> Option<Digest> {
    match (&record.index, &record.manifest) {
        (Some(_), _) => Some(*record.id.digest()),
        (None, manifest) => manifest.as_deref().map(Digest::of),
    }
}

fn members(record: &ImageRecord) -> Vec<ImageId> {
    let index = record.index.iter();
    let members = index.flat_map(|index| &index.members);
    members.map(|member| member.image).collect()
}

pub(crate) fn familiar<S: Serializer>(
    names: &[Reference],
    serializer: S,
) -> Result<S::Ok, S::Error> {
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
