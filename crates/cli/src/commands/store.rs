//! `lith store migrate`: the same layers with another driver.

use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use lith_graph::{MigrateOptions, Migrated};
use serde::Serialize;

use crate::args::{Global, MigrateArgs};
use crate::output::progress::Progress;
use crate::output::{self, error, text};
use crate::root;

/// `store migrate --json`; the names are stable.
#[derive(Serialize)]
struct Document {
    root: String,
    from: String,
    to: String,
    /// False when there was nothing to be done.
    moved: bool,
    layers: usize,
    /// Those whose trees were made by this command, and not by one that was interrupted.
    made: usize,
    /// Bytes of the layers' tars, all read back.
    bytes: u64,
    /// Drivers whose trees were removed that interrupted moves had left.
    swept: Vec<String>,
    seconds: f64,
}

pub(super) fn migrate(global: &Global, args: &MigrateArgs) -> anyhow::Result<()> {
    let started = Instant::now();
    // Its own, and not kept: it has the old driver.
    let graph = root::open_existing(global)?;
    let mut options = MigrateOptions::new(&args.to_driver);
    options.root = args.to_root.as_deref().map(absolute).transpose()?;
    let progress = Progress::new(global.quiet);
    let migrated = graph
        .migrate(&options, &progress)
        .with_context(|| format!("cannot move to driver {}", text::escape(&args.to_driver)))?;
    drop(progress);
    if args.json {
        return output::json(&document(migrated, started.elapsed().as_secs_f64()));
    }
    if !global.quiet {
        for name in &migrated.swept {
            let name = text::escape(name);
            error::print_line(&format!(
                "removed what an interrupted move to driver {name} left"
            ));
        }
    }
    output::line(&sentence(&migrated))
}

fn absolute(path: &Path) -> anyhow::Result<std::path::PathBuf> {
    std::path::absolute(path).with_context(|| format!("cannot make {} absolute", path.display()))
}

fn document(migrated: Migrated, seconds: f64) -> Document {
    Document {
        root: migrated.root.to_string_lossy().into_owned(),
        from: migrated.from,
        to: migrated.to,
        moved: migrated.moved,
        layers: migrated.layers,
        made: migrated.made,
        bytes: migrated.bytes,
        swept: migrated.swept,
        seconds,
    }
}

fn sentence(migrated: &Migrated) -> String {
    let root = text::escape(&migrated.root.to_string_lossy());
    let to = text::escape(&migrated.to);
    if !migrated.moved {
        return format!("Store {root} has driver {to} already");
    }
    format!(
        "Moved from driver {} to {to}, {}, {}: {root}",
        text::escape(&migrated.from),
        text::count(migrated.layers, "layer"),
        text::size(migrated.bytes),
    )
}
