//! Which trees are known to be on disk.
//!
//! A layer is published without waiting for its tree. Those that nobody has waited for are what was
//! published lately; the index finds them without looking at the others.

use crate::boot::boot_id;
use crate::digest::LayerId;
use crate::error::StoreError;
use crate::index::column;
use crate::store::Store;

impl Store {
    /// Tells whether there are layers whose tree is not known to be on disk.
    ///
    /// # Errors
    /// The index's.
    pub fn has_unsynced_layers(&self) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM layers WHERE synced = 0 LIMIT 1";
        self.index()
            .read("find layers", |view| view.any("find layers", sql, []))
    }

    /// Returns the layers that were published since the machine booted and whose tree is not known
    /// to be on disk, with the driver's IDs of their trees.
    ///
    /// # Errors
    /// The index's.
    pub fn unsynced_layers(&self) -> Result<Vec<(LayerId, String)>, StoreError> {
        let sql = "SELECT id, cache FROM layers
                   WHERE synced = 0 AND json_extract(record, '$.boot') = ?1 ORDER BY num";
        self.index().read("list layers", |view| {
            view.all("list layers", sql, [boot_id()], |row| {
                Ok((column(row, 0)?, row.get(1)?))
            })
        })
    }

    /// Tells whether there are layers in doubt: see [`LayerRecord::is_doubtful`](crate::LayerRecord::is_doubtful).
    ///
    /// # Errors
    /// The index's.
    pub fn has_doubtful_layers(&self) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM layers WHERE synced = 0
                   AND (?1 IS NULL OR json_extract(record, '$.boot') IS NOT ?1) LIMIT 1";
        self.index().read("find layers", |view| {
            view.any("find layers", sql, [boot_id()])
        })
    }

    /// Takes note that these trees are on disk, each given by its layer and the driver's ID: a layer
    /// that has another tree by now is left as it is. One transaction.
    ///
    /// # Errors
    /// The index's.
    pub fn mark_synced(&self, trees: &[(LayerId, String)]) -> Result<(), StoreError> {
        self.index().write("mark layers as synced", |view| {
            let sql = "UPDATE layers SET synced = 1 WHERE id = ?1 AND cache = ?2";
            for (id, cache) in trees {
                view.execute("mark layer as synced", sql, (id.hex(), cache))?;
            }
            Ok(())
        })
    }

    /// Takes note that nobody knows whether the trees of these layers are on disk.
    ///
    /// # Errors
    /// The index's.
    pub fn mark_unsynced(&self, ids: &[LayerId]) -> Result<(), StoreError> {
        self.index().write("mark layers as unsynced", |view| {
            let sql = "UPDATE layers SET synced = 0 WHERE id = ?1";
            for id in ids {
                view.execute("mark layer as unsynced", sql, [id.hex()])?;
            }
            Ok(())
        })
    }
}
