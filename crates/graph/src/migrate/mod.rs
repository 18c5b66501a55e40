//! Moving a store to another driver.
//!
//! Everything about layers that is not the driver's stays as it is: IDs, records, kept payloads, the
//! driver's IDs of trees. What is made anew is trees, each from the exact bytes of its layer as the store
//! gives them, in the new driver's folder beside the old one or in a new root; and each is read back
//! there with the same record before anything depends on it. Then the store gets the other driver in one
//! step, and the old trees go.
//!
//! While trees are made others go on using the store, with its old driver. The last step is done alone:
//! what came meanwhile is made, what went is removed, all is forced to disk.
//!
//! An interrupted move leaves trees in the folder of a driver that is not the store's. Nobody minds them;
//! the next move to that driver reads them, uses those that are right and goes on; a move to any other
//! driver, that of the store included, removes them.

mod error;
mod here;
mod leftover;
mod refuse;
mod there;
mod trees;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use lith_drivers::{Driver, DriverKind};
use lith_store::{Alone, Root};

use crate::{Event, Graph, Observer, driver};

pub use error::MigrateError;

/// Where a store is to be moved.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MigrateOptions {
    /// The driver, or the path of the plugin that it comes from.
    pub driver: String,
    /// A root that is to be made, and the store is to stay as it is. Without one the store gets the other
    /// driver where it is.
    pub root: Option<PathBuf>,
    /// How long the last step waits for others to end.
    pub patience: Duration,
}

impl MigrateOptions {
    /// A move to a driver, in place, that waits ten seconds for others.
    pub fn new(driver: &str) -> Self {
        Self {
            driver: driver.to_owned(),
            root: None,
            patience: Duration::from_secs(10),
        }
    }
}

/// What came of a move.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Migrated {
    /// Where the store with the new driver is.
    pub root: PathBuf,
    /// The driver that it had, or that the store has that it is a copy of.
    pub from: String,
    /// The driver that it has now.
    pub to: String,
    /// False when it had that driver before, or was there before: then nothing was made.
    pub moved: bool,
    /// Its layers.
    pub layers: usize,
    /// Those of them that this call has made; others were there, made by one that was interrupted.
    pub made: usize,
    /// Bytes of the layers' tars, all of which were read back and checked.
    pub bytes: u64,
    /// Drivers whose trees were removed that interrupted moves had left.
    pub swept: Vec<String>,
}

impl Graph {
    /// Moves the store to another driver, in place or into a new root, and returns what that came to.
    ///
    /// Every layer's tar is read back from the new driver and has its diff ID, the new trees are on
    /// disk, before the store changes, in one step. Until then it is as it was, whatever happens; what
    /// is killed or cancelled on the way can be run again, and goes on. After it the old trees are removed,
    /// by whoever opens the store next if this process dies over it.
    ///
    /// This graph has the old driver, so it ends here: the root is to be opened anew. Others may use the
    /// store meanwhile, but must have closed it for the last step, and have to wait for that to open it.
    ///
    /// # Errors
    /// [`MigrateError`] says what is in the way: mounts, writable layers, damage, other processes. A full
    /// disk gets back what was taken.
    pub fn migrate(
        self,
        options: &MigrateOptions,
        observer: &dyn Observer,
    ) -> Result<Migrated, MigrateError> {
        let Some(_lock) = self.store().try_lock_migration()? else {
            return Err(MigrateError::UnderWay {
                root: self.store().root().path().to_owned(),
            });
        };
        let to = self.wanted(&options.driver)?;
        match &options.root {
            None => self.migrate_here(&to, options.patience, observer),
            Some(root) => self.migrate_there(&to, root, options.patience, observer),
        }
    }

    /// Finds a driver by its name, or the path of its plugin; a plugin that the store knows by its name,
    /// too.
    fn wanted(&self, driver: &str) -> Result<DriverKind, MigrateError> {
        let known = lith_drivers::names().contains(&driver);
        match known || lith_drivers::plugin_path(driver).is_some() {
            true => Ok(lith_drivers::find_driver(driver)?),
            false => Ok(driver::of_root(self.store().root(), driver)?),
        }
    }

    /// The same layers with a driver that is not the store's yet.
    fn on_trial(&self, driver: Box<dyn Driver>) -> Self {
        Self {
            store: self.store.clone(),
            driver: driver.into(),
            doubts: Arc::new(OnceLock::new()),
            on_trial: true,
        }
    }

    fn open_beside(&self, root: &Root, kind: &DriverKind) -> Result<Box<dyn Driver>, MigrateError> {
        let (ownership, maps) = (self.store().ownership(), self.store().id_maps());
        Ok(driver::open(kind, root.path(), ownership, maps)?)
    }

    /// Opens the driver that is to have trees in a root; where it comes from a plugin, that is noted, so
    /// that its trees can be removed by who only finds them.
    fn begin_trees(&self, root: &Root, kind: &DriverKind) -> Result<Box<dyn Driver>, MigrateError> {
        let driver = self.open_beside(root, kind)?;
        if let Some(plugin) = kind.plugin() {
            root.note_plugin(kind.name(), plugin)?;
        }
        Ok(driver)
    }

    /// Waits to be the only one who uses the store, and sees to it that nothing is half done.
    fn alone(
        &self,
        patience: Duration,
        observer: &dyn Observer,
    ) -> Result<Alone<'_>, MigrateError> {
        let store = self.store();
        let mut alone = store.try_alone(Duration::ZERO)?;
        if alone.is_none() {
            observer.event(&Event::Warning {
                message: "everything is ready: waiting for other processes that use the store",
            });
            alone = store.try_alone(patience)?;
        }
        let alone = alone.ok_or_else(|| MigrateError::InUse {
            root: store.root().path().to_owned(),
        })?;
        self.recover()?;
        Ok(alone)
    }
}
