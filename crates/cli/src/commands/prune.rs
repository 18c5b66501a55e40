//! `lith prune`: what nobody needs out of the store.

use lith_archive::{PruneOptions, PruneReport, RemoveError};
use lith_graph::Graph;

use crate::args::PruneArgs;
use crate::interrupt::Asked;
use crate::output::{self, text};

pub(super) fn run(graph: &Graph, args: &PruneArgs) -> anyhow::Result<()> {
    let mut options = PruneOptions::default();
    options.all = args.all;
    options.dry_run = args.dry_run;
    let (report, error) = match lith_archive::prune(graph, &options, &Asked) {
        Ok(report) => (report, None),
        Err(RemoveError::Pruned { done, source }) => (*done, Some(source)),
        Err(error) => return Err(error.into()),
    };
    if args.json {
        output::json(&report)?;
    } else {
        output::print(&lines(&report, args.dry_run))?;
    }
    error.map_or(Ok(()), |error| Err((*error).into()))
}

/// One line for each thing that goes, and for each that stays and why; then what that frees.
fn lines(report: &PruneReport, dry_run: bool) -> String {
    let said = |done: &'static str, planned: &'static str| if dry_run { planned } else { done };
    let untagged = said("Untagged", "Would untag");
    let deleted = said("Deleted", "Would delete");
    let deleted_layer = said("Deleted layer", "Would delete layer");
    let mut lines = String::new();
    let mut line = |what: &str, of: &str| lines.push_str(&format!("{what}: {of}\n"));
    for image in &report.images {
        for name in &image.names {
            line(untagged, &name.familiar());
        }
        line(deleted, &image.id.to_string());
    }
    for layer in &report.layers {
        line(deleted_layer, &text::layer(&layer.id));
    }
    for kept in &report.kept {
        line("Kept", &text::escape(&kept.to_string()));
    }
    line(said("Freed", "Would free"), &text::size(report.disk));
    lines
}
