//! What is in an archive, without a store.

use std::io::{self, Read};

use lith_graph::{Event, Observer};
use lith_store::{DiffId, Digest, ImageId, Reference};
use serde::Serialize;

use crate::input::Opened;
use crate::load::Choice;
use crate::members;
use crate::source::{Ask, PassingLayers, SourceImage, SourceIndex, SourceLayer, Taken, Ticket};
use crate::{Input, LoadError, LoadOptions};

/// An image of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ListedImage {
    /// The digest of its config.
    pub id: ImageId,
    /// The names that it would get.
    #[serde(serialize_with = "crate::load::familiar")]
    pub names: Vec<Reference>,
    /// The machine and system that it is for.
    pub platform: Option<String>,
    /// The digest of its manifest, when it comes with one.
    pub digest: Option<Digest>,
    /// The index that would have it, with the names that stand for that, where all platforms are
    /// asked for.
    pub index: Option<Digest>,
    /// Its layers, bottom first.
    pub layers: Vec<ListedLayer>,
}

/// A layer of an image of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ListedLayer {
    /// The digest of its tar.
    pub diff_id: DiffId,
    /// Bytes as transported, where that is known.
    pub size: Option<u64>,
    /// What it is transported as, where the archive says so.
    pub media_type: Option<String>,
}

/// What [`list`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listing {
    /// The images, in the archive's order.
    pub images: Vec<ListedImage>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// Lists the images that [`load()`](crate::load()) would load with these options.
///
/// Layers are not looked into: what they hold may still be refused by a load. A stream is read to
/// its end, and nothing of it is kept but documents.
///
/// # Errors
/// As those of loading, as far as documents go.
pub fn list(
    input: Input,
    options: &LoadOptions,
    observer: &dyn Observer,
) -> Result<Listing, LoadError> {
    let Opened { source, one, entry } = input.open()?;
    let ask = Ask {
        images: &options.images,
        entry: entry.as_deref(),
        platform: options.platform.as_ref(),
        all_platforms: options.all_platforms,
        cut_off: false,
        observer,
    };
    let mut counter = Counter { observer, taken: 0 };
    let (described, _) = source.describe(&mut counter, &ask)?;
    let (mut images, mut indexes) = (described.images, described.indexes);
    let choice = Choice {
        one: one.as_ref(),
        images: &options.images,
        platform: options.platform.as_ref(),
    };
    choice.apply_to(&mut images, &mut indexes)?;
    for message in &described.warnings {
        observer.event(&Event::Warning { message });
    }
    Ok(Listing {
        images: images
            .into_iter()
            .map(|image| listed(image, &indexes))
            .collect(),
        warnings: described.warnings,
    })
}

fn listed(mut image: SourceImage, indexes: &[SourceIndex]) -> ListedImage {
    let mut index = None;
    for one in indexes.iter().filter(|index| index.has(&image.id)) {
        index.get_or_insert(*one.id.digest());
        image.names.extend(one.names.iter().cloned());
    }
    ListedImage {
        id: image.id,
        index,
        platform: image.platform().map(|platform| platform.to_string()),
        digest: image.manifest.map(|manifest| manifest.digest),
        layers: image.layers.iter().map(layer).collect(),
        names: image.names,
    }
}

fn layer(layer: &SourceLayer) -> ListedLayer {
    let blob = layer.blob.as_deref();
    ListedLayer {
        diff_id: layer.diff_id,
        size: layer.size.or_else(|| blob.map(|blob| blob.expected.size)),
        media_type: blob.map(|blob| blob.media_type.to_string()),
    }
}

/// Lets layers pass.
struct Counter<'a> {
    observer: &'a dyn Observer,
    taken: usize,
}

impl PassingLayers for Counter<'_> {
    fn take(&mut self, member: &[u8], content: &mut (dyn Read + Send)) -> Result<Taken, LoadError> {
        let ticket = Ticket(self.taken);
        self.taken += 1;
        if self.observer.cancelled() {
            return Err(LoadError::Cancelled);
        }
        // Old archives say what their layers are by the layers alone.
        let diff_id = match member.ends_with(b"layer.tar") {
            true => members::diff_id(&mut *content, self.observer).unwrap_or_default(),
            false => None,
        };
        // What cannot be read is told by whoever reads the archive.
        let _ = io::copy(content, &mut io::sink());
        Ok(Taken { ticket, diff_id })
    }

    fn announce(&mut self, _: Vec<SourceImage>) -> Result<(), LoadError> {
        Ok(())
    }
}
