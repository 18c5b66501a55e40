//! Where images come from: the boundary between formats and loading.
//!
//! A format says what images there are and gives bytes of layers; it knows no store. What is
//! in the store already, what is registered in which order, what is undone: that is `load`,
//! once for all formats.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use lith_graph::Observer;
use lith_store::{DiffId, Digest, ImageId, IndexMember, Reference};

use crate::LoadError;
use crate::config::ConfigFacts;
use crate::members::Blob;
use crate::oci::{MediaType, Platform};

/// Images in some format, from anywhere.
pub(crate) trait ImageSource {
    /// Says what images there are, and gives what opens those layers that are still there.
    ///
    /// A source that passes only once hands every member that may be a layer to `passing`
    /// as it goes by.
    fn describe(
        self: Box<Self>,
        passing: &mut dyn PassingLayers,
        ask: &Ask<'_>,
    ) -> Result<(Description, Box<dyn LayerOpener>), LoadError>;
}

/// What is asked of a source.
pub(crate) struct Ask<'a> {
    /// The only images that matter, by name or ID; all do when there are none. A source need
    /// not look into others, but may.
    pub(crate) images: &'a [String],
    /// The only image that matters, as an OCI layout's index calls it.
    pub(crate) entry: Option<&'a str>,
    /// For which platform an image is to be where there are several; this machine's by default.
    pub(crate) platform: Option<&'a Platform>,
    /// Wants indexes with the images for all platforms, where no platform is asked for.
    pub(crate) all_platforms: bool,
    /// Whether the input ended without the mark that it should end with: what is not there may
    /// have been behind that.
    pub(crate) cut_off: bool,
    /// Says when waiting is to end.
    pub(crate) observer: &'a dyn Observer,
}

impl Ask<'_> {
    /// True when indexes are wanted as a whole.
    pub(crate) fn whole(&self) -> bool {
        self.all_platforms && self.platform.is_none()
    }
}

/// Opens layers of a source that was described.
pub(crate) trait LayerOpener: Send + Sync {
    /// Opens a layer as transported, compressed or not. Several may be open at a time. Whoever
    /// has to wait asks the observer whether to go on.
    fn open(&self, layer: LayerKey, observer: &dyn Observer) -> Result<LayerBytes<'_>, LoadError>;
}

/// A layer's bytes as a source has them.
pub(crate) type LayerBytes<'a> = Box<dyn Read + Send + 'a>;

/// Takes layers of a source that passes only once.
pub(crate) trait PassingLayers {
    /// Takes a member that looks like a layer. An error ends the work, so content that is no
    /// layer is none: most members that look like one are never claimed.
    fn take(&mut self, member: &[u8], content: &mut (dyn Read + Send)) -> Result<Taken, LoadError>;

    /// Says what images there are, as soon as the source knows it: layers that passed and
    /// those that still come can get their places.
    fn announce(&mut self, images: Vec<SourceImage>) -> Result<(), LoadError>;
}

/// What was taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    /// Under which it is found again.
    pub(crate) ticket: Ticket,
    /// What it is, when it is a layer.
    pub(crate) diff_id: Option<DiffId>,
}

/// The number of a layer that passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Ticket(pub(crate) usize);

/// A layer within its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LayerKey(pub(crate) usize);

/// Everything that a source says.
#[derive(Debug)]
pub(crate) struct Description {
    /// Images in their order.
    pub(crate) images: Vec<SourceImage>,
    /// Indexes that were asked for; their images are among the images.
    pub(crate) indexes: Vec<SourceIndex>,
    /// What the user should know.
    pub(crate) warnings: Vec<String>,
    /// Where the input ended, when it ended without the mark that it should end with.
    pub(crate) cut_off: Option<u64>,
}

impl Description {
    /// Takes out what the user should know, that the input was cut off included.
    pub(crate) fn take_warnings(&mut self) -> Vec<String> {
        let mut warnings = std::mem::take(&mut self.warnings);
        warnings.extend(
            self.cut_off
                .map(|offset| format!("the archive ends at offset {offset} without an end mark")),
        );
        warnings
    }
}

/// One image of a source.
#[derive(Debug)]
pub(crate) struct SourceImage {
    pub(crate) id: ImageId,
    /// Byte for byte.
    pub(crate) config: Vec<u8>,
    pub(crate) facts: ConfigFacts,
    pub(crate) names: Vec<Reference>,
    /// One for each diff ID of the config, bottom first.
    pub(crate) layers: Vec<SourceLayer>,
    /// The image that this one was built on.
    pub(crate) parent: Option<ImageId>,
    /// Further documents to be kept with the image, by file name.
    pub(crate) extra: BTreeMap<String, Vec<u8>>,
    pub(crate) manifest: Option<SourceManifest>,
    /// The platform that an index says it is for, which goes before what the config says.
    pub(crate) platform: Option<Platform>,
}

impl SourceImage {
    /// What it is for.
    pub(crate) fn platform(&self) -> Option<Platform> {
        self.platform
            .clone()
            .or_else(|| Platform::of_config(&self.facts))
    }
}

/// An index of a source.
#[derive(Debug)]
pub(crate) struct SourceIndex {
    /// The digest of the document.
    pub(crate) id: ImageId,
    /// Byte for byte.
    pub(crate) document: Vec<u8>,
    pub(crate) names: Vec<Reference>,
    /// Those of its images that the source has; at least one.
    pub(crate) members: Vec<IndexMember>,
    /// What it lists beside configs and layers of images: manifests, indexes, attestations.
    pub(crate) blobs: BTreeMap<Digest, Vec<u8>>,
}

impl SourceIndex {
    /// Its images by the digests of their manifests.
    pub(crate) fn members(&self) -> impl Iterator<Item = (Digest, ImageId)> {
        let members = self.members.iter();
        members.map(|member| (member.manifest, member.image))
    }

    pub(crate) fn has(&self, image: &ImageId) -> bool {
        self.members.iter().any(|member| member.image == *image)
    }
}

/// The manifest that an image came with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SourceManifest {
    /// Byte for byte.
    pub(crate) bytes: Vec<u8>,
    pub(crate) media_type: MediaType,
    pub(crate) digest: Digest,
}

/// One layer of an image of a source.
#[derive(Debug, Clone)]
pub(crate) struct SourceLayer {
    pub(crate) diff_id: DiffId,
    /// What the source calls it.
    pub(crate) name: String,
    pub(crate) data: LayerData,
    /// Bytes as transported, where that is known.
    pub(crate) size: Option<u64>,
    /// What is said of its bytes as they are transported. Those of a layer that is there are
    /// checked while they are read, one that passed was checked by its source.
    pub(crate) blob: Option<Arc<SourceBlob>>,
}

/// What a source says of the bytes of a layer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SourceBlob {
    /// What is transported must be this.
    pub(crate) expected: Blob,
    /// What it is said to be; content may say otherwise.
    pub(crate) media_type: MediaType,
    /// Where else the layer can be had. Never fetched.
    pub(crate) urls: Vec<String>,
    /// The bytes, when the manifest itself has them.
    pub(crate) inline: Option<Vec<u8>>,
}

/// Where a layer's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LayerData {
    /// To be opened when needed.
    There(LayerKey),
    /// Handed over when it passed.
    Passed(Ticket),
    /// The source does not have them.
    Absent,
}
