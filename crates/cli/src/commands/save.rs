//! `lith save`: images out of the store, as an archive or a folder.

use anyhow::{Context, bail};
use lith_archive::{Format, SaveOptions};
use lith_graph::Graph;

use crate::args::SaveArgs;
use crate::dest::Place;
use crate::output::progress::Progress;

pub(super) fn run(graph: &Graph, args: &SaveArgs, quiet: bool) -> anyhow::Result<()> {
    // All names are resolved, and their layers held, before the output is opened.
    let selection = super::select_for(args.format, graph, &args.images)?;
    let mut options = SaveOptions::default();
    options.tags = super::new_names(&args.tag).context("--tag")?;
    options.platform.clone_from(&args.platform);
    options.format = args.format;
    options.compression = args.compress;
    options.docker_layout = args.docker_layout;
    place(args)?.write(|target, _| {
        let progress = Progress::new(quiet);
        lith_archive::save(graph, &selection, target, &options, &progress).context("cannot save")
    })?;
    Ok(())
}

/// Where to write to.
fn place(args: &SaveArgs) -> anyhow::Result<Place> {
    let (format, standard) = (args.format, args.output == "-");
    if format.is_archive() {
        return Ok(match standard {
            true => Place::Standard,
            false => Place::File(args.output.clone().into()),
        });
    }
    if !format.is_folder() {
        return match standard {
            true => Ok(Place::Engine),
            false => bail!("{format} is a running engine: leave out -o"),
        };
    }
    if standard {
        let archives = Format::ALL.into_iter().filter(|format| format.is_archive());
        let archives: Vec<&str> = archives.map(Format::name).collect();
        bail!(
            "{format} is a folder: give -o DIR, or one of the formats that are one file: {}",
            archives.join(", ")
        );
    }
    if args.output.is_empty() {
        bail!("the name of the folder is empty");
    }
    Ok(Place::Folder(args.output.clone().into()))
}
