//! Damaged archives of every format, more of them than fit into a test run.

use anyhow::Result;

use crate::{process, workspace};

/// Runs the slow tests of damaged archives.
pub(crate) fn run() -> Result<()> {
    process::show(workspace::cargo().args([
        "test",
        "--package",
        "lith-archive",
        "--test",
        "it",
        "--",
        "--ignored",
        "damage::slow",
    ]))
}
