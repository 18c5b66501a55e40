//! Trees of drivers that are not the store's: what interrupted moves leave.

use lith_store::{DeadSession, Intent, Root};

use super::MigrateError;
use crate::{Graph, GraphError, driver};

impl Graph {
    /// Removes the trees of all drivers in a root but two. Returns whose.
    pub(super) fn sweep_drivers(
        &self,
        root: &Root,
        but: [&str; 2],
    ) -> Result<Vec<String>, MigrateError> {
        let mut swept = root.drivers_with_trees()?;
        swept.retain(|name| !but.contains(&name.as_str()));
        for name in &swept {
            tracing::info!(
                driver = name,
                "removing trees that an interrupted move left"
            );
            self.remove_driver(root, name)?;
        }
        Ok(swept)
    }

    /// Removes a driver's trees and its folder.
    pub(super) fn remove_driver(&self, root: &Root, name: &str) -> Result<(), MigrateError> {
        let home = root.drivers(name);
        if home.symlink_metadata().is_err() {
            return Ok(());
        }
        let driver = self.open_beside(root, &driver::of_root(root, name)?)?;
        for cache in driver.list()? {
            driver.remove(&cache)?;
        }
        drop(driver);
        // Where it is a file system of its own, it stays.
        match std::fs::remove_dir_all(&home) {
            Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => {}
            Err(source) => {
                return Err(MigrateError::Graph(GraphError::Io {
                    action: "remove",
                    path: home,
                    source,
                }));
            }
            Ok(()) => {}
        }
        Ok(root.forget_plugin(name)?)
    }

    /// Finishes the move that a dead process had all but finished: the store has its new driver, and the
    /// trees of the former one go. False when that has to be left to another time.
    pub(crate) fn finish_migration(&self, dead: &DeadSession) -> bool {
        // One that cannot be read is told of when the session is recovered.
        let Ok(intents) = dead.intents() else {
            return true;
        };
        intents.iter().all(|intent| match intent {
            Intent::SwitchDriver { from, to } if to == self.store().driver() && from != to => {
                let finished = self.finish_switch(from);
                finished.unwrap_or_else(|error| {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(driver = from, error, "trees of the former driver are left");
                    false
                })
            }
            _ => true,
        })
    }

    fn finish_switch(&self, former: &str) -> Result<bool, MigrateError> {
        // Somebody may be moving the store back to that driver.
        let Some(_lock) = self.store().try_lock_migration()? else {
            return Ok(false);
        };
        self.remove_driver(self.store().root(), former)?;
        Ok(true)
    }
}
