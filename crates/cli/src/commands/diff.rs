//! `lith diff` and `lith export`: trees compared, and written as they are.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use lith_archive::Selection;
use lith_drivers::{CacheId, DiffOptions, LayerTree};
use lith_graph::Graph;
use lith_store::LayerId;
use serde::Serialize;

use super::writable;
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

/// What is compared or written.
enum Side {
    Writable(CacheId),
    Image {
        /// None of an image without layers.
        top: Option<LayerId>,
        /// Nobody removes it meanwhile.
        _held: Selection,
    },
}

pub(super) fn run(graph: &Graph, args: &DiffArgs) -> anyhow::Result<ExitCode> {
    let first = side(graph, &args.first)?;
    let (new, old) = match (&args.second, &first) {
        (Some(second), first) => (tree(graph, &side(graph, second)?)?, tree(graph, first)?),
        (None, Side::Writable(id)) => (tree(graph, &first)?, graph.tree_below_writable(id)?),
        (None, Side::Image { .. }) => bail!(
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

/// A mount's place, the ID of a writable layer, or an image.
fn side(graph: &Graph, wanted: &str) -> anyhow::Result<Side> {
    if let Some(mount) = writable::mount_at(graph, Path::new(wanted))? {
        if let Some(id) = mount.writable {
            return Ok(Side::Writable(id));
        }
        if let Some(image) = mount.image {
            return image_side(graph, &image.to_string());
        }
    }
    match writable::find(graph, wanted)? {
        Some(id) => Ok(Side::Writable(id)),
        None => image_side(graph, &super::resolve(graph, wanted)?.to_string()),
    }
}

fn image_side(graph: &Graph, id: &str) -> anyhow::Result<Side> {
    let selection = lith_archive::select(graph, &[id.to_owned()])?;
    let mut layers = selection
        .images()
        .iter()
        .flat_map(|image| &image.record.layers);
    let top = layers.next_back().copied();
    drop(layers);
    Ok(Side::Image {
        top,
        _held: selection,
    })
}

fn tree(graph: &Graph, side: &Side) -> anyhow::Result<Option<LayerTree>> {
    Ok(match side {
        Side::Writable(id) => Some(graph.tree_of_writable(id)?),
        Side::Image { top, .. } => top.as_ref().map(|top| graph.tree(top)).transpose()?,
    })
}

/// Writes the whole tree as one tar.
pub(super) fn export(graph: &Graph, args: &ExportArgs) -> anyhow::Result<()> {
    let side = side(graph, &args.image)?;
    let mut out = file::open(&args.output)?;
    match tree(graph, &side)? {
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
