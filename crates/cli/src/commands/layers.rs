//! `lith layers`: the layers of the store or of an image.

use std::collections::BTreeSet;

use anyhow::Context;
use lith_archive::oci::Platform;
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
        let lines: String = find(graph, args)?.iter().filter_map(ids).collect();
        return output::print(&lines);
    }
    let rows = rows(graph, args)?;
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

fn find(graph: &Graph, args: &LayersArgs) -> anyhow::Result<Vec<LayerRecord>> {
    let store = graph.store();
    let Some(image) = &args.image else {
        return Ok(store.layers()?);
    };
    let mut seen = BTreeSet::new();
    let mut layers = Vec::new();
    for id in images(graph, image, args.of.platform.as_ref())? {
        for layer in store.layers_of_image(&id)? {
            if seen.insert(layer) {
                let found = store.layer(&layer)?;
                let missing = || format!("layer {layer} of image {id} is missing");
                layers.push(found.with_context(missing)?);
            }
        }
    }
    Ok(layers)
}

/// The image, or all of an index unless there is a platform.
fn images(
    graph: &Graph,
    wanted: &str,
    platform: Option<&Platform>,
) -> anyhow::Result<Vec<ImageId>> {
    let id = super::resolve(graph, wanted)?;
    let members = graph.store().members_of(&id)?;
    if members.is_empty() || platform.is_some() {
        return Ok(vec![lith_archive::pick(graph.store(), &id, platform)?]);
    }
    Ok(members.into_iter().map(|member| member.image).collect())
}

/// What `--have` of another store reads. A layer that came from no tar has no diff ID to compare.
fn ids(layer: &LayerRecord) -> Option<String> {
    layer
        .diff_id
        .map(|diff_id| format!("{} {diff_id}\n", text::layer(&layer.id)))
}

/// All layers in one pass over the index; those of an image one by one.
fn rows(graph: &Graph, args: &LayersArgs) -> anyhow::Result<Vec<Row>> {
    let store = graph.store();
    if args.image.is_none() {
        let uses = store.layer_uses()?;
        return Ok(uses
            .iter()
            .map(|one| row(&one.layer, &one.images, &one.held_by))
            .collect());
    }
    find(graph, args)?
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
