//! `lith inspect`: all that is known of images.

use anyhow::Context;
use lith_graph::Graph;
use lith_store::{ImageId, ImageRecord};
use serde_json::{Value, json};

use crate::args::InspectArgs;
use crate::output;

pub(super) fn run(graph: &Graph, args: &InspectArgs) -> anyhow::Result<()> {
    let documents = args
        .images
        .iter()
        .map(|name| document(graph, &super::resolve(graph, name)?))
        .collect::<anyhow::Result<Vec<Value>>>()?;
    output::json(&documents)
}

fn document(graph: &Graph, id: &ImageId) -> anyhow::Result<Value> {
    let store = graph.store();
    let image = store
        .image(id)?
        .with_context(|| format!("no such image: {id}"))?;
    let config: Value = serde_json::from_slice(&image.config)
        .with_context(|| format!("the config of {id} cannot be read"))?;
    let mut names: Vec<String> = store
        .names_of(id)?
        .iter()
        .map(|name| name.familiar())
        .collect();
    names.sort_unstable();
    let get = |key: &str| config.get(key).cloned().unwrap_or(Value::Null);
    Ok(json!({
        "Id": id.to_string(),
        "RepoTags": names,
        "RepoDigests": [],
        "Parent": image.parent.as_ref().map(ToString::to_string),
        "Created": image.created,
        "Architecture": image.architecture,
        "Variant": image.variant,
        "Os": image.os,
        "Size": image.size,
        "Config": get("config"),
        "RootFS": {
            "Type": "layers",
            "Layers": config.pointer("/rootfs/diff_ids").cloned().unwrap_or_else(|| json!([])),
        },
        "History": get("history"),
        "GraphDriver": {
            "Name": store.driver(),
            "Data": { "Home": graph.driver().info().home.to_string_lossy() },
        },
        "Layers": layers(graph, &image)?,
    }))
}

fn layers(graph: &Graph, image: &ImageRecord) -> anyhow::Result<Vec<Value>> {
    let mut layers = Vec::new();
    for id in &image.layers {
        let layer = graph
            .store()
            .layer(id)?
            .with_context(|| format!("layer {id} of image {} is missing", image.id))?;
        layers.push(json!({
            "id": layer.id.to_string(),
            "diff_id": layer.diff_id.as_ref().map(ToString::to_string),
            "size": layer.size,
            "blobs": [],
        }));
    }
    Ok(layers)
}
