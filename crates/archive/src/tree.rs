//! The graph of layers, and which images they serve.

use std::collections::{BTreeSet, HashMap};

use lith_graph::{Graph, GraphError};
use lith_store::{DiffId, ImageId, ImageSummary, LayerId, LayerUse, Reference};

/// Layers as they stand on each other, and the images they make.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forest {
    /// Each layer after the one below it.
    pub layers: Vec<TreeLayer>,
    /// The newest first, those without a date last.
    pub images: Vec<TreeImage>,
    /// All of it in numbers.
    pub totals: Totals,
}

/// A layer of a [`Forest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeLayer {
    /// The layer.
    pub id: LayerId,
    /// The digest of its tar, when it came from one.
    pub diff_id: Option<DiffId>,
    /// The layer below it.
    pub parent: Option<LayerId>,
    /// The layers of the forest that stand on it.
    pub children: Vec<LayerId>,
    /// Bytes of file content; none when nobody has counted them.
    pub size: Option<u64>,
    /// How many of the store's images need it: with one it is unique to that, with more shared.
    pub images: u64,
    /// Images of the forest whose top layer it is.
    pub top_of: Vec<ImageId>,
}

impl TreeLayer {
    /// Whether several images need it.
    pub fn is_shared(&self) -> bool {
        self.images > 1
    }
}

/// An image of a [`Forest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeImage {
    /// The image.
    pub id: ImageId,
    /// Its names, sorted by their familiar form.
    pub names: Vec<Reference>,
    /// When it was built, as its config has it.
    pub created: Option<String>,
    /// Its top layer; an image may have none.
    pub top: Option<LayerId>,
    /// Number of its layers.
    pub layers: usize,
    /// Bytes of file content in its layers, as far as they are counted.
    pub size: u64,
    /// Bytes of file content in layers that no other image has.
    pub unique_size: u64,
}

/// A [`Forest`] in numbers. Sizes are bytes of file content.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Number of layers.
    pub layers: usize,
    /// Number of images.
    pub images: usize,
    /// Size of the layers, each counted once.
    pub size: u64,
    /// Size of those that several images need.
    pub shared: u64,
    /// Size of those that no image needs.
    pub unused: u64,
    /// What the layers would take on top of that if each image had its own.
    pub saved: u64,
    /// Layers whose size nobody has counted, and that count as 0 here.
    pub uncounted: usize,
}

/// Draws up the graph: of the whole store, or of the layers of some images.
///
/// Which images need a layer is always told of the whole store.
///
/// # Errors
/// When the index cannot be read.
pub fn tree(graph: &Graph, only: Option<&[ImageId]>) -> Result<Forest, GraphError> {
    let store = graph.store();
    let mut images = of_layers(store.images()?);
    let mut uses = store.layer_uses()?;
    if let Some(only) = only {
        let mut expanded = only.to_vec();
        for id in only {
            let members = store.members_of(id)?.into_iter();
            expanded.extend(members.map(|member| member.image));
        }
        let only: BTreeSet<&ImageId> = expanded.iter().collect();
        images.retain(|image| only.contains(&image.id));
        uses.retain(|one| one.images.iter().any(|image| only.contains(image)));
    }
    Ok(plant(&images, &uses))
}

/// The images that have layers: those of an index are shown under its names, too.
fn of_layers(images: Vec<ImageSummary>) -> Vec<ImageSummary> {
    let (indexes, mut images): (Vec<ImageSummary>, Vec<ImageSummary>) = images
        .into_iter()
        .partition(|image| !image.members.is_empty());
    for image in images.iter_mut().filter(|image| image.in_index) {
        let has = |index: &&ImageSummary| {
            let mut members = index.members.iter();
            members.any(|member| member.image == image.id)
        };
        let names = indexes.iter().filter(has).flat_map(|index| &index.names);
        image.names.extend(names.cloned());
        image.names.sort_by_cached_key(Reference::familiar);
    }
    images
}

fn plant(images: &[ImageSummary], uses: &[LayerUse]) -> Forest {
    let mut tops: HashMap<ImageId, usize> = HashMap::new();
    let mut children: HashMap<LayerId, Vec<LayerId>> = HashMap::new();
    for (index, one) in uses.iter().enumerate() {
        // Parents come first, so the last one is the top.
        tops.extend(one.images.iter().map(|image| (*image, index)));
        if let Some(parent) = one.layer.parent {
            children.entry(parent).or_default().push(one.layer.id);
        }
    }
    let mut layers: Vec<TreeLayer> = uses
        .iter()
        .map(|one| TreeLayer {
            id: one.layer.id,
            diff_id: one.layer.diff_id,
            parent: one.layer.parent,
            children: children.remove(&one.layer.id).unwrap_or_default(),
            size: one.layer.size,
            images: one.images.len() as u64,
            top_of: Vec::new(),
        })
        .collect();
    let mut planted = Vec::with_capacity(images.len());
    for image in images {
        let top = tops.get(&image.id).and_then(|top| layers.get_mut(*top));
        if let Some(top) = top {
            top.top_of.push(image.id);
        }
        planted.push(TreeImage {
            id: image.id,
            names: image.names.clone(),
            created: image.created.clone(),
            top: tops
                .get(&image.id)
                .and_then(|top| layers.get(*top))
                .map(|top| top.id),
            layers: image.layers,
            size: image.size,
            unique_size: image.unique_size,
        });
    }
    Forest {
        totals: totals(&layers, planted.len()),
        layers,
        images: planted,
    }
}

fn totals(layers: &[TreeLayer], images: usize) -> Totals {
    let mut totals = Totals {
        layers: layers.len(),
        images,
        ..Totals::default()
    };
    for layer in layers {
        let Some(size) = layer.size else {
            totals.uncounted += 1;
            continue;
        };
        totals.size = totals.size.saturating_add(size);
        match layer.images {
            0 => totals.unused = totals.unused.saturating_add(size),
            1 => {}
            several => {
                totals.shared = totals.shared.saturating_add(size);
                let others = size.saturating_mul(several - 1);
                totals.saved = totals.saved.saturating_add(others);
            }
        }
    }
    totals
}
