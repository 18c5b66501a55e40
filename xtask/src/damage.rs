//! Damaged archives of every format, more of them than fit into a test run.

use anyhow::Result;

use crate::{process, workspace};

/// Arguments of `cargo xtask damage`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How long each of the two tests may take.
    #[arg(long, default_value_t = 5)]
    minutes: u64,
}

/// Runs the slow tests of damaged archives.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut cargo = workspace::cargo();
    cargo.env("LITH_DAMAGE_MINUTES", options.minutes.to_string());
    process::show(cargo.args([
        "test",
        "--package",
        "lith-archive",
        "--test",
        "it",
        "--",
        "--ignored",
        "damage::slow",
        "--test-threads=1",
        "--nocapture",
    ]))
}
