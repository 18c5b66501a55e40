//! The index: SQLite, rebuilt from the folders at any time.
//!
//! `synchronous` is NORMAL: a power failure may lose the newest rows, never more, and the
//! first open after it compares the index with the folders.
//!
//! Writers queue on a byte lock, where they wait without polling and in the order in which they
//! came. SQLite's busy handler is the net below it.

pub(crate) mod schema;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Params, Row, Transaction, TransactionBehavior};

use crate::effects::{Effect, Effects};
use crate::error::{IoContext, StoreError};
use crate::lock::{self, Turn};
use crate::root::Root;

/// How long SQLite's own locks are waited for. Writers have queued before, so that they are
/// met in passing only: whoever waits this long waits for somebody who is stopped.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);
/// Pages that the log has before a writer copies them into the file.
const LOG_PAGES: u32 = 200;

/// The open index: as many connections as there are threads that use it at once.
#[derive(Debug)]
pub(crate) struct Index {
    path: PathBuf,
    /// The lock file that writers queue on.
    queue: PathBuf,
    effects: Arc<Effects>,
    idle: Mutex<Vec<Opened>>,
}

/// A connection, and its own description of the lock file once it has written.
#[derive(Debug)]
struct Opened {
    connection: Connection,
    queue: Option<File>,
}

impl Index {
    /// Opens the index of a root; never makes one.
    pub(crate) fn open(root: &Root, effects: Arc<Effects>) -> Result<Index, StoreError> {
        let index = Index {
            path: root.index(),
            queue: root.locks().join("index"),
            effects,
            idle: Mutex::new(Vec::new()),
        };
        let opened = index.connect()?;
        index.put_back(opened);
        Ok(index)
    }

    /// Runs `work` on one consistent state of the index.
    pub(crate) fn read<T, E: From<StoreError>>(
        &self,
        action: &'static str,
        work: impl FnOnce(&View<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.run(action, TransactionBehavior::Deferred, work)
    }

    /// Runs `work` as the only writer; what it changed is kept only when it succeeds.
    pub(crate) fn write<T, E: From<StoreError>>(
        &self,
        action: &'static str,
        work: impl FnOnce(&View<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.run(action, TransactionBehavior::Immediate, work)
    }

    fn run<T, E: From<StoreError>>(
        &self,
        action: &'static str,
        behavior: TransactionBehavior,
        work: impl FnOnce(&View<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut opened = self.take()?;
        let answer = self.within(&mut opened, action, behavior, work);
        // Dropping one closes it, and closing the last one writes the whole log back while
        // everybody else waits: not for a question that was answered with an error.
        if opened.connection.is_autocommit() {
            self.put_back(opened);
        }
        answer
    }

    fn within<T, E: From<StoreError>>(
        &self,
        opened: &mut Opened,
        action: &'static str,
        behavior: TransactionBehavior,
        work: impl FnOnce(&View<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let writes = matches!(behavior, TransactionBehavior::Immediate);
        let wrong = |source| StoreError::index(action, &self.path, source);
        let Opened { connection, queue } = opened;
        // Let go after the transaction, which is dropped first.
        let turn = match queue {
            _ if !writes => None,
            Some(queue) => Some(Turn::wait(queue, &self.queue)?),
            None => Some(Turn::wait(
                queue.insert(lock::open(&self.queue)?),
                &self.queue,
            )?),
        };
        let view = View {
            transaction: connection
                .transaction_with_behavior(behavior)
                .map_err(wrong)?,
            path: &self.path,
        };
        let answer = work(&view)?;
        if writes {
            self.effects
                .announce(&Effect::Commit(action))
                .at(action, &self.path)?;
        }
        view.commit().map_err(wrong)?;
        drop(turn);
        Ok(answer)
    }

    /// Tells which schema the file has.
    pub(crate) fn found(&self) -> Result<schema::Found, StoreError> {
        let opened = self.take()?;
        let found = schema::inspect(&opened.connection)
            .map_err(|source| StoreError::index("inspect", &self.path, source))?;
        self.put_back(opened);
        Ok(found)
    }

    /// Brings an older file to the current schema; nobody else may have it open.
    pub(crate) fn migrate(&self) -> Result<(), StoreError> {
        let mut connection = self.take()?.connection;
        let mut run = || match schema::inspect(&connection)? {
            schema::Found::Older(version) => schema::migrate(&mut connection, version),
            _ => Ok(()),
        };
        run().map_err(|source| StoreError::index("migrate", &self.path, source))
    }

    fn take(&self) -> Result<Opened, StoreError> {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        idle.map_or_else(|| self.connect(), Ok)
    }

    fn put_back(&self, opened: Opened) {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(opened);
    }

    fn connect(&self) -> Result<Opened, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let open = || {
            let mut connection = Connection::open_with_flags(&self.path, flags)?;
            tune(&mut connection)?;
            leave_log(&mut connection)?;
            Ok::<Opened, rusqlite::Error>(Opened {
                connection,
                queue: None,
            })
        };
        open().map_err(|source| StoreError::index("open", &self.path, source))
    }
}

/// Settings that belong to a connection, not to the file.
pub(crate) fn tune(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.busy_handler(Some(pause))?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// Leaves the log where it is when the connection closes.
///
/// SQLite would copy it into the file whenever the last connection closes, at the end of nearly
/// every command, that is: with three syncs, and with a lock that makes readers wait for as
/// long as the process is stopped there. A short log costs less to read at the next open.
fn leave_log(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)
}

/// What a log begins with; the last bit says how its checksums are read.
const LOG_MARK: u32 = 0x377f_0682;

/// Whether the log that belongs to the index at `path` is there: nobody who closes an index
/// removes it, and SQLite takes one that is gone or no log for one that is empty.
pub(crate) fn has_log(path: &Path) -> Result<bool, StoreError> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let log = Path::new(&log);
    let mut mark = Vec::new();
    match File::open(log) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other.and_then(|file| file.take(4).read_to_end(&mut mark)),
    }
    .at("read", log)?;
    Ok(mark.is_empty()
        || <[u8; 4]>::try_from(mark).is_ok_and(|mark| u32::from_be_bytes(mark) & !1 == LOG_MARK))
}

/// Sleeps before the next attempt for the index; false ends the waiting.
fn pause(attempt: i32) -> bool {
    let attempt = u32::try_from(attempt).unwrap_or(0);
    let pause = Duration::from_micros(200)
        .saturating_mul(1 << attempt.min(10))
        .min(LONGEST_PAUSE);
    if LONGEST_PAUSE.saturating_mul(attempt) > PATIENCE {
        return false;
    }
    std::thread::sleep(pause);
    true
}

/// One transaction of the index.
pub(crate) struct View<'a> {
    pub(crate) transaction: Transaction<'a>,
    pub(crate) path: &'a Path,
}

