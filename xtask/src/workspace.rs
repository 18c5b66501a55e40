//! Where things are: the workspace, its build folder, the `lith` it builds.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process;

/// The root of the workspace.
pub(crate) fn root() -> Result<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent()
        .map(Path::to_owned)
        .context("xtask has no parent folder")
}

/// The cargo that runs this, else the one on the path.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    if let Ok(root) = root() {
        command.current_dir(root);
    }
    command
}

/// What `cargo metadata` says of this workspace.
pub(crate) fn metadata() -> Result<Value> {
    let mut command = cargo();
    command.args(["metadata", "--format-version=1", "--no-deps"]);
    let output = process::run(&mut command)?.ok()?;
    serde_json::from_slice(&output.stdout).context("the answer of cargo metadata")
}

/// Cargo's build folder, wherever the environment puts it.
pub(crate) fn target() -> Result<PathBuf> {
    let metadata = metadata()?;
    let target = metadata["target_directory"]
        .as_str()
        .context("target_directory is missing")?;
    Ok(PathBuf::from(target))
}

/// Builds `lith` in release and gives the path of the program.
pub(crate) fn build_lith() -> Result<PathBuf> {
    let mut command = cargo();
    // The plugin lies beside the program then.
    command.args([
        "build",
        "--release",
        "--package",
        "lith",
        "--package",
        "lith-plugin-btrfs",
    ]);
    command
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit());
    let shown = process::line(&command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .context("cannot start cargo")?;
    if !output.status.success() {
        bail!("`{shown}` ended with {}", output.status);
    }
    // One message a line; the program's own names it.
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == "lith")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .with_context(|| format!("`{shown}` named no program"))
}
