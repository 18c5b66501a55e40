//! `lith tag` and `lith untag`: names, and nothing but names.

use std::collections::BTreeMap;

use anyhow::Context;
use lith_graph::Graph;
use lith_store::EventKind;
use serde::Serialize;

use crate::args::{TagArgs, UntagArgs};
use crate::interrupt::Asked;
use crate::output::{self, error};

/// `tag --json`; the names are stable.
#[derive(Serialize)]
struct Tagged {
    id: String,
    names: Vec<String>,
    /// Names that pointed to another image before, and to which.
    moved: BTreeMap<String, String>,
}

pub(super) fn tag(graph: &Graph, args: &TagArgs, quiet: bool) -> anyhow::Result<()> {
    // All names are read before the first is set.
    let names = super::new_names(&args.names)?;
    let image = super::resolve(graph, &args.image)?;
    let mut tagged = Tagged {
        id: image.to_string(),
        names: Vec::new(),
        moved: BTreeMap::new(),
    };
    let store = graph.store();
    let session = store.begin_small()?;
    for name in &names {
        let before = store
            .set_name(&session, name, &image)
            .with_context(|| format!("cannot name the image {}", name.familiar()))?;
        super::note(graph, EventKind::Tag, Some(&image), &name.to_string());
        tagged.names.push(name.familiar());
        if let Some(before) = before.filter(|before| *before != image) {
            if !quiet && !args.json {
                error::print_line(&format!("{} named {before} before", name.familiar()));
            }
            tagged.moved.insert(name.familiar(), before.to_string());
        }
    }
    session.end()?;
    if args.json {
        return output::json(&tagged);
    }
    Ok(())
}

pub(super) fn untag(graph: &Graph, args: &UntagArgs) -> anyhow::Result<()> {
    super::rmi::report(lith_archive::untag(graph, &args.names, &Asked), args.json)
}
