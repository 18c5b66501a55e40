//! Which drivers there are.

use std::path::{Path, PathBuf};

use lith_plugin::{Backend, Library};

use crate::driver::Driver;
use crate::error::DriverError;
use crate::full::FullTrees;
use crate::mount::overlay::probe;
use crate::options::{DriverOptions, Ownership};
use crate::{full, overlay};

type Open = fn(&Path, &DriverOptions) -> Result<Box<dyn Driver>, DriverError>;

const DRIVERS: [(&str, Open); 2] = [
    (overlay::NAME, overlay::Overlay::open),
    (full::VFS, FullTrees::open_vfs),
];
const NAMES: [&str; 2] = [overlay::NAME, full::VFS];

/// Returns the names of all drivers that are built in.
#[must_use]
pub fn names() -> &'static [&'static str] {
    &NAMES
}

/// A driver that was found, not yet opened on a folder.
#[derive(Debug)]
pub struct DriverKind(Kind);

#[derive(Debug)]
enum Kind {
    BuiltIn(&'static str, Open),
    Plugin(Library),
}

impl DriverKind {
    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.0 {
            Kind::BuiltIn(name, _) => name,
            Kind::Plugin(plugin) => &plugin.info().name,
        }
    }

    /// Returns the absolute path of the plugin that it comes from.
    #[must_use]
    pub fn plugin(&self) -> Option<&Path> {
        match &self.0 {
            Kind::BuiltIn(..) => None,
            Kind::Plugin(plugin) => Some(plugin.path()),
        }
    }

    /// Opens it on its folder.
    ///
    /// # Errors
    /// When it cannot work there.
    pub fn open(
        &self,
        home: &Path,
        options: &DriverOptions,
    ) -> Result<Box<dyn Driver>, DriverError> {
        match &self.0 {
            Kind::BuiltIn(_, open) => open(home, options),
            Kind::Plugin(plugin) => FullTrees::open_plugin(plugin, home, options),
        }
    }
}

/// Returns the path of the plugin that a driver is named by: with a slash in it, or `.so` at its
/// end.
#[must_use]
pub fn plugin_path(name: &str) -> Option<PathBuf> {
    let is_path = name.contains('/') || name.ends_with(".so");
    is_path.then(|| PathBuf::from(name))
}

/// Finds a driver: one that is built in by its name, a plugin by its path.
///
/// A plugin is code that becomes part of this process, and stays in it until it ends.
///
/// # Errors
/// When there is no such driver, or the plugin cannot be loaded.
pub fn find_driver(name: &str) -> Result<DriverKind, DriverError> {
    if let Some(path) = plugin_path(name) {
        return find_plugin(&path);
    }
    match DRIVERS.iter().find(|(known, _)| *known == name) {
        Some((name, open)) => Ok(DriverKind(Kind::BuiltIn(name, *open))),
        None => Err(DriverError::UnknownDriver {
            name: name.to_owned(),
            known: NAMES.join(", "),
        }),
    }
}

/// Finds the driver that a plugin brings.
///
/// # Errors
/// When it cannot be loaded, or has the name of a driver that is built in.
pub fn find_plugin(path: &Path) -> Result<DriverKind, DriverError> {
    let plugin = Library::load(path)?;
    let called = &plugin.info().name;
    if NAMES.contains(&called.as_str()) {
        return Err(DriverError::PluginName {
            path: plugin.path().to_owned(),
            name: called.clone(),
        });
    }
    Ok(DriverKind(Kind::Plugin(plugin)))
}

/// Opens a driver over a backend of the caller's own: one that keeps a full tree for each layer,
/// made, copied and removed by the backend.
///
/// # Errors
/// When it cannot work there.
pub fn open_backend(
    backend: Box<dyn Backend>,
    home: &Path,
    options: &DriverOptions,
) -> Result<Box<dyn Driver>, DriverError> {
    FullTrees::open_backend(backend, home, options)
}

/// Finds a driver and opens it on its folder: [`find_driver`], then [`DriverKind::open`].
///
/// # Errors
/// As these two.
pub fn open_driver(
    name: &str,
    home: &Path,
    options: &DriverOptions,
) -> Result<Box<dyn Driver>, DriverError> {
    find_driver(name)?.open(home, options)
}

/// Returns the name of the driver that suits an existing folder best: overlay where such mounts
/// work (one is made and taken away again), else vfs.
///
/// With [`Ownership::Recorded`] nothing is mounted, which a user cannot do: overlay is chosen
/// where its layers can be made and the kernel lets a user namespace mount them.
#[must_use]
pub fn default_driver(root: &Path, ownership: Ownership) -> &'static str {
    match probe(root, ownership) {
        Ok(()) => overlay::NAME,
        Err(error) => {
            tracing::debug!(root = %root.display(), %error, "overlay mounts do not work here");
            full::VFS
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_and_the_names_agree() {
        assert_eq!(DRIVERS.map(|(name, _)| name), NAMES);
        let Err(error) = open_driver("aufs", Path::new("/nowhere"), &DriverOptions::default())
        else {
            panic!("there is no such driver");
        };
        assert_eq!(
            error.to_string(),
            "no driver is called \"aufs\" (there are: overlay, vfs, and plugins, named by their paths)"
        );
    }
}
