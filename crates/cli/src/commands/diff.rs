//! `lith diff` and `lith export`: trees compared, and written as they are.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, bail};
use lith_drivers::DiffOptions;
use lith_graph::Graph;
use serde::Serialize;

use super::side::{self, Side};
use crate::args::{DiffArgs, ExportArgs};
use crate::output::{self, error, file, text};

/// The exit status of a comparison that failed, where 1 says that there are differences.
pub(super) const FAILED: u8 = 3;

/// A change in `diff --json`; the names are stable.
#[derive(Serialize)]
struct Row {
    /// `A`, `C` or `D`.
    kind: char,
    path: String,
}

pub(super) fn run(graph: &Graph, args: &DiffArgs) -> anyhow::Result<ExitCode> {
    let platform = args.of.platform.as_ref();
    let first = side::find(graph, &args.first, platform)?;
    let second = args.second.as_ref();
    let second = second.map(|second| side::find(graph, second, platform));
    let second = second.transpose()?;
    let (new, old) = match (&second, &first) {
        (Some(second), first) => (second.tree(graph)?, first.tree(graph)?),
        (None, Side::Writable(id)) => (first.tree(graph)?, graph.tree_below_writable(id)?),
        (None, _) => bail!(
            "{} is an image: say what is to be compared with it",
            text::escape(&args.first)
        ),
    };
    let Some(new) = new else {
        // What has no layers has nothing: everything was removed.
        bail!("an image without layers has no files to compare");
    };
    let changes = lith_drivers::changes(&new, old.as_ref())?;
    let path = |path: &[u8]| format!("/{}", String::from_utf8_lossy(path));
    if args.json {
        let row = |change: &lith_drivers::Change| Row {
            kind: change.kind.letter(),
            path: path(&change.path),
        };
        output::json(&changes.iter().map(row).collect::<Vec<_>>())?;
    } else {
        let line = |change: &lith_drivers::Change| {
            format!(
                "{} {}\n",
                change.kind.letter(),
                text::escape(&path(&change.path))
            )
        };
        output::print(&changes.iter().map(line).collect::<String>())?;
    }
    Ok(match args.exit_code && !changes.is_empty() {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    })
}

/// Writes the whole tree as one tar.
pub(super) fn export(graph: &Graph, args: &ExportArgs) -> anyhow::Result<()> {
    let side = side::find(graph, &args.image, args.of.platform.as_ref())?;
    let mut out = file::open(&args.output)?;
    match side.tree(graph)? {
        Some(tree) => {
            let mut options = DiffOptions::default();
            options.root = true;
            let mut buffered = std::io::BufWriter::with_capacity(1 << 20, &mut out);
            let done = lith_drivers::diff(&tree, None, &options, &mut buffered)
                .with_context(|| format!("cannot export {}", text::escape(&args.image)))?;
            drop(buffered);
            if done.sockets > 0 {
                let sockets = usize::try_from(done.sockets).unwrap_or(usize::MAX);
                let sockets = text::count(sockets, "socket");
                error::print_line(&format!("{sockets} left out: no tar can hold one"));
            }
        }
        // An image without layers has no files.
        None => out
            .write_all(&[0; 1024])
            .context("cannot write the output")?,
    }
    out.finish()
}
