//! Questions about layers, answered by the index.

use std::collections::BTreeMap;

use crate::digest::{DiffId, LayerId};
use crate::error::StoreError;
use crate::index::{View, column, column_opt};
use crate::layers::{KEEP, LayerRecord, table};
use crate::session::{self, SessionId};
use crate::store::Store;

impl Store {
    /// Finds a layer.
    ///
    /// # Errors
    /// The index's.
    pub fn layer(&self, id: &LayerId) -> Result<Option<LayerRecord>, StoreError> {
        self.index()
            .read("find layer", |view| table::find(view, id))
    }

    /// Tells whether a layer is there.
    ///
    /// # Errors
    /// The index's.
    pub fn has_layer(&self, id: &LayerId) -> Result<bool, StoreError> {
        self.index()
            .read("find layer", |view| table::exists(view, id))
    }

    /// Returns all layers, parents before their children.
    ///
    /// # Errors
    /// The index's.
    pub fn layers(&self) -> Result<Vec<LayerRecord>, StoreError> {
        let sql = "SELECT record, synced FROM layers ORDER BY num";
        self.index().read("list layers", |view| {
            view.all("list layers", sql, [], table::read)
        })
    }

    /// Returns the layers with a diff ID, under whatever chain.
    ///
    /// # Errors
    /// The index's.
    pub fn layers_by_diff(&self, diff: &DiffId) -> Result<Vec<LayerRecord>, StoreError> {
        let sql = "SELECT record, synced FROM layers WHERE diff_id = ?1 ORDER BY num";
        self.index().read("find layers", |view| {
            view.all("find layers", sql, [diff.to_string()], table::read)
        })
    }

    /// Returns the layers whose tree the driver knows by `cache`.
    ///
    /// # Errors
    /// The index's.
    pub fn layers_by_cache(&self, cache: &str) -> Result<Vec<LayerId>, StoreError> {
        let sql = "SELECT id FROM layers WHERE cache = ?1 ORDER BY num";
        self.index().read("find layers", |view| {
            view.all("find layers", sql, [cache], |row| column(row, 0))
        })
    }

    /// Returns the layers directly on top of a layer.
    ///
    /// # Errors
    /// The index's.
    pub fn children(&self, id: &LayerId) -> Result<Vec<LayerId>, StoreError> {
        self.index()
            .read("find children", |view| table::children(view, id))
    }

    /// Returns the layer with all its ancestors, bottom first; empty when it is not there.
    ///
    /// # Errors
    /// [`StoreError::IndexDamaged`] when an ancestor is missing or the chain has a loop.
    pub fn layer_chain(&self, id: &LayerId) -> Result<Vec<LayerRecord>, StoreError> {
        self.index().read("follow parents", |view| chain(view, id))
    }

    /// Returns the layers that nothing needs: no image, no child, no living holder, no keep
    /// mark.
    ///
    /// # Errors
    /// The index's.
    pub fn unclaimed_layers(&self) -> Result<Vec<LayerId>, StoreError> {
        let sql = "SELECT l.id, h.session FROM layers l
                   LEFT JOIN holders h ON h.layer = l.id AND h.sweep = 0
                   WHERE l.kept = 0
                     AND NOT EXISTS (SELECT 1 FROM image_layers i WHERE i.layer = l.num)
                     AND NOT EXISTS (SELECT 1 FROM layers c WHERE c.parent = l.id)
                   ORDER BY l.num";
        let rows: Vec<(LayerId, Option<SessionId>)> = self.index().read("find layers", |view| {
            view.all("find layers", sql, [], |row| {
                Ok((column(row, 0)?, column_opt(row, 1)?))
            })
        })?;
        let mut alive: BTreeMap<SessionId, bool> = BTreeMap::new();
        let mut held: BTreeMap<LayerId, bool> = BTreeMap::new();
        let mut order: Vec<LayerId> = Vec::new();
        for (id, session) in rows {
            if order.last() != Some(&id) {
                order.push(id);
            }
            let Some(session) = session else { continue };
            let lives = match alive.get(&session) {
                Some(lives) => *lives,
                None => session::is_alive(self.root(), &session)?,
            };
            alive.insert(session, lives);
            *held.entry(id).or_default() |= lives;
        }
        order.retain(|id| held.get(id) != Some(&true) && !self.has_keep_mark(id));
        Ok(order)
    }

    /// Whether the folder of a layer has the mark that keeps it; the folder is the truth.
    pub(crate) fn has_keep_mark(&self, id: &LayerId) -> bool {
        self.root().layer(id).join(KEEP).symlink_metadata().is_ok()
    }
}

/// A layer with its ancestors, top first, as far as they are there. Numbers fall from child to
/// parent, so that a loop ends.
const CHAIN: &str = "
    WITH RECURSIVE up (num, parent) AS (
        SELECT num, parent FROM layers WHERE id = ?1
        UNION ALL
        SELECT l.num, l.parent FROM up JOIN layers l ON l.id = up.parent WHERE l.num < up.num)
    SELECT l.record, l.synced FROM up JOIN layers l ON l.num = up.num ORDER BY up.num DESC";

fn chain(view: &View<'_>, id: &LayerId) -> Result<Vec<LayerRecord>, StoreError> {
    let mut chain = view.all("follow parents", CHAIN, [id.hex()], table::read)?;
    chain.reverse();
    if let Some(LayerRecord {
        id,
        parent: Some(parent),
        ..
    }) = chain.first()
    {
        let reason = if table::exists(view, parent)? {
            format!("layer {parent} comes after its own child {id}")
        } else {
            format!("layer {id} has no parent {parent} here")
        };
        return Err(StoreError::IndexDamaged {
            path: view.path.to_owned(),
            reason,
        });
    }
    Ok(chain)
}
