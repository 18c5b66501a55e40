//! Holding layers: what a living session holds is not removed by anyone else.

use crate::digest::LayerId;
use crate::error::StoreError;
use crate::index::column;
use crate::layers::{KEEP, LayerRecord, table};
use crate::session::{self, Session, SessionId};
use crate::store::Store;

/// How many layers are held in one transaction, where not all must be.
const HELD_AT_ONCE: usize = 1000;

/// Why layers could not be held.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RetainError {
    /// Some are not there; none of the others is held either.
    #[error("no such layer: {}", list(missing))]
    Missing {
        /// Those that are not there.
        missing: Vec<LayerId>,
    },
    /// Anything else.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Joins IDs for an error message.
pub(crate) fn list<T: std::fmt::Display>(items: &[T]) -> String {
    const SHOWN: usize = 8;
    let mut text: Vec<String> = items.iter().take(SHOWN).map(T::to_string).collect();
    if items.len() > SHOWN {
        text.push(format!("and {} more", items.len() - SHOWN));
    }
    text.join(", ")
}

impl Store {
    /// Holds layers for a session: from now on nobody else removes them, until the session
    /// releases them, ends or dies. All or none.
    ///
    /// # Errors
    /// [`RetainError::Missing`] names those that are not there.
    pub fn retain(&self, session: &Session, ids: &[LayerId]) -> Result<(), RetainError> {
        self.index().write("hold layers", |view| {
            let mut missing = Vec::new();
            for id in ids {
                if table::exists(view, id)? {
                    table::hold(view, session.id(), id)?;
                } else {
                    missing.push(*id);
                }
            }
            if missing.is_empty() {
                Ok(())
            } else {
                Err(RetainError::Missing { missing })
            }
        })
    }

    /// Holds those of the layers that are there, and returns them; the others are left out.
    ///
    /// # Errors
    /// The index's; what was held by then stays held.
    pub fn retain_present(
        &self,
        session: &Session,
        ids: &[LayerId],
    ) -> Result<Vec<LayerRecord>, StoreError> {
        let mut there = Vec::new();
        // Other writers get their turn in between.
        for part in ids.chunks(HELD_AT_ONCE) {
            let found = self.index().write::<_, StoreError>("hold layers", |view| {
                let mut found = Vec::new();
                for id in part {
                    if let Some(record) = table::find(view, id)? {
                        table::hold(view, session.id(), id)?;
                        found.push(record);
                    }
                }
                Ok(found)
            })?;
            there.extend(found);
        }
        Ok(there)
    }

    /// Ends a session's hold on layers; those it does not hold are ignored.
    ///
    /// # Errors
    /// The index's.
    pub fn release(&self, session: &Session, ids: &[LayerId]) -> Result<(), StoreError> {
        self.index().write("release layers", |view| {
            for id in ids {
                let sql = "DELETE FROM holders WHERE session = ?1 AND layer = ?2 AND sweep = 0";
                view.execute("release layer", sql, (session.id().as_str(), id.hex()))?;
            }
            Ok(())
        })
    }

    /// Returns the living sessions that hold a layer.
    ///
    /// # Errors
    /// The index's and the file system's.
    pub fn holders(&self, id: &LayerId) -> Result<Vec<SessionId>, StoreError> {
        let all = self
            .index()
            .read("find holders", |view| table::holders(view, id))?;
        living(self, all)
    }

    /// Keeps a layer though no image has it: its caller claims it.
    ///
    /// # Errors
    /// [`RetainError::Missing`] when it is not there.
    pub fn keep_layer(&self, id: &LayerId) -> Result<(), RetainError> {
        let _lock = self.lock_layer(id)?;
        if !self.has_layer(id)? {
            return Err(RetainError::Missing { missing: vec![*id] });
        }
        let mark = self.root().layer(id).join(KEEP);
        if !self.has_keep_mark(id) {
            self.effects().write_synced(&mark, b"")?;
            self.effects().sync_dir(&self.root().layer(id))?;
        }
        Ok(set_kept(self, id, true)?)
    }

    /// Takes back [`Store::keep_layer`].
    ///
    /// # Errors
    /// The index's and the file system's.
    pub fn unkeep_layer(&self, id: &LayerId) -> Result<(), StoreError> {
        let _lock = self.lock_layer(id)?;
        set_kept(self, id, false)?;
        self.effects()
            .remove_file(&self.root().layer(id).join(KEEP))
            .map(drop)
    }
}

fn set_kept(store: &Store, id: &LayerId, kept: bool) -> Result<(), StoreError> {
    store.index().write("keep layer", |view| {
        let sql = "UPDATE layers SET kept = ?2 WHERE id = ?1";
        view.execute("keep layer", sql, (id.hex(), kept)).map(drop)
    })
}

/// Those of the sessions that live.
pub(crate) fn living(store: &Store, all: Vec<SessionId>) -> Result<Vec<SessionId>, StoreError> {
    let mut alive = Vec::new();
    for id in all {
        if session::is_alive(store.root(), &id)? {
            alive.push(id);
        }
    }
    Ok(alive)
}

/// Ends all holds of a session.
pub(crate) fn release_all(store: &Store, id: &SessionId) -> Result<(), StoreError> {
    let any = store.index().read::<_, StoreError>("find holds", |view| {
        view.any(
            "find holds",
            "SELECT 1 FROM holders WHERE session = ?1",
            [id.as_str()],
        )
    })?;
    // A session that held nothing does not wait for writers.
    if !any {
        return Ok(());
    }
    store.index().write("release layers", |view| {
        let sql = "DELETE FROM holders WHERE session = ?1";
        view.execute("release layers", sql, [id.as_str()]).map(drop)
    })
}

/// Leaves word that a layer is to be swept with a session unless something claims it.
pub(crate) fn sweep_later(
    store: &Store,
    session: &SessionId,
    id: &LayerId,
) -> Result<(), StoreError> {
    store.index().write("plan sweep", |view| {
        super::table::sweep_later(view, session, id)
    })
}

/// Layers that a session holds or was to sweep, children before their parents.
pub(crate) fn of_session(store: &Store, id: &SessionId) -> Result<Vec<LayerId>, StoreError> {
    let sql = "SELECT DISTINCT l.id, l.num FROM holders h JOIN layers l ON l.id = h.layer
               WHERE h.session = ?1 ORDER BY l.num DESC";
    store.index().read("find holds", |view| {
        view.all("find holds", sql, [id.as_str()], |row| column(row, 0))
    })
}

/// All sessions that hold anything, alive or not.
pub(crate) fn all_sessions(store: &Store) -> Result<Vec<SessionId>, StoreError> {
    // From one session to the next, however many layers each of them holds.
    let sql = "WITH RECURSIVE s (id) AS (
                   SELECT min(session) FROM holders
                   UNION ALL
                   SELECT (SELECT min(session) FROM holders WHERE session > s.id) FROM s
                   WHERE s.id IS NOT NULL)
               SELECT id FROM s WHERE id IS NOT NULL";
    store.index().read("find holders", |view| {
        view.all("find holders", sql, [], |row| column(row, 0))
    })
}
