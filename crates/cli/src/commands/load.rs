//! `lith load`: any image archive into the store.

use anyhow::Context;
use lith_archive::{LoadOptions, LoadedImage};
use lith_graph::Graph;

use crate::args::LoadArgs;
use crate::input;
use crate::output::progress::Progress;
use crate::output::{self, error};

pub(super) fn run(graph: &Graph, args: &LoadArgs, quiet: bool) -> anyhow::Result<()> {
    let (name, input) = input::open(&args.input)?;
    let mut options = LoadOptions::default();
    options.images.clone_from(&args.images);
    options.tags = super::new_names(&args.tag).context("--tag")?;
    options.no_clobber = args.no_clobber;
    let progress = Progress::new(quiet);
    let report = lith_archive::load(graph, input, &options, &progress)
        .with_context(|| format!("cannot load {name}"))?;
    drop(progress);
    if args.json {
        return output::json(&report.images);
    }
    for image in &report.images {
        print(image, quiet)?;
    }
    Ok(())
}

/// One line for each name, or the ID of an image that has none.
fn print(image: &LoadedImage, quiet: bool) -> anyhow::Result<()> {
    for (name, from) in &image.moved {
        if !quiet {
            error::print_line(&format!("{} named {from} before", name.familiar()));
        }
    }
    if image.names.is_empty() {
        return output::line(&format!("Loaded image: {}", image.id));
    }
    for name in &image.names {
        output::line(&format!("Loaded image: {}", name.familiar()))?;
    }
    Ok(())
}
