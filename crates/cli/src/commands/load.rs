//! `lith load`: any image archive into the store.

use std::collections::BTreeSet;

use anyhow::Context;
use lith_archive::{ListedImage, LoadOptions, LoadedImage};
use lith_graph::Graph;
use lith_store::Reference;

use crate::args::LoadArgs;
use crate::input;
use crate::output::progress::Progress;
use crate::output::{self, error, table, text};

pub(super) fn run(graph: &Graph, args: &LoadArgs, quiet: bool) -> anyhow::Result<()> {
    let (name, input) = input::open(&args.input)?;
    let mut options = options(args);
    options.tags = super::new_names(&args.tag).context("--tag")?;
    options.no_clobber = args.no_clobber;
    options.verify = args.verify;
    let progress = Progress::new(quiet);
    let report = lith_archive::load(graph, input, &options, &progress)
        .with_context(|| format!("cannot load {name}"))?;
    drop(progress);
    if args.json {
        return output::json(&report.images);
    }
    for image in loaded(&report.images) {
        print(image, quiet)?;
    }
    Ok(())
}

/// Those to be told of: images without a name that an index has are part of it.
fn loaded(images: &[LoadedImage]) -> impl Iterator<Item = &LoadedImage> {
    let members = images.iter().flat_map(|image| &image.members);
    let members: BTreeSet<_> = members.collect();
    let told = move |image: &&LoadedImage| !image.names.is_empty() || !members.contains(&image.id);
    images.iter().filter(told)
}

fn options(args: &LoadArgs) -> LoadOptions {
    let mut options = LoadOptions::default();
    options.images.clone_from(&args.images);
    options.platform.clone_from(&args.platform);
    options.all_platforms = args.all_platforms;
    options
}

/// Prints what there is to be loaded. No store is needed.
pub(super) fn list(args: &LoadArgs, quiet: bool) -> anyhow::Result<()> {
    let (name, input) = input::open(&args.input)?;
    let progress = Progress::new(quiet);
    let listing = lith_archive::list(input, &options(args), &progress)
        .with_context(|| format!("cannot list {name}"))?;
    drop(progress);
    if args.json {
        return output::json(&listing.images);
    }
    output::print(&render(&listing.images))
}

fn render(images: &[ListedImage]) -> String {
    let mut rows = Vec::new();
    for image in images {
        let size: Option<u64> = image.layers.iter().map(|layer| layer.size).sum();
        let mut names: Vec<String> = image.names.iter().map(Reference::familiar).collect();
        if names.is_empty() {
            names.push("<none>".into());
        }
        for name in names {
            rows.push(vec![
                text::escape(&name),
                image.id.hex().chars().take(12).collect(),
                text::escape(image.platform.as_deref().unwrap_or("<unknown>")),
                image.layers.len().to_string(),
                size.map_or("<unknown>".into(), text::size),
            ]);
        }
    }
    table::render(&["NAME", "IMAGE ID", "PLATFORM", "LAYERS", "SIZE"], &rows)
}

fn print(image: &LoadedImage, quiet: bool) -> anyhow::Result<()> {
    for (name, from) in &image.moved {
        if !quiet {
            error::print_line(&format!("{} named {from} before", name.familiar()));
        }
    }
    output::image("Loaded", &image.names, &image.id)
}
