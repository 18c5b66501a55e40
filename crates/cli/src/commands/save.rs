//! `lith save`: images out of the store, as an archive.

use anyhow::Context;
use lith_archive::SaveOptions;
use lith_graph::Graph;

use crate::args::SaveArgs;
use crate::output::file;
use crate::output::progress::Progress;

pub(super) fn run(graph: &Graph, args: &SaveArgs, quiet: bool) -> anyhow::Result<()> {
    // All names are resolved, and their layers held, before the output is opened.
    let selection = lith_archive::select(graph, &args.images)?;
    let mut options = SaveOptions::default();
    options.tags = super::new_names(&args.tag).context("--tag")?;
    let mut out = file::open(&args.output)?;
    let progress = Progress::new(quiet);
    lith_archive::save(graph, &selection, &mut out, &options, &progress).context("cannot save")?;
    drop(progress);
    out.finish()
}
