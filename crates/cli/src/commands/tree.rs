//! `lith tree`: the graph of layers, and which images they serve.

use lith_archive::{Forest, TreeImage, TreeLayer};
use lith_graph::Graph;
use lith_store::ImageId;
use serde::Serialize;

use crate::args::TreeArgs;
use crate::output::{self, dot, forest, locale, text};

/// `tree --json`; the names are stable.
#[derive(Serialize)]
struct Document {
    /// Each after its parent.
    layers: Vec<Layer>,
    images: Vec<Image>,
    totals: Totals,
}

#[derive(Serialize)]
struct Layer {
    id: String,
    diff_id: Option<String>,
    parent: Option<String>,
    children: Vec<String>,
    size: Option<u64>,
    images: u64,
    shared: bool,
    top_of: Vec<String>,
}

#[derive(Serialize)]
struct Image {
    id: String,
    names: Vec<String>,
    created: Option<String>,
    layer: Option<String>,
    layers: usize,
    size: u64,
    unique_size: u64,
}

#[derive(Serialize)]
struct Totals {
    layers: usize,
    images: usize,
    size: u64,
    shared_size: u64,
    unused_size: u64,
    saved_size: u64,
    uncounted_layers: usize,
}

pub(super) fn run(graph: &Graph, args: &TreeArgs) -> anyhow::Result<()> {
    let mut only: Vec<ImageId> = Vec::new();
    for wanted in &args.images {
        let found = lith_archive::resolve(graph.store(), wanted)?;
        only.extend(found.into_iter().map(|found| found.id));
    }
    let only = Some(only.as_slice()).filter(|_| !args.images.is_empty());
    let forest = lith_archive::tree(graph, only)?;
    if args.json {
        return output::json(&document(&forest));
    }
    output::print(&if args.dot {
        dot::render(&forest)
    } else {
        forest::render(&forest, locale::is_utf8())
    })
}

fn document(forest: &Forest) -> Document {
    let totals = &forest.totals;
    Document {
        layers: forest.layers.iter().map(layer).collect(),
        images: forest.images.iter().map(image).collect(),
        totals: Totals {
            layers: totals.layers,
            images: totals.images,
            size: totals.size,
            shared_size: totals.shared,
            unused_size: totals.unused,
            saved_size: totals.saved,
            uncounted_layers: totals.uncounted,
        },
    }
}

fn layer(layer: &TreeLayer) -> Layer {
    Layer {
        id: text::layer(&layer.id),
        diff_id: layer.diff_id.as_ref().map(ToString::to_string),
        parent: layer.parent.as_ref().map(text::layer),
        children: layer.children.iter().map(text::layer).collect(),
        size: layer.size,
        images: layer.images,
        shared: layer.is_shared(),
        top_of: layer.top_of.iter().map(ToString::to_string).collect(),
    }
}

fn image(image: &TreeImage) -> Image {
    Image {
        id: image.id.to_string(),
        names: image.names.iter().map(|name| name.familiar()).collect(),
        created: text::date(image.created.as_deref()).map(str::to_owned),
        layer: image.top.as_ref().map(text::layer),
        layers: image.layers,
        size: image.size,
        unique_size: image.unique_size,
    }
}
