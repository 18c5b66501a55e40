//! `lith rmi`: images out of the store.

use lith_archive::RemoveReport;
use lith_graph::Graph;

use crate::args::RmiArgs;
use crate::output::{self, text};

pub(super) fn run(graph: &Graph, args: &RmiArgs) -> anyhow::Result<()> {
    let report = lith_archive::remove(graph, &args.images, args.force)?;
    if args.json {
        output::json(&report)
    } else {
        print(&report)
    }
}

/// One line for each thing that is gone, and for each that stays and why.
pub(super) fn print(report: &RemoveReport) -> anyhow::Result<()> {
    for (name, _) in &report.untagged {
        output::line(&format!("Untagged: {}", name.familiar()))?;
    }
    for image in &report.deleted {
        output::line(&format!("Deleted: {image}"))?;
    }
    for layer in &report.layers {
        output::line(&format!("Deleted layer: {layer}"))?;
    }
    for kept in &report.kept {
        output::line(&format!("Kept: {}", text::escape(&kept.to_string())))?;
    }
    Ok(())
}
