//! `lith save`: images out of the store, as an archive or a folder.

use std::path::Path;

use anyhow::{Context, bail};
use lith_archive::{Format, SaveOptions, Selection, Target};
use lith_graph::Graph;

use crate::args::SaveArgs;
use crate::output::file::{self, OutputFile};
use crate::output::progress::Progress;

pub(super) fn run(graph: &Graph, args: &SaveArgs, quiet: bool) -> anyhow::Result<()> {
    // All names are resolved, and their layers held, before the output is opened.
    let selection = if args.format.takes_several() {
        lith_archive::select(graph, &args.images)?
    } else {
        lith_archive::select_single(graph, &args.images)?
    };
    let mut options = SaveOptions::default();
    options.tags = super::new_names(&args.tag).context("--tag")?;
    options.format = args.format;
    options.compression = args.compress;
    options.docker_layout = args.docker_layout;
    let save = |target: Target<'_>| write(graph, &selection, target, &options, quiet);
    if args.format.is_folder() {
        return save(Target::Folder(folder(args)?));
    }
    let mut out = file::open(&args.output)?;
    match &mut out {
        OutputFile::Beside { file, .. } => save(Target::File(file.as_file_mut()))?,
        out @ OutputFile::Direct(_) => save(Target::Stream(out))?,
    }
    out.finish()
}

fn write(
    graph: &Graph,
    selection: &Selection,
    target: Target<'_>,
    options: &SaveOptions,
    quiet: bool,
) -> anyhow::Result<()> {
    let progress = Progress::new(quiet);
    lith_archive::save(graph, selection, target, options, &progress).context("cannot save")?;
    Ok(())
}

/// The folder to write, for a format that is one.
fn folder(args: &SaveArgs) -> anyhow::Result<&Path> {
    if args.output == "-" {
        let archives = Format::ALL.into_iter().filter(|format| !format.is_folder());
        let archives: Vec<&str> = archives.map(Format::name).collect();
        bail!(
            "{} is a folder: give -o DIR, or one of the formats that are one file: {}",
            args.format,
            archives.join(", ")
        );
    }
    let path = Path::new(&args.output);
    if path.as_os_str().is_empty() {
        bail!("the name of the folder is empty");
    }
    Ok(path)
}
