//! `lith rmi`: images out of the store.

use lith_archive::{RemoveError, RemoveOptions, RemoveReport};
use lith_graph::Graph;

use crate::args::RmiArgs;
use crate::interrupt::Asked;
use crate::output::{self, text};

pub(super) fn run(graph: &Graph, args: &RmiArgs) -> anyhow::Result<()> {
    let mut options = RemoveOptions::default();
    options.force = args.force;
    let result = lith_archive::remove(graph, &args.images, &options, &Asked);
    report(result, args.json)
}

/// Prints what was done: all of it, or what was until something failed.
pub(super) fn report(result: Result<RemoveReport, RemoveError>, json: bool) -> anyhow::Result<()> {
    let (report, error) = match result {
        Ok(report) => (report, None),
        Err(RemoveError::Stopped { done, source }) => (*done, Some(source)),
        Err(error) => return Err(error.into()),
    };
    if json {
        output::json(&report)?;
    } else {
        output::print(&lines(&report))?;
    }
    error.map_or(Ok(()), |error| Err((*error).into()))
}

/// One line for each thing that is gone, and for each that stays and why.
fn lines(report: &RemoveReport) -> String {
    let mut lines = String::new();
    let mut line = |what: &str, of: &str| lines.push_str(&format!("{what}: {of}\n"));
    for (name, _) in &report.untagged {
        line("Untagged", &name.familiar());
    }
    for image in &report.deleted {
        line("Deleted", &image.to_string());
    }
    for layer in &report.layers {
        line("Deleted layer", &text::layer(layer));
    }
    for kept in &report.kept {
        line("Kept", &text::escape(&kept.to_string()));
    }
    lines
}
