//! Which store a command works on.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, bail};
use lith_graph::Graph;
use lith_store::OpenOptions;

use crate::args::Global;

/// Opens the store, and makes it when it is missing.
pub(crate) fn open(global: &Global) -> anyhow::Result<Graph> {
    let root = match &global.root {
        // An empty variable is one that is not set; an empty option is a mistake.
        Some(root) if root.as_os_str().is_empty() && is_empty("LITH_ROOT") => default_root()?,
        Some(root) if root.as_os_str().is_empty() => bail!("--root is empty"),
        Some(root) => std::path::absolute(root)
            .with_context(|| format!("cannot make {} absolute", root.display()))?,
        None => default_root()?,
    };
    let unset = |driver: &String| driver.is_empty() && is_empty("LITH_DRIVER");
    let driver = global.driver.clone().filter(|driver| !unset(driver));
    let options = OpenOptions {
        driver,
        create: true,
        ..OpenOptions::default()
    };
    Graph::open_root(&root, &options)
        .with_context(|| format!("cannot open the store at {}", root.display()))
}

fn default_root() -> anyhow::Result<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Ok("/var/lib/lith".into());
    }
    let set = |name| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    set("XDG_DATA_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".local/share")))
        .map(|data| data.join("lith"))
        .context("neither XDG_DATA_HOME nor HOME says where the store is: give --root")
}

fn is_empty(variable: &str) -> bool {
    env::var_os(variable).is_some_and(|value| value.is_empty())
}
