//! What keeps a store from being moved.

use std::path::PathBuf;

use lith_drivers::CacheId;

use super::MigrateError;
use crate::Graph;

impl Graph {
    /// Refuses where old trees show somewhere, or are written to.
    pub(super) fn refuse_used_trees(&self) -> Result<(), MigrateError> {
        let mounts = self.driver().mounts()?;
        let targets: Vec<PathBuf> = mounts.into_iter().map(|mount| mount.target).collect();
        if !targets.is_empty() {
            return Err(MigrateError::Mounted { targets });
        }
        let layers = self.writable_ids()?;
        if !layers.is_empty() {
            return Err(MigrateError::Writable { layers });
        }
        Ok(())
    }

    /// Refuses where layers are damaged so that this is seen without reading them.
    pub(super) fn refuse_damage(&self) -> Result<(), MigrateError> {
        let damaged = self.map()?.damaged;
        if damaged.is_empty() {
            return Ok(());
        }
        let problems = damaged.iter().map(ToString::to_string).collect();
        Err(MigrateError::Damaged { problems })
    }

    /// The IDs of the layers that can be written, damaged ones included.
    pub(super) fn writable_ids(&self) -> Result<Vec<String>, MigrateError> {
        let Some(driver) = self.driver().writable() else {
            return Ok(Vec::new());
        };
        Ok(driver.list()?.iter().map(CacheId::to_string).collect())
    }
}
