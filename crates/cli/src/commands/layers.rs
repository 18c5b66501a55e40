//! `lith layers`: the layers of the store or of an image.

use anyhow::Context;
use lith_graph::Graph;
use lith_store::LayerRecord;
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
    let layers = find(graph, args.image.as_deref())?;
    if args.ids {
        let lines: String = layers.iter().filter_map(ids).collect();
        return output::print(&lines);
    }
    let rows = layers
        .iter()
        .map(|layer| row(graph, layer))
        .collect::<anyhow::Result<Vec<_>>>()?;
    if args.json {
        return output::json(&rows);
    }
    let short = |id: &str| id.chars().take(12).collect::<String>();
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![
                short(&row.id),
                row.parent
                    .as_deref()
                    .map_or_else(|| "<none>".to_owned(), short),
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
        .map(|diff_id| format!("sha256:{} {diff_id}\n", layer.id))
}

fn row(graph: &Graph, layer: &LayerRecord) -> anyhow::Result<Row> {
    let store = graph.store();
    Ok(Row {
        id: layer.id.to_string(),
        diff_id: layer.diff_id.as_ref().map(ToString::to_string),
        parent: layer.parent.as_ref().map(ToString::to_string),
        size: layer.size,
        images: store
            .images_using(&layer.id)?
            .iter()
            .map(ToString::to_string)
            .collect(),
        held_by: store
            .holders(&layer.id)?
            .iter()
            .map(ToString::to_string)
            .collect(),
        blobs: Vec::new(),
    })
}
