//! `lith inspect`: all that is known of images.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use lith_graph::Graph;
use lith_store::{Digest, ImageId, ImageRecord, Reference};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::args::InspectArgs;
use crate::output::{self, text};

/// An image in `inspect`; the names are docker's, and stable.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    id: String,
    repo_tags: Vec<String>,
    repo_digests: Vec<String>,
    parent: Option<String>,
    created: Option<String>,
    architecture: Option<String>,
    variant: Option<String>,
    os: Option<String>,
    size: u64,
    config: Option<Box<RawValue>>,
    #[serde(rename = "RootFS")]
    root_fs: RootFs,
    history: Option<Box<RawValue>>,
    graph_driver: GraphDriver,
    layers: Vec<Layer>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RootFs {
    #[serde(rename = "Type")]
    kind: &'static str,
    layers: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct GraphDriver {
    name: String,
    data: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
struct Layer {
    id: String,
    diff_id: Option<String>,
    size: Option<u64>,
    blobs: Vec<()>,
}

/// The parts of a config that are shown as they came: their numbers and the order of their keys
/// are their author's.
#[derive(Deserialize)]
struct Config {
    config: Option<Box<RawValue>>,
    history: Option<Box<RawValue>>,
    rootfs: Option<ConfigRootFs>,
}

#[derive(Deserialize)]
struct ConfigRootFs {
    diff_ids: Option<Vec<String>>,
}

pub(super) fn run(graph: &Graph, args: &InspectArgs) -> anyhow::Result<()> {
    let documents = args
        .images
        .iter()
        .map(|name| {
            let id = super::resolve_for(graph, name, args.of.platform.as_ref())?;
            document(graph, &id)
        })
        .collect::<anyhow::Result<Vec<Document>>>()?;
    output::json(&documents)
}

/// Each repository that names something, with its digest.
fn repo_digests(names: &[Reference], digest: &Digest) -> BTreeSet<String> {
    let repositories = names.iter().map(Reference::familiar_repository);
    repositories
        .map(|repository| format!("{repository}@{digest}"))
        .collect()
}

fn document(graph: &Graph, id: &ImageId) -> anyhow::Result<Document> {
    let store = graph.store();
    let image = store
        .image(id)?
        .with_context(|| format!("no such image: {id}"))?;
    let config: Config = serde_json::from_slice(&image.config)
        .with_context(|| format!("the config of {id} cannot be read"))?;
    let mut names = store.names_of(id)?;
    let mut digests = BTreeSet::new();
    if let Some(manifest) = &image.manifest {
        digests.extend(repo_digests(&names, &Digest::of(manifest)));
    }
    // What names an index names its images.
    for index in store.indexes_of(id)? {
        let of_index = store.names_of(&index)?;
        digests.extend(repo_digests(&of_index, index.digest()));
        names.extend(of_index);
    }
    let mut repo_tags: Vec<String> = names.iter().map(|name| name.familiar()).collect();
    repo_tags.sort_unstable();
    let home = graph.driver().info().home.to_string_lossy().into_owned();
    Ok(Document {
        id: id.to_string(),
        repo_tags,
        repo_digests: digests.into_iter().collect(),
        parent: image.parent.as_ref().map(ToString::to_string),
        created: text::date(image.created.as_deref()).map(str::to_owned),
        architecture: image.architecture.clone(),
        variant: image.variant.clone(),
        os: image.os.clone(),
        size: image.size,
        config: config.config,
        root_fs: RootFs {
            kind: "layers",
            layers: config
                .rootfs
                .and_then(|rootfs| rootfs.diff_ids)
                .unwrap_or_default(),
        },
        history: config.history,
        graph_driver: GraphDriver {
            name: store.driver().to_owned(),
            data: BTreeMap::from([("Home", home)]),
        },
        layers: layers(graph, &image)?,
    })
}

fn layers(graph: &Graph, image: &ImageRecord) -> anyhow::Result<Vec<Layer>> {
    let mut layers = Vec::new();
    for id in &image.layers {
        let layer = graph
            .store()
            .layer(id)?
            .with_context(|| format!("layer {id} of image {} is missing", image.id))?;
        layers.push(Layer {
            id: text::layer(&layer.id),
            diff_id: layer.diff_id.as_ref().map(ToString::to_string),
            size: layer.size,
            blobs: Vec::new(),
        });
    }
    Ok(layers)
}
