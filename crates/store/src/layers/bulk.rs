//! Questions about all layers at once: one pass each.

use std::collections::{BTreeMap, HashMap};

use crate::digest::{ImageId, LayerId};
use crate::error::StoreError;
use crate::index::{View, column};
use crate::layers::{LayerRecord, table};
use crate::session::{self, SessionId};
use crate::store::Store;

/// A layer and who needs it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LayerUse {
    /// The layer.
    pub layer: LayerRecord,
    /// The images that have it, sorted.
    pub images: Vec<ImageId>,
    /// The living sessions that hold it, sorted.
    pub held_by: Vec<SessionId>,
    /// Whether it was [kept](Store::keep_layer).
    pub kept: bool,
}

impl Store {
    /// Returns the layers that are nobody's parent, oldest first.
    ///
    /// # Errors
    /// The index's.
    pub fn heads(&self) -> Result<Vec<LayerId>, StoreError> {
        self.index().read("list heads", |view| {
            view.all("list heads", HEADS, [], |row| column(row, 0))
        })
    }

    /// Returns the children of every layer that has some, oldest first.
    ///
    /// # Errors
    /// The index's.
    pub fn by_parent(&self) -> Result<BTreeMap<LayerId, Vec<LayerId>>, StoreError> {
        let pairs: Vec<(LayerId, LayerId)> = self.index().read("list children", |view| {
            view.all("list children", PARENTS, [], |row| {
                Ok((column(row, 0)?, column(row, 1)?))
            })
        })?;
        let mut children: BTreeMap<LayerId, Vec<LayerId>> = BTreeMap::new();
        for (parent, child) in pairs {
            children.entry(parent).or_default().push(child);
        }
        Ok(children)
    }

    /// Counts the children of a layer.
    ///
    /// # Errors
    /// The index's.
    pub fn parent_refs(&self, id: &LayerId) -> Result<u64, StoreError> {
        let sql = "SELECT count(*) FROM layers WHERE parent = ?1";
        let count = self.index().read("count children", |view| {
            view.first("count children", sql, [id.hex()], |row| {
                crate::index::size(row, 0)
            })
        })?;
        Ok(count.unwrap_or(0))
    }

    /// Returns all layers with who needs them, parents before their children.
    ///
    /// # Errors
    /// The index's, and the file system's about the locks of sessions.
    pub fn layer_uses(&self) -> Result<Vec<LayerUse>, StoreError> {
        let rows = self.index().read("list layers", rows)?;
        let mut alive: BTreeMap<SessionId, bool> = BTreeMap::new();
        let mut uses = Vec::with_capacity(rows.len());
        for Row {
            layer,
            kept,
            images,
            holders,
        } in rows
        {
            let mut held_by = Vec::new();
            for id in holders {
                let lives = match alive.get(&id) {
                    Some(lives) => *lives,
                    None => session::is_alive(self.root(), &id)?,
                };
                alive.insert(id.clone(), lives);
                if lives {
                    held_by.push(id);
                }
            }
            uses.push(LayerUse {
                // The mark in the folder comes before the row, and goes after it.
                kept: kept || self.has_keep_mark(&layer.id),
                layer,
                images,
                held_by,
            });
        }
        Ok(uses)
    }
}

const HEADS: &str = "SELECT id FROM layers l
    WHERE NOT EXISTS (SELECT 1 FROM layers c WHERE c.parent = l.id) ORDER BY num";
const PARENTS: &str = "SELECT parent, id FROM layers WHERE parent IS NOT NULL ORDER BY parent, num";

/// What the index says of a layer.
struct Row {
    layer: LayerRecord,
    kept: bool,
    images: Vec<ImageId>,
    holders: Vec<SessionId>,
}

fn rows(view: &View<'_>) -> Result<Vec<Row>, StoreError> {
    let action = "list layers";
    let sql = "SELECT DISTINCT p.layer, i.id FROM image_layers p JOIN images i ON i.num = p.image
               ORDER BY p.layer, i.id";
    let mut images: HashMap<i64, Vec<ImageId>> = HashMap::new();
    for (layer, image) in view.all(action, sql, [], |row| Ok((row.get(0)?, column(row, 1)?)))? {
        images.entry(layer).or_default().push(image);
    }
    let sql = "SELECT layer, session FROM holders WHERE sweep = 0 ORDER BY session";
    let mut holders: HashMap<LayerId, Vec<SessionId>> = HashMap::new();
    for (layer, session) in view.all(action, sql, [], |row| {
        Ok((column(row, 0)?, column(row, 1)?))
    })? {
        holders.entry(layer).or_default().push(session);
    }
    let sql = "SELECT record, synced, num, kept FROM layers ORDER BY num";
    view.all(action, sql, [], |row| {
        let layer = table::read(row)?;
        Ok(Row {
            kept: row.get(3)?,
            images: images.remove(&row.get(2)?).unwrap_or_default(),
            holders: holders.remove(&layer.id).unwrap_or_default(),
            layer,
        })
    })
}
