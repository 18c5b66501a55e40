//! The tables of the index and how older ones become newer ones.

use rusqlite::Connection;

/// Marks a file as an index of this program ("lith").
const APPLICATION: i32 = 0x6c69_7468;

/// Each entry makes schema version n+1 of version n.
const MIGRATIONS: &[&str] = &[FIRST, SECOND, THIRD];

/// The schema version that this library reads and writes.
pub(crate) fn current() -> i32 {
    i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX)
}

const FIRST: &str = "
CREATE TABLE migrations (version INTEGER PRIMARY KEY, applied TEXT NOT NULL);
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE layers (
    num      INTEGER PRIMARY KEY AUTOINCREMENT,  -- grows: a child has a higher one than its parent
    id       TEXT NOT NULL UNIQUE,
    parent   TEXT,
    diff_id  TEXT,
    cache    TEXT NOT NULL,
    size     INTEGER NOT NULL,
    synced   INTEGER NOT NULL,
    kept     INTEGER NOT NULL,
    record   TEXT NOT NULL                       -- layer.json
);
CREATE INDEX layers_parent ON layers (parent) WHERE parent IS NOT NULL;
CREATE INDEX layers_diff ON layers (diff_id) WHERE diff_id IS NOT NULL;
CREATE INDEX layers_cache ON layers (cache);
CREATE INDEX layers_size ON layers (size);      -- all sizes without reading the records
CREATE INDEX layers_unsynced ON layers (num) WHERE synced = 0;

CREATE TABLE images (
    num          INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT NOT NULL UNIQUE,
    parent       TEXT,
    manifest     TEXT,                           -- its digest
    created      TEXT,
    created_at   INTEGER,                        -- the same as microseconds, to sort by
    architecture TEXT,
    os           TEXT,
    variant      TEXT
);
CREATE INDEX images_parent ON images (parent) WHERE parent IS NOT NULL;

CREATE TABLE image_layers (
    image    INTEGER NOT NULL,                   -- images.num
    position INTEGER NOT NULL,
    layer    INTEGER NOT NULL,                   -- layers.num
    PRIMARY KEY (image, position)
) WITHOUT ROWID;
CREATE INDEX image_layers_layer ON image_layers (layer);

CREATE TABLE names (
    name       TEXT PRIMARY KEY,                 -- docker.io/library/alpine:latest
    repository TEXT NOT NULL,
    image      TEXT NOT NULL                     -- images.id
) WITHOUT ROWID;
CREATE INDEX names_image ON names (image);
CREATE INDEX names_repository ON names (repository);

CREATE TABLE holders (
    session TEXT NOT NULL,
    layer   TEXT NOT NULL,
    sweep   INTEGER NOT NULL,                    -- 0: held; 1: only to be swept if it dies
    PRIMARY KEY (session, layer, sweep)
) WITHOUT ROWID;
CREATE INDEX holders_layer ON holders (layer);

CREATE TABLE events (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    time    TEXT NOT NULL,
    kind    TEXT NOT NULL,
    image   TEXT,
    subject TEXT
);
";

const SECOND: &str = "
CREATE INDEX events_subject ON events (subject, kind) WHERE subject IS NOT NULL;
";

// By their IDs, not their numbers: a member that is listed anew stays one.
const THIRD: &str = "
CREATE TABLE image_members (
    image    INTEGER NOT NULL,                   -- images.num of the index
    position INTEGER NOT NULL,
    member   TEXT NOT NULL,                      -- images.id
    manifest TEXT NOT NULL,                      -- the digest that the index lists
    platform TEXT,
    PRIMARY KEY (image, position)
) WITHOUT ROWID;
CREATE INDEX image_members_member ON image_members (member);
";

/// What a file that was opened as an index turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    Current,
    Older(i32),
    Newer(i32),
    Foreign,
}

/// Reads which schema a file has.
pub(crate) fn inspect(connection: &Connection) -> rusqlite::Result<Found> {
    let read = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let version = read("user_version")?;
    Ok(match version {
        _ if read("application_id")? != APPLICATION || version < 1 => Found::Foreign,
        _ if version == current() => Found::Current,
        _ if version < current() => Found::Older(version),
        _ => Found::Newer(version),
    })
}

/// Makes the tables in an empty file.
pub(crate) fn create(connection: &mut Connection) -> rusqlite::Result<()> {
    // Remembered in the file.
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "application_id", APPLICATION)?;
    migrate(connection, 0)
}

/// Brings the tables from version `from` to the current one.
pub(crate) fn migrate(connection: &mut Connection, from: i32) -> rusqlite::Result<()> {
    let transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    for (version, migration) in (1..).zip(MIGRATIONS) {
        if version <= from {
            continue;
        }
        transaction.execute_batch(migration)?;
        transaction.execute(
            "INSERT INTO migrations (version, applied) VALUES (?1, ?2)",
            (version, crate::time::now()),
        )?;
        transaction.pragma_update(None, "user_version", version)?;
    }
    transaction.commit()
}
