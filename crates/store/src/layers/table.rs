//! Rows of layers.

use rusqlite::Row;

use crate::digest::LayerId;
use crate::error::StoreError;
use crate::index::{View, column, to_sql};
use crate::layers::LayerRecord;
use crate::session::SessionId;

/// Reads a row of the columns `record, synced`.
pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<LayerRecord> {
    let text = row.get_ref(0)?.as_str()?;
    let mut record: LayerRecord = serde_json::from_str(text).map_err(|error| {
        let error: Box<dyn std::error::Error + Send + Sync> = Box::new(error);
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, error)
    })?;
    record.synced = row.get(1)?;
    Ok(record)
}

pub(crate) fn find(view: &View<'_>, id: &LayerId) -> Result<Option<LayerRecord>, StoreError> {
    let sql = "SELECT record, synced FROM layers WHERE id = ?1";
    view.first("find layer", sql, [id.hex()], read)
}

pub(crate) fn exists(view: &View<'_>, id: &LayerId) -> Result<bool, StoreError> {
    view.any(
        "find layer",
        "SELECT 1 FROM layers WHERE id = ?1",
        [id.hex()],
    )
}

/// Returns the driver's ID of a layer's tree.
pub(crate) fn cache(view: &View<'_>, id: &LayerId) -> Result<Option<String>, StoreError> {
    let sql = "SELECT cache FROM layers WHERE id = ?1";
    view.first("find layer", sql, [id.hex()], |row| row.get(0))
}

/// Returns the row number of a layer; a child's is higher than its parent's.
pub(crate) fn number(view: &View<'_>, id: &LayerId) -> Result<Option<i64>, StoreError> {
    view.first(
        "find layer",
        "SELECT num FROM layers WHERE id = ?1",
        [id.hex()],
        |row| row.get(0),
    )
}

pub(crate) fn insert(view: &View<'_>, record: &LayerRecord, kept: bool) -> Result<(), StoreError> {
    let text = to_text(view, record)?;
    view.execute(
        "add layer",
        "INSERT INTO layers (id, parent, diff_id, cache, size, synced, kept, record)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        (
            record.id.hex(),
            record.parent.map(|parent| parent.hex()),
            record.diff_id.map(|diff| diff.to_string()),
            &record.cache,
            size_to_sql(record.size),
            record.synced,
            kept,
            text,
        ),
    )?;
    Ok(())
}

/// What the column `size` holds of a size that nobody has counted.
const UNCOUNTED: i64 = -1;

fn size_to_sql(size: Option<u64>) -> i64 {
    size.map_or(UNCOUNTED, to_sql)
}

/// Reads a column that holds the size of a layer.
pub(crate) fn size(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<u64>> {
    match row.get(at)? {
        UNCOUNTED => Ok(None),
        _ => crate::index::size(row, at).map(Some),
    }
}

/// Brings the row of a layer in line with its record; leaves alone what only the index knows.
pub(crate) fn update(view: &View<'_>, record: &LayerRecord) -> Result<(), StoreError> {
    let text = to_text(view, record)?;
    let sql = "UPDATE layers SET size = ?2, record = ?3 WHERE id = ?1";
    let row = (record.id.hex(), size_to_sql(record.size), text);
    view.execute("describe layer", sql, row).map(drop)
}

fn to_text(view: &View<'_>, record: &LayerRecord) -> Result<String, StoreError> {
    serde_json::to_string(record).map_err(|error| StoreError::Damaged {
        path: view.path.to_owned(),
        reason: error.to_string(),
    })
}

/// Removes a layer's row and those of its holders.
pub(crate) fn delete(view: &View<'_>, id: &LayerId) -> Result<(), StoreError> {
    view.execute(
        "remove layer",
        "DELETE FROM layers WHERE id = ?1",
        [id.hex()],
    )?;
    view.execute(
        "release layer",
        "DELETE FROM holders WHERE layer = ?1",
        [id.hex()],
    )?;
    Ok(())
}

pub(crate) fn children(view: &View<'_>, id: &LayerId) -> Result<Vec<LayerId>, StoreError> {
    let sql = "SELECT id FROM layers WHERE parent = ?1 ORDER BY num";
    view.all("find children", sql, [id.hex()], |row| column(row, 0))
}

pub(crate) fn hold(view: &View<'_>, session: &SessionId, id: &LayerId) -> Result<(), StoreError> {
    let sql = "INSERT OR IGNORE INTO holders (session, layer, sweep) VALUES (?1, ?2, 0)";
    view.execute("hold layer", sql, (session.as_str(), id.hex()))
        .map(drop)
}

/// Leaves word that a layer is to be swept when the session dies and nothing claims it.
pub(crate) fn sweep_later(
    view: &View<'_>,
    session: &SessionId,
    id: &LayerId,
) -> Result<(), StoreError> {
    let sql = "INSERT OR IGNORE INTO holders (session, layer, sweep) VALUES (?1, ?2, 1)";
    view.execute("plan sweep", sql, (session.as_str(), id.hex()))
        .map(drop)
}

/// Sessions, alive or not, that hold a layer.
pub(crate) fn holders(view: &View<'_>, id: &LayerId) -> Result<Vec<SessionId>, StoreError> {
    let sql = "SELECT session FROM holders WHERE layer = ?1 AND sweep = 0 ORDER BY session";
    view.all("find holders", sql, [id.hex()], |row| column(row, 0))
}
