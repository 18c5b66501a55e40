//! Events: what was done, the newest 100,000.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::ImageId;
use crate::error::StoreError;
use crate::index::{column, column_opt};
use crate::store::Store;

/// How many events are kept.
pub const EVENTS_KEPT: u64 = 100_000;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum EventKind {
    /// An image was loaded.
    Load,
    /// An image was saved.
    Save,
    /// A name was set.
    Tag,
    /// A name was removed.
    Untag,
    /// An image was deleted.
    Delete,
    /// An image was mounted.
    Mount,
    /// An image was unmounted.
    Unmount,
    /// An image was made of a writable layer.
    Commit,
    /// An image was pulled from a registry.
    Pull,
    /// An image was pushed to a registry.
    Push,
}

const KINDS: &[(EventKind, &str)] = &[
    (EventKind::Load, "load"),
    (EventKind::Save, "save"),
    (EventKind::Tag, "tag"),
    (EventKind::Untag, "untag"),
    (EventKind::Delete, "delete"),
    (EventKind::Mount, "mount"),
    (EventKind::Unmount, "unmount"),
    (EventKind::Commit, "commit"),
    (EventKind::Pull, "pull"),
    (EventKind::Push, "push"),
];

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = KINDS
            .iter()
            .find(|(kind, _)| kind == self)
            .map_or("", |(_, word)| word);
        f.write_str(word)
    }
}

/// A text that is no kind of event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a kind of event")]
pub struct ParseEventKindError {
    /// What was given.
    pub text: String,
}

impl FromStr for EventKind {
    type Err = ParseEventKindError;

    fn from_str(text: &str) -> Result<EventKind, ParseEventKindError> {
        KINDS
            .iter()
            .find(|(_, word)| *word == text)
            .map(|(kind, _)| *kind)
            .ok_or_else(|| ParseEventKindError {
                text: crate::digest::shorten(text),
            })
    }
}

/// One thing that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Event {
    /// Its number: grows, never used again.
    pub seq: u64,
    /// When, RFC 3339.
    pub time: String,
    /// What was done.
    pub kind: EventKind,
    /// To which image.
    pub image: Option<ImageId>,
    /// The name or path that was concerned.
    pub subject: Option<String>,
}

impl Store {
    /// Takes note that something was done; gives the event's number.
    ///
    /// # Errors
    /// The index's.
    pub fn record_event(
        &self,
        kind: EventKind,
        image: Option<&ImageId>,
        subject: Option<&str>,
    ) -> Result<u64, StoreError> {
        let seqs = self.record_events(&[(kind, image, subject)])?;
        Ok(seqs.end.saturating_sub(1))
    }

    /// Takes note of several things that were done, in one step; gives their numbers.
    ///
    /// # Errors
    /// The index's; then none is noted.
    pub fn record_events(
        &self,
        events: &[(EventKind, Option<&ImageId>, Option<&str>)],
    ) -> Result<Range<u64>, StoreError> {
        self.index().write("record events", |view| {
            let sql = "INSERT INTO events (time, kind, image, subject) VALUES (?1, ?2, ?3, ?4)";
            let now = crate::time::now();
            let mut last = 0;
            for (kind, image, subject) in events {
                let image = image.map(ImageId::to_string);
                view.execute(
                    "record event",
                    sql,
                    (&now, kind.to_string(), image, subject),
                )?;
                last = view.transaction.last_insert_rowid();
            }
            let oldest = last.saturating_sub(crate::index::to_sql(EVENTS_KEPT));
            view.execute(
                "drop old events",
                "DELETE FROM events WHERE seq <= ?1",
                [oldest],
            )?;
            let end = u64::try_from(last).unwrap_or(0) + 1;
            Ok(end.saturating_sub(events.len() as u64)..end)
        })
    }

    /// Returns the newest event of a kind that concerned `subject`.
    ///
    /// # Errors
    /// The index's.
    pub fn last_event(&self, kind: EventKind, subject: &str) -> Result<Option<Event>, StoreError> {
        let sql = "SELECT seq, time, kind, image, subject FROM events \
                   WHERE kind = ?1 AND subject = ?2 ORDER BY seq DESC LIMIT 1";
        self.index().read("find event", |view| {
            let found = view.all("find event", sql, (kind.to_string(), subject), read)?;
            Ok(found.into_iter().next())
        })
    }

    /// Returns up to `limit` events after the number `after`, oldest first.
    ///
    /// # Errors
    /// The index's.
    pub fn events(&self, after: u64, limit: usize) -> Result<Vec<Event>, StoreError> {
        let sql = "SELECT seq, time, kind, image, subject FROM events WHERE seq > ?1
                   ORDER BY seq LIMIT ?2";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.index().read("list events", |view| {
            view.all(
                "list events",
                sql,
                (crate::index::to_sql(after), limit),
                read,
            )
        })
    }
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Event> {
    Ok(Event {
        seq: crate::index::size(row, 0)?,
        time: row.get(1)?,
        kind: column(row, 2)?,
        image: column_opt(row, 3)?,
        subject: row.get(4)?,
    })
}
