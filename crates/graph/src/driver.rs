//! Which driver a root has: chosen when it is made, found again when it is opened.

use std::os::unix::fs::{DirBuilderExt, MetadataExt as _};
use std::path::Path;

use lith_drivers::{Driver, DriverKind, DriverOptions, find_driver, find_plugin, plugin_path};
use lith_store::{IdMaps, IdRange, OpenOptions, Ownership, Root, Store};

use crate::GraphError;

/// Finds the driver that the options name, or that is to be a new root's. Returns options with the
/// driver's own name.
///
/// None: that of the root is to be found when it is open ([`of_store`]).
pub(crate) fn choose(
    root: &Path,
    options: &OpenOptions,
) -> Result<(Option<DriverKind>, OpenOptions), GraphError> {
    let mut options = options.clone();
    let path = options.driver.as_deref().and_then(plugin_path);
    let mut kind = match options.plugin.take().or(path) {
        Some(plugin) => Some(find_plugin(&plugin)?),
        None => None,
    };
    if options.create && Store::driver_of(root)?.is_none() {
        kind = Some(try_on(root, &options, kind)?);
    }
    if let Some(kind) = &kind {
        options.driver = Some(kind.name().to_owned());
        options.plugin = kind.plugin().map(Path::to_owned);
    }
    Ok((kind, options))
}

/// Finds the driver that a store was made with.
pub(crate) fn of_store(store: &Store) -> Result<DriverKind, GraphError> {
    of_root(store.root(), store.driver())
}

/// Finds a driver that has trees in a root.
pub(crate) fn of_root(root: &Root, name: &str) -> Result<DriverKind, GraphError> {
    if lith_drivers::names().contains(&name) {
        return Ok(find_driver(name)?);
    }
    let Some(plugin) = root.plugin_of(name)? else {
        // It says which there are.
        return Ok(find_driver(name)?);
    };
    let gone = |reason: String| GraphError::PluginGone {
        root: root.path().to_owned(),
        driver: name.to_owned(),
        plugin: plugin.clone(),
        reason,
    };
    for path in [&root.plugin_file(name), &plugin] {
        expect_trusted(path).map_err(gone)?;
    }
    let kind = find_plugin(&plugin)?;
    match kind.name() == name {
        true => Ok(kind),
        false => Err(gone(format!("there is now driver {}", kind.name()))),
    }
}

/// Refuses what somebody else could have put there: it becomes part of this process, though nobody
/// named it.
fn expect_trusted(path: &Path) -> Result<(), String> {
    let found = path
        .metadata()
        .map_err(|error| format!("{}: {error}", path.display()))?;
    let us = rustix::process::geteuid().as_raw();
    let path = path.display();
    if found.uid() != us && found.uid() != 0 {
        let owner = found.uid();
        return Err(format!("{path} belongs to user {owner}, not to user {us}"));
    }
    match found.mode() & 0o002 {
        0 => Ok(()),
        _ => Err(format!("everybody can write to {path}")),
    }
}

/// Chooses the driver of a root that is to be made, and tries it there, so that no root is made
/// for a driver that cannot work.
fn try_on(
    root: &Path,
    options: &OpenOptions,
    plugin: Option<DriverKind>,
) -> Result<DriverKind, GraphError> {
    Store::check_place(root)?;
    let fresh = !root.exists();
    // It may be a file system of its own, so it is in there that is tried.
    let place = root.join("drivers");
    make_private(&place)?;
    let owners = options.ownership_of_new_root();
    let tried = || {
        let kind = match (plugin, &options.driver) {
            (Some(plugin), _) => plugin,
            (None, Some(name)) => find_driver(name)?,
            (None, None) => find_driver(lith_drivers::default_driver(&place, ownership(owners)))?,
        };
        open(&kind, root, owners, options.id_maps.as_ref()).map(|_| kind)
    };
    tried().inspect_err(|_| {
        if fresh {
            // Only what is empty goes, and so nothing of anybody else's.
            let _ = std::fs::remove_dir(&place).and_then(|()| std::fs::remove_dir(root));
        }
    })
}

/// Opens a driver on its folder of a root.
pub(crate) fn open(
    kind: &DriverKind,
    root: &Path,
    owners: Ownership,
    maps: Option<&IdMaps>,
) -> Result<Box<dyn Driver>, GraphError> {
    let options = driver_options(owners, maps)?;
    let home = Root::new(root).drivers(kind.name());
    Ok(kind.open(&home, &options)?)
}

/// How a driver of a root is opened.
pub(crate) fn driver_options(
    owners: Ownership,
    maps: Option<&IdMaps>,
) -> Result<DriverOptions, GraphError> {
    let mut options = DriverOptions::default();
    options.ownership = ownership(owners);
    options.id_maps = maps.map(id_maps).transpose()?;
    options.in_namespace = maps.is_some_and(IdMaps::in_force);
    Ok(options)
}

/// Makes a folder and those it lies in, for their owner only, where there are none yet.
fn make_private(path: &Path) -> Result<(), GraphError> {
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    made.map_err(|source| GraphError::Io {
        action: "make folder",
        path: path.to_owned(),
        source,
    })
}

/// The store and the drivers know nothing of each other, so each has a word for this.
fn ownership(store: Ownership) -> lith_drivers::Ownership {
    match store {
        Ownership::Real => lith_drivers::Ownership::Real,
        Ownership::Mapped => lith_drivers::Ownership::Mapped,
        Ownership::Recorded => lith_drivers::Ownership::Recorded,
    }
}

/// And for this.
fn id_maps(store: &IdMaps) -> Result<lith_drivers::IdMaps, GraphError> {
    let ranges = |ranges: &[IdRange]| {
        let range = |range: &IdRange| lith_drivers::IdRange {
            container: range.container,
            host: range.host,
            count: range.count,
        };
        ranges.iter().map(range).collect()
    };
    let maps = lith_drivers::IdMaps::new(ranges(&store.uids), ranges(&store.gids))?;
    Ok(maps)
}
