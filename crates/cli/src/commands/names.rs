//! `lith tag` and `lith untag`: names, and nothing but names.

use anyhow::Context;
use lith_graph::Graph;
use lith_store::EventKind;

use crate::args::{TagArgs, UntagArgs};
use crate::output::error;

pub(super) fn tag(graph: &Graph, args: &TagArgs, quiet: bool) -> anyhow::Result<()> {
    // All names are read before the first is set.
    let names = super::new_names(&args.names)?;
    let image = super::resolve(graph, &args.image)?;
    let store = graph.store();
    let session = store.begin()?;
    for name in &names {
        let before = store
            .set_name(&session, name, &image)
            .with_context(|| format!("cannot name the image {}", name.familiar()))?;
        super::note(graph, EventKind::Tag, Some(&image), &name.to_string());
        if let Some(before) = before.filter(|before| *before != image && !quiet) {
            error::print_line(&format!("{} named {before} before", name.familiar()));
        }
    }
    session.end()?;
    Ok(())
}

pub(super) fn untag(graph: &Graph, args: &UntagArgs) -> anyhow::Result<()> {
    super::rmi::print(&lith_archive::untag(graph, &args.names)?)
}
