//! `lith driver`: which drivers there are, and whether they do what they must.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use lith_drivers::conformance::{self, CaseReport, Outcome, Report};
use lith_graph::Graph;
use lith_store::{Ownership, Store};
use serde::Serialize;

use crate::args::{DriverTestArgs, Global, JsonArgs};
use crate::output::{self, error, table, text};
use crate::root;

/// A driver in `driver ls --json`; the names are stable.
#[derive(Serialize)]
struct Driver {
    name: String,
    description: String,
    /// Whether the root was made with it.
    used: bool,
}

/// A case in `driver test --json`; the names are stable.
#[derive(Serialize)]
struct Case<'a> {
    name: &'a str,
    asserts: &'a str,
    outcome: &'a str,
    reason: Option<&'a str>,
}

pub(super) fn list(global: &Global, args: &JsonArgs) -> anyhow::Result<()> {
    let root = root::path(global)?;
    let used = Store::driver_of(&root)?;
    let describe = |name: &str| match name {
        "overlay" => "what each layer adds and hides; the kernel lays them over each other",
        "vfs" => "a full tree for each layer; works on every file system",
        _ => "",
    };
    let mut drivers: Vec<Driver> = lith_drivers::names()
        .iter()
        .map(|name| Driver {
            name: (*name).to_owned(),
            description: describe(name).to_owned(),
            used: used.as_deref() == Some(*name),
        })
        .collect();
    // Others are known only where they are used.
    if let (Some(name), Some(plugin)) = (used, Store::plugin_of(&root)?) {
        drivers.push(Driver {
            name,
            description: format!("the plugin {}", text::escape(&plugin.to_string_lossy())),
            used: true,
        });
    }
    if args.json {
        return output::json(&drivers);
    }
    let row = |driver: &Driver| {
        let used = if driver.used { "yes" } else { "no" };
        [&driver.name, used, &driver.description]
            .map(str::to_owned)
            .to_vec()
    };
    let rows: Vec<Vec<String>> = drivers.iter().map(row).collect();
    output::print(&table::render(&["NAME", "USED HERE", "KEEPS"], &rows))
}

/// Runs the conformance cases on a driver, in a folder of its own below the root.
pub(super) fn test(graph: &Graph, args: &DriverTestArgs) -> anyhow::Result<ExitCode> {
    let store = graph.store();
    if store.ownership() == Ownership::Recorded {
        bail!(
            "the cases look at owners through mounts, which a store with recorded ownership does \
             not show: test on one with --ownership mapped, or as root"
        );
    }
    let scratch = tempfile::Builder::new()
        .prefix(".driver-test-")
        .tempdir_in(store.root().path())
        .context("cannot make a folder for the test")?;
    let options = graph.driver_options()?;
    let open = |home: &Path| lith_drivers::open_driver(&args.name, home, &options);
    // One that is not there, or cannot work here, is no case that failed.
    drop(open(&scratch.path().join("try"))?);
    let report = conformance::run(&open, &scratch.path().join("cases"))
        .with_context(|| format!("cannot test {}", text::escape(&args.name)))?;
    scratch
        .close()
        .context("cannot remove the folder of the test")?;
    say(&report, args.json)?;
    match report.passed() {
        true => Ok(ExitCode::SUCCESS),
        false => Ok(ExitCode::FAILURE),
    }
}

fn say(report: &Report, json: bool) -> anyhow::Result<()> {
    if json {
        let cases: Vec<Case<'_>> = report.cases.iter().map(document).collect();
        return output::json(&cases);
    }
    let row = |case: &CaseReport| {
        let said = case.outcome.reason().unwrap_or(case.asserts);
        vec![
            case.outcome.word().to_owned(),
            case.name.to_owned(),
            text::escape(said),
        ]
    };
    let rows: Vec<Vec<String>> = report.cases.iter().map(row).collect();
    output::print(&table::render(
        &["OUTCOME", "CASE", "ASSERTS, OR WHY NOT"],
        &rows,
    ))?;
    let count = |wanted: fn(&Outcome) -> bool| {
        report
            .cases
            .iter()
            .filter(|case| wanted(&case.outcome))
            .count()
    };
    error::print_line(&format!(
        "{} passed, {} failed, {} skipped",
        count(|outcome| matches!(outcome, Outcome::Passed)),
        count(|outcome| matches!(outcome, Outcome::Failed(_))),
        count(|outcome| matches!(outcome, Outcome::Skipped(_))),
    ));
    Ok(())
}

fn document(case: &CaseReport) -> Case<'_> {
    Case {
        name: case.name,
        asserts: case.asserts,
        outcome: case.outcome.word(),
        reason: case.outcome.reason(),
    }
}
