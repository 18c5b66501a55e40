//! Which store a command works on, and where those of other engines are.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, bail};
use lith_archive::{Defaults, StorageSpec};
use lith_graph::Graph;
use lith_store::{IdMaps, IdRange, OpenOptions};

use crate::args::Global;
use crate::namespace;

/// The environment variable that says where the store is.
pub(crate) const VARIABLE: &str = "LITH_ROOT";

/// Where the store is.
pub(crate) fn path(global: &Global) -> anyhow::Result<PathBuf> {
    match &global.root {
        // An empty variable is one that is not set; an empty option is a mistake.
        Some(root) if root.as_os_str().is_empty() && is_empty(VARIABLE) => default_root(),
        Some(root) if root.as_os_str().is_empty() => bail!("--root is empty"),
        Some(root) => std::path::absolute(root)
            .with_context(|| format!("cannot make {} absolute", root.display())),
        None => default_root(),
    }
}

/// The ID maps that were given. Ranges for users alone count for groups too, and the other way round.
pub(crate) fn id_maps(global: &Global) -> Option<IdMaps> {
    let (uids, gids) = (&global.uidmap, &global.gidmap);
    let first = |one: &[IdRange], other: &[IdRange]| {
        let given = if one.is_empty() { other } else { one };
        given.to_vec()
    };
    let maps = IdMaps {
        uids: first(uids, gids),
        gids: first(gids, uids),
    };
    (!maps.uids.is_empty()).then_some(maps)
}

/// Opens the store, and makes it when it is missing.
pub(crate) fn open(global: &Global) -> anyhow::Result<Graph> {
    open_or(global, true)
}

/// Opens the store, which must be there.
pub(crate) fn open_existing(global: &Global) -> anyhow::Result<Graph> {
    open_or(global, false)
}

fn open_or(global: &Global, create: bool) -> anyhow::Result<Graph> {
    let root = path(global)?;
    let unset = |driver: &String| driver.is_empty() && is_empty("LITH_DRIVER");
    let driver = global.driver.clone().filter(|driver| !unset(driver));
    let options = OpenOptions {
        driver,
        plugin: None,
        ownership: global.ownership,
        id_maps: id_maps(global),
        create,
    };
    Graph::open_root(&root, &options)
        .with_context(|| format!("cannot open the store at {}", root.display()))
}

fn default_root() -> anyhow::Result<PathBuf> {
    if namespace::is_root() {
        return Ok("/var/lib/lith".into());
    }
    data_home()
        .map(|data| data.join("lith"))
        .context("neither XDG_DATA_HOME nor HOME says where the store is: give --root")
}

/// What the environment says of other engines.
pub(crate) fn defaults() -> Defaults {
    let (root, run) = if namespace::is_root() {
        (
            Some("/var/lib/containers".into()),
            Some("/run/containers/storage".into()),
        )
    } else {
        let run = variable("XDG_RUNTIME_DIR");
        let data = data_home().map(|data| data.join("containers"));
        (data, run.map(|run| run.join("containers")))
    };
    let mut defaults = Defaults::default();
    defaults.storage = root.map(|root: PathBuf| StorageSpec {
        driver: None,
        root: root.join("storage"),
        run,
    });
    let tls = env::var_os("DOCKER_TLS_VERIFY").is_some_and(|value| !value.is_empty());
    let host = variable("DOCKER_HOST").map(|host| host.to_string_lossy().into_owned());
    // What asks for TLS must not be talked to without.
    defaults.engine = host.map(|host| match host.strip_prefix("tcp://") {
        Some(rest) if tls => format!("https://{rest}"),
        _ => host,
    });
    defaults
}

/// Where a user's programs keep data.
fn data_home() -> Option<PathBuf> {
    variable("XDG_DATA_HOME").or_else(|| variable("HOME").map(|home| home.join(".local/share")))
}

fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

fn is_empty(variable: &str) -> bool {
    env::var_os(variable).is_some_and(|value| value.is_empty())
}
