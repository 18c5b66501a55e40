//! `lith history`: the steps that an image was built in.

use anyhow::Context;
use jiff::Timestamp;
use lith_graph::Graph;
use lith_store::{ImageRecord, LayerId};
use serde::{Deserialize, Serialize};

use crate::args::HistoryArgs;
use crate::output::{self, table, text};

/// A step as the config tells it; the config is the image's author's, so anything may be absent.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Told {
    created: Option<String>,
    created_by: Option<String>,
    author: Option<String>,
    comment: Option<String>,
    empty_layer: bool,
}

#[derive(Deserialize)]
struct Config {
    history: Option<Vec<Told>>,
}

/// A step in `history --json`; the names are stable.
#[derive(Serialize)]
struct Step {
    created: Option<String>,
    created_by: Option<String>,
    author: Option<String>,
    comment: Option<String>,
    /// The layer that the step made; none for a step that changed the config only.
    layer: Option<String>,
    /// Null when nobody has counted it.
    size: Option<u64>,
}

pub(super) fn run(graph: &Graph, args: &HistoryArgs) -> anyhow::Result<()> {
    let id = super::resolve_for(graph, &args.image, args.of.platform.as_ref())?;
    let image = graph
        .store()
        .image(&id)?
        .with_context(|| format!("no such image: {id}"))?;
    let mut steps = steps(graph, &image)?;
    steps.reverse();
    if args.json {
        return output::json(&steps);
    }
    let now = Timestamp::now();
    let rows: Vec<Vec<String>> = steps.iter().map(|step| row(step, now)).collect();
    output::print(&table::render(
        &["LAYER ID", "CREATED", "SIZE", "CREATED BY", "COMMENT"],
        &rows,
    ))
}

/// The config's steps, each with its layer; layers that it tells nothing of come last.
fn steps(graph: &Graph, image: &ImageRecord) -> anyhow::Result<Vec<Step>> {
    let config: Config = serde_json::from_slice(&image.config)
        .with_context(|| format!("the history of {} cannot be read", image.id))?;
    let mut layers = image.layers.iter();
    let mut steps = Vec::new();
    for told in config.history.unwrap_or_default() {
        let layer = if told.empty_layer {
            None
        } else {
            layers.next()
        };
        steps.push(step(graph, told, layer)?);
    }
    for layer in layers {
        steps.push(step(graph, Told::default(), Some(layer))?);
    }
    Ok(steps)
}

fn step(graph: &Graph, told: Told, layer: Option<&LayerId>) -> anyhow::Result<Step> {
    let size = match layer {
        Some(id) => graph.store().layer(id)?.and_then(|layer| layer.size),
        None => Some(0),
    };
    Ok(Step {
        created: told.created,
        created_by: told.created_by,
        author: told.author,
        comment: told.comment,
        layer: layer.map(text::layer),
        size,
    })
}

fn row(step: &Step, now: Timestamp) -> Vec<String> {
    let shown = |text: &Option<String>| text::escape(text.as_deref().unwrap_or_default());
    vec![
        text::short(step.layer.as_deref().unwrap_or("<none>")),
        text::ago(step.created.as_deref(), now),
        step.size.map_or_else(|| "<unknown>".to_owned(), text::size),
        shown(&step.created_by),
        shown(&step.comment),
    ]
}