impl View<'_> {
    /// Keeps what was changed.
    pub(crate) fn commit(self) -> rusqlite::Result<()> {
        self.transaction.commit()
    }

    fn wrong(&self, action: &'static str) -> impl Fn(rusqlite::Error) -> StoreError {
        move |source| StoreError::index(action, self.path, source)
    }

    /// Changes rows; gives their number.
    pub(crate) fn execute(
        &self,
        action: &'static str,
        sql: &str,
        params: impl Params,
    ) -> Result<usize, StoreError> {
        let run = || self.transaction.prepare_cached(sql)?.execute(params);
        run().map_err(self.wrong(action))
    }

    /// Reads the first row, when there is one.
    pub(crate) fn first<T>(
        &self,
        action: &'static str,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        use rusqlite::OptionalExtension as _;
        let run = || {
            self.transaction
                .prepare_cached(sql)?
                .query_row(params, read)
                .optional()
        };
        run().map_err(self.wrong(action))
    }

    /// Reads all rows.
    pub(crate) fn all<T>(
        &self,
        action: &'static str,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let run = || {
            self.transaction
                .prepare_cached(sql)?
                .query_map(params, read)?
                .collect::<Result<Vec<T>, _>>()
        };
        run().map_err(self.wrong(action))
    }

    /// Tells whether a query finds a row.
    pub(crate) fn any(
        &self,
        action: &'static str,
        sql: &str,
        params: impl Params,
    ) -> Result<bool, StoreError> {
        Ok(self.first(action, sql, params, |_| Ok(()))?.is_some())
    }
}

/// Reads a column that holds the text of an ID.
pub(crate) fn column<T>(row: &Row<'_>, at: usize) -> rusqlite::Result<T>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    let text = row.get_ref(at)?.as_str()?;
    parse(text, at)
}

/// As [`column`], for one that may be null.
pub(crate) fn column_opt<T>(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<T>>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    match row.get_ref(at)?.as_str_or_null()? {
        None => Ok(None),
        Some(text) => parse(text, at).map(Some),
    }
}

fn parse<T>(text: &str, at: usize) -> rusqlite::Result<T>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    text.parse().map_err(|error| {
        let error: Box<dyn std::error::Error + Send + Sync> = Box::new(error);
        rusqlite::Error::FromSqlConversionFailure(at, rusqlite::types::Type::Text, error)
    })
}

/// What SQLite stores of a size; it has no unsigned numbers.
pub(crate) fn to_sql(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// Reads a size.
pub(crate) fn size(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(at)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(at, value))
}

/// The texts that start with `prefix` (lower-case hex digits) are those from the first to
/// before the second.
pub(crate) fn prefix_range(prefix: &str) -> (String, String) {
    // 'g' sorts right behind the last hex digit.
    (prefix.to_owned(), format!("{prefix}g"))
}
