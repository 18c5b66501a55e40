//! `lith layers`: the layers of the store or of an image.

use anyhow::Context;
use lith_graph::Graph;
use lith_store::{ImageId, LayerRecord, SessionId};
use serde::Serialize;

use crate::args::LayersArgs;
use crate::output::{self, table, text};

/// A layer in `layers --json`; the names are stable.
#[derive(Serialize)]
struct Row {
    id: String,
    diff_id: Option<String>,
    parent: Option<String>,
    size: Option<u64>,
    images: Vec<String>,
    held_by: Vec<String>,
    blobs: Vec<()>,
}

pub(super) fn run(graph: &Graph, args: &LayersArgs) -> anyhow::Result<()> {
    if args.ids {
        let lines: String = find(graph, args.image.as_deref())?
            .iter()
            .filter_map(ids)
            .collect();
        return output::print(&lines);
    }
    let rows = rows(graph, args.image.as_deref())?;
    if args.json {
        return output::json(&rows);
    }
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![
                text::short(&row.id),
                row.parent
                    .as_deref()
                    .map_or_else(|| "<none>".to_owned(), text::short),
                row.diff_id.clone().unwrap_or_else(|| "<none>".to_owned()),
                row.size.map_or_else(|| "<unknown>".to_owned(), text::size),
                row.images.len().to_string(),
            ]
        })
        .collect();
    output::print(&table::render(
        &["LAYER ID", "PARENT", "DIFF ID", "SIZE", "IMAGES"],
        &cells,
    ))
}

fn find(graph: &Graph, image: Option<&str>) -> anyhow::Result<Vec<LayerRecord>> {
    let store = graph.store();
    let Some(image) = image else {
        return Ok(store.layers()?);
    };
    let id = super::resolve(graph, image)?;
    let mut layers = Vec::new();
    for layer in store.layers_of_image(&id)? {
        let found = store.layer(&layer)?;
        layers.push(found.with_context(|| format!("layer {layer} of image {id} is missing"))?);
    }
    Ok(layers)
}

/// What `--have` of another store reads. A layer that came from no tar has no diff ID to compare.
fn ids(layer: &LayerRecord) -> Option<String> {
    layer
        .diff_id
        .map(|diff_id| format!("{} {diff_id}\n", text::layer(&layer.id)))
}

/// All layers in one pass over the index; those of an image one by one.
fn rows(graph: &Graph, image: Option<&str>) -> anyhow::Result<Vec<Row>> {
    let store = graph.store();
    if image.is_none() {
        let uses = store.layer_uses()?;
        return Ok(uses
            .iter()
            .map(|one| row(&one.layer, &one.images, &one.held_by))
            .collect());
    }
    find(graph, image)?
        .iter()
        .map(|layer| {
            let (images, holders) = (store.images_using(&layer.id)?, store.holders(&layer.id)?);
            Ok(row(layer, &images, &holders))
        })
        .collect()
}

fn row(layer: &LayerRecord, images: &[ImageId], held_by: &[SessionId]) -> Row {
    Row {
        id: text::layer(&layer.id),
        diff_id: layer.diff_id.as_ref().map(ToString::to_string),
        parent: layer.parent.as_ref().map(text::layer),
        size: layer.size,
        images: images.iter().map(ToString::to_string).collect(),
        held_by: held_by.iter().map(ToString::to_string).collect(),
        blobs: Vec::new(),
    }
}
