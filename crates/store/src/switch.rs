//! Another driver for a store: who may give it one, and the one step that does.
//!
//! Whoever moves a store to another driver makes the new trees beside the old ones, while others go on
//! working with the old ones. For the last step it has to be alone: whatever is done to a layer from
//! then on must be done by the new driver.

use std::fs;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::effects::Effects;
use crate::error::{IoContext, StoreError};
use crate::lock::{self, Mode};
use crate::make::put_word;
use crate::open::{IN_USE, MIGRATION, read_plugin, remember_plugin, root_lock};
use crate::store::Store;

impl Store {
    /// Takes the lock of whoever moves the store to another driver, or removes what a move left
    /// behind; `None` when somebody has it.
    ///
    /// # Errors
    /// The file system's.
    pub fn try_lock_migration(&self) -> Result<Option<MigrationLock>, StoreError> {
        let path = root_lock(self.root());
        let file = lock::open(&path)?;
        let taken = lock::try_take(&file, Mode::Exclusive, MIGRATION).at("lock", &path)?;
        Ok(taken.then_some(MigrationLock { _file: file }))
    }

    /// Waits for `patience` until nobody else has the store open, and keeps everybody else from opening it
    /// until the result is dropped: they wait. `None` when others still use it.
    ///
    /// # Errors
    /// The file system's.
    pub fn try_alone(&self, patience: Duration) -> Result<Option<Alone<'_>>, StoreError> {
        let taken = lock::take_within(self.in_use(), Mode::Exclusive, IN_USE, patience);
        let taken = taken.at("lock", &root_lock(self.root()))?;
        Ok(taken.then_some(Alone { store: self }))
    }

    /// Returns the names of other drivers that have trees here: what a move that was interrupted left,
    /// before its last step or after it.
    ///
    /// # Errors
    /// The file system's.
    pub fn other_drivers(&self) -> Result<Vec<String>, StoreError> {
        let mut found = self.root().drivers_with_trees()?;
        found.retain(|name| name != self.driver());
        Ok(found)
    }
}

impl crate::Root {
    /// Returns the plugin that a driver comes from which has, or is to have, trees here; `None` when
    /// nobody has noted one.
    ///
    /// # Errors
    /// The file system's; [`StoreError::Damaged`] for what is no path.
    pub fn plugin_of(&self, driver: &str) -> Result<Option<PathBuf>, StoreError> {
        read_plugin(self, driver)
    }

    /// Notes which plugin a driver comes from, on the disk when this returns.
    ///
    /// # Errors
    /// The file system's.
    pub fn note_plugin(&self, driver: &str, plugin: &Path) -> Result<(), StoreError> {
        remember_plugin(self, driver, plugin, &Effects::default())
    }

    /// Forgets that: there is nothing of the driver here.
    ///
    /// # Errors
    /// The file system's.
    pub fn forget_plugin(&self, driver: &str) -> Result<(), StoreError> {
        Effects::default()
            .remove_file(&self.plugin_file(driver))
            .map(drop)
    }

    /// Returns the names of the drivers whose folders hold anything, sorted.
    ///
    /// # Errors
    /// The file system's.
    pub fn drivers_with_trees(&self) -> Result<Vec<String>, StoreError> {
        let folder = self.path().join("drivers");
        let mut found = Vec::new();
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            entries => entries.at("read folder", &folder)?,
        };
        for entry in entries {
            let path = entry.at("read folder", &folder)?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            if path.is_dir() && holds_anything(&path).at("read folder", &path)? {
                found.push(name.to_owned());
            }
        }
        found.sort();
        Ok(found)
    }
}

/// A file system of its own has a folder from the start.
fn holds_anything(folder: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(folder)? {
        if entry?.file_name() != "lost+found" {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The lock of whoever moves the store to another driver, held until dropped.
#[derive(Debug)]
pub struct MigrationLock {
    _file: File,
}

/// Nobody else has the store open, and nobody can open it until this is dropped.
#[derive(Debug)]
pub struct Alone<'a> {
    store: &'a Store,
}

impl Alone<'_> {
    /// Makes another driver that of the store, in one step that is on the disk when this returns. All
    /// its trees are there, and on the disk; where it comes from a plugin, that is [noted](crate::Root::note_plugin).
    ///
    /// This open store goes on with the driver that it was opened with: it is good for what needs no
    /// trees, and to be opened anew.
    ///
    /// # Errors
    /// The file system's; then the store may have either driver.
    pub fn switch_driver(&self, driver: &str) -> Result<(), StoreError> {
        let store = self.store;
        put_word(store.effects(), &store.root().driver_file(), driver)?;
        store.effects().sync_dir(store.root().path())
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        // Others may come in; that we use the store ourselves stays.
        if let Err(error) = lock::try_take(self.store.in_use(), Mode::Shared, IN_USE) {
            tracing::error!(%error, "cannot let others use the store");
        }
    }
}
