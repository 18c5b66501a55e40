//! `lith load`: any image archive into the store.

use std::fs;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;

use anyhow::{Context, bail};
use lith_archive::{Input, LoadOptions, LoadedImage, Location};
use lith_graph::Graph;

use crate::args::LoadArgs;
use crate::interrupt::Waiting;
use crate::output::progress::Progress;
use crate::output::{self, error, text};
use crate::root;

pub(super) fn run(graph: &Graph, args: &LoadArgs, quiet: bool) -> anyhow::Result<()> {
    let (name, input) = open(args)?;
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

fn open(args: &LoadArgs) -> anyhow::Result<(String, Input)> {
    if args.input == "-" {
        let stdin = io::stdin();
        if stdin.is_terminal() {
            bail!("an archive is not read from a terminal: give -i FILE, or pipe one in");
        }
        let stdin = stdin
            .as_fd()
            .try_clone_to_owned()
            .context("cannot open standard input")?;
        return Ok((
            "standard input".into(),
            Input::Stream(Box::new(Waiting(stdin.into()))),
        ));
    }
    let name = text::escape(&args.input.to_string_lossy());
    let location = Location::parse(&args.input)?;
    let Location::Path(path) = location else {
        let input = Input::at(location, &root::defaults())
            .with_context(|| format!("cannot open {name}"))?;
        return Ok((name, input));
    };
    let metadata = fs::metadata(&path).with_context(|| format!("cannot open {name}"))?;
    if metadata.is_file() {
        return Ok((name, Input::File(path)));
    }
    if metadata.is_dir() {
        bail!("{name} is a folder: loading from folders is not supported yet");
    }
    let stream = fs::File::open(&path).with_context(|| format!("cannot open {name}"))?;
    Ok((name, Input::Stream(Box::new(Waiting(stream)))))
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
