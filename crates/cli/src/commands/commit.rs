//! `lith commit` and `lith import`: images that are made here.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;

use anyhow::{Context, bail};
use lith_archive::{BuildOptions, BuiltImage, Change};
use lith_graph::Graph;

use super::writable;
use crate::args::{BuildArgs, CommitArgs, ImportArgs};
use crate::interrupt::Waiting;
use crate::output::progress::Progress;
use crate::output::{self, error, text};

/// Makes an image of a writable layer, which ends with that: at once when it is not mounted, else
/// when it is unmounted. Until then nothing can be written there, so that nothing is lost.
pub(super) fn commit(graph: &Graph, args: &CommitArgs, quiet: bool) -> anyhow::Result<()> {
    let options = options(&args.build, args.author.as_ref())?;
    let id = writable::find_at(graph, &args.layer)?;
    let target = writable::target(graph, &id)?;
    if let Some(target) = &target {
        lith_drivers::set_read_only(target, true).with_context(|| {
            let shown = text::escape(&target.to_string_lossy());
            format!("{shown} is being written: end that, or unmount it first")
        })?;
    }
    let progress = Progress::new(quiet);
    let built = lith_archive::commit(graph, &id, &options, &progress);
    drop(progress);
    let built = match built {
        Ok(built) => built,
        Err(failure) => {
            let committed = matches!(failure, lith_archive::BuildError::Committed { .. });
            if let Some(target) = target.filter(|_| !committed) {
                thaw(&target);
            }
            let failure = anyhow::Error::from(failure);
            return Err(failure.context(format!("cannot commit writable layer {id}")));
        }
    };
    if target.is_none() {
        writable::discard(graph, &id)?;
    }
    say(&built, args.build.json)
}

/// Gives back what was taken away while there was hope.
fn thaw(target: &std::path::Path) {
    if let Err(failure) = lith_drivers::set_read_only(target, false) {
        tracing::warn!(error = %failure, "stays read-only");
    }
}

pub(super) fn import(graph: &Graph, args: &ImportArgs, quiet: bool) -> anyhow::Result<()> {
    let options = options(&args.build, None)?;
    let name = match args.input.to_str() {
        Some("-") => "-".to_owned(),
        _ => text::escape(&args.input.to_string_lossy()),
    };
    let mut tar: Box<dyn Read + Send> = if args.input == "-" {
        let stdin = io::stdin();
        if stdin.is_terminal() {
            bail!("a tar is not read from a terminal: name a file, or pipe one in");
        }
        let stdin = stdin.as_fd().try_clone_to_owned();
        Box::new(Waiting::new(
            stdin.context("cannot open standard input")?.into(),
        ))
    } else {
        let file = File::open(&args.input).with_context(|| format!("cannot open {name}"))?;
        if file.metadata().is_ok_and(|found| found.is_dir()) {
            bail!("{name} is a folder: `tar -C {name} -c . | lith import`");
        }
        Box::new(file)
    };
    let progress = Progress::new(quiet);
    let built = lith_archive::import(graph, &mut tar, &name, &options, &progress)
        .with_context(|| format!("cannot import {name}"))?;
    drop(progress);
    say(&built, args.build.json)
}

fn options(args: &BuildArgs, author: Option<&String>) -> anyhow::Result<BuildOptions> {
    let mut options = BuildOptions::default();
    options.names = super::new_names(&args.tag).context("--tag")?;
    options.message.clone_from(&args.message);
    options.author = author.cloned();
    let changes: Result<Vec<Change>, _> = args.change.iter().map(|text| text.parse()).collect();
    options.changes = changes.context("--change")?;
    options.epoch = epoch()?;
    Ok(options)
}

/// The time at which what is made counts as made, where the caller wants it to be always the same.
fn epoch() -> anyhow::Result<Option<i64>> {
    const VARIABLE: &str = "SOURCE_DATE_EPOCH";
    let Some(value) = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let text = value.to_string_lossy();
    let epoch = text.parse::<u32>();
    let epoch = epoch.with_context(|| format!("{VARIABLE} is no time: {}", text::escape(&text)))?;
    Ok(Some(epoch.into()))
}

fn say(built: &BuiltImage, json: bool) -> anyhow::Result<()> {
    if built.sockets > 0 {
        let sockets = usize::try_from(built.sockets).unwrap_or(usize::MAX);
        let sockets = text::count(sockets, "socket");
        error::print_line(&format!("{sockets} left out: no layer can hold one"));
    }
    if json {
        return output::json(built);
    }
    output::line(&built.id.to_string())
}
