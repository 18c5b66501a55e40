//! Sessions: a unit of work that holds a lock file while it lives.
//!
//! Whose lock is free is dead; what it left in staging is recovered by whoever notices
//! first ([`Store::dead_sessions`](crate::Store::dead_sessions)).

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::error::{IoContext, StoreError};
use crate::intent::{Intent, IntentGuard};
use crate::lock::{self, Mode};
use crate::recover::DeadSession;
use crate::root::Root;
use crate::store::Store;

/// The name of a session: 16 lower-case hex digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SessionId(String);

/// A text that is no session ID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a session ID: expected 16 lower-case hex digits")]
pub struct ParseSessionIdError {
    /// What was given.
    pub text: String,
}

impl SessionId {
    pub(crate) fn random() -> SessionId {
        SessionId(hex::encode(crate::random::bytes::<8>()))
    }

    /// Returns the 16 hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SessionId {
    type Err = ParseSessionIdError;

    fn from_str(text: &str) -> Result<SessionId, ParseSessionIdError> {
        let valid = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() == 16 && text.bytes().all(valid) {
            return Ok(SessionId(text.to_owned()));
        }
        Err(ParseSessionIdError {
            text: crate::digest::shorten(text),
        })
    }
}

impl TryFrom<String> for SessionId {
    type Error = ParseSessionIdError;

    fn try_from(text: String) -> Result<SessionId, ParseSessionIdError> {
        text.parse()
    }
}

impl From<SessionId> for String {
    fn from(id: SessionId) -> String {
        id.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({})", self.0)
    }
}

/// A unit of work: a held lock file and a folder in staging.
///
/// What it holds is released when it ends or its process dies. Dropping ends it as well as
/// it can be done without telling of errors.
#[derive(Debug)]
pub struct Session {
    store: Store,
    id: SessionId,
    dir: PathBuf,
    sequence: AtomicU64,
    /// Held for as long as the session lives; taken when it ends.
    lock: Option<File>,
}

impl Session {
    pub(crate) fn begin(store: &Store) -> Result<Session, StoreError> {
        let (id, lock) = loop {
            let id = SessionId::random();
            if let Some(lock) = take_new_lock(store, &id)? {
                break (id, lock);
            }
        };
        let dir = store.root().session(&id);
        let session = Session {
            store: store.clone(),
            id,
            dir,
            sequence: AtomicU64::new(0),
            lock: Some(lock),
        };
        store.effects().make_dir(&session.dir)?;
        Ok(session)
    }

    /// Takes the place of a dead session whose lock is held.
    pub(crate) fn revive(store: Store, id: SessionId, lock: File) -> Session {
        let dir = store.root().session(&id);
        // Names made from now on must not meet those that the dead one left.
        let used = fs::read_dir(&dir)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name();
                let name = name.to_str()?.trim_end_matches(".json");
                name.rsplit('-').next()?.parse::<u64>().ok()
            });
        let sequence = AtomicU64::new(used.max().unwrap_or(0).saturating_add(1));
        Session {
            store,
            id,
            dir,
            sequence,
            lock: Some(lock),
        }
    }

    /// Ends it and removes every trace, intents and all.
    pub(crate) fn clear(mut self) -> Result<(), StoreError> {
        match self.lock.take() {
            Some(lock) => clear(&self.store, &self.id, &lock),
            None => Ok(()),
        }
    }

    /// Lets go of the lock and touches nothing else: the session is dead.
    pub(crate) fn forsake(mut self) {
        drop(self.lock.take());
    }

    /// Returns the session's name.
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// Returns the session's folder in staging: gone when the session ends.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the store that the session works in.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Makes a fresh empty folder in the session's folder.
    ///
    /// # Errors
    /// The file system's.
    pub fn scratch(&self, prefix: &str) -> Result<PathBuf, StoreError> {
        let path = self.fresh_path(prefix);
        self.store.effects().make_dir(&path)?;
        Ok(path)
    }

    /// Names a file or folder in the session's folder that is not there yet.
    pub(crate) fn fresh_path(&self, prefix: &str) -> PathBuf {
        self.dir.join(format!("{prefix}-{}", self.next()))
    }

    fn next(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::Relaxed)
    }

    /// Leaves word, on disk before this returns, of what is about to be done, so that
    /// whoever finds the session dead can finish or undo it.
    ///
    /// # Errors
    /// The file system's.
    pub fn intend(&self, intent: &Intent) -> Result<IntentGuard, StoreError> {
        crate::intent::leave(self.store.effects(), &self.dir, self.next(), intent, true)
    }

    /// As [`Session::intend`] but not forced to disk: for steps between folders and index,
    /// which are compared after a power failure anyway.
    pub(crate) fn note(&self, intent: &Intent) -> Result<IntentGuard, StoreError> {
        crate::intent::leave(self.store.effects(), &self.dir, self.next(), intent, false)
    }

    /// Ends the session: releases what it holds and removes its staging.
    ///
    /// When an intent is left, something went wrong half-way: then staging and holds stay
    /// as those of a dead session, and the next [`Store::dead_sessions`] finds them.
    /// [`Session::into_dead`] recovers at once.
    ///
    /// # Errors
    /// The file system's and the index's.
    pub fn end(mut self) -> Result<(), StoreError> {
        self.finish()
    }

    /// Turns a session whose work failed half-way into one that can be recovered now.
    ///
    /// Layers that it published and that nothing claims are swept by the recovery.
    pub fn into_dead(mut self) -> DeadSession {
        let lock = self.lock.take();
        DeadSession::new(self.store.clone(), self.id.clone(), lock)
    }

    fn finish(&mut self) -> Result<(), StoreError> {
        let Some(lock) = self.lock.take() else {
            return Ok(());
        };
        if crate::intent::any_left(&self.dir)? {
            tracing::warn!(session = %self.id, "session ends with work half done");
            drop(lock);
            return Ok(());
        }
        clear(&self.store, &self.id, &lock)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Err(error) = self.finish() {
            tracing::warn!(session = %self.id, %error, "cannot end session");
        }
    }
}

/// Removes every trace of a session whose lock is held by the caller.
///
/// The lock file goes last: as long as it is there, somebody looks.
pub(crate) fn clear(store: &Store, id: &SessionId, _held: &File) -> Result<(), StoreError> {
    store.effects().remove_tree(&store.root().session(id))?;
    crate::layers::hold::release_all(store, id)?;
    store
        .effects()
        .remove_file(&store.root().session_lock(id))?;
    Ok(())
}

/// Makes and takes the lock file of a new session. `None` when the name is taken, or when
/// somebody who looked for dead sessions found the file before it was locked.
fn take_new_lock(store: &Store, id: &SessionId) -> Result<Option<File>, StoreError> {
    let path = store.root().session_lock(id);
    let file = match OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
    {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
        other => other.at("create lock file", &path)?,
    };
    lock::wait(&file, Mode::Exclusive, 0).at("lock", &path)?;
    Ok(lock::still_named(&file, &path)
        .at("inspect", &path)?
        .then_some(file))
}

/// Takes the lock file of a session that nobody holds. `None` when it lives or is gone.
///
/// A session that left a folder but no lock file gets a new one, so that two recoveries
/// exclude each other.
pub(crate) fn take_dead_lock(store: &Store, id: &SessionId) -> Result<Option<File>, StoreError> {
    let path = store.root().session_lock(id);
    let file = lock::open(&path)?;
    if !lock::try_take(&file, Mode::Exclusive, 0).at("lock", &path)? {
        return Ok(None);
    }
    Ok(lock::still_named(&file, &path)
        .at("inspect", &path)?
        .then_some(file))
}

/// Tells whether a session lives.
pub(crate) fn is_alive(root: &Root, id: &SessionId) -> Result<bool, StoreError> {
    let path = root.session_lock(id);
    match File::options().read(true).write(true).open(&path) {
        Ok(file) => lock::is_held(&file, 0).at("inspect lock of", &path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).at("open lock file", &path),
    }
}

/// Names in a folder that are session IDs.
pub(crate) fn ids_in(path: &Path) -> Result<Vec<SessionId>, StoreError> {
    let mut ids = Vec::new();
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ids),
        other => other.at("read folder", path)?,
    };
    for entry in entries {
        let name = entry.at("read folder", path)?.file_name();
        ids.extend(
            name.to_str()
                .and_then(|name| name.parse::<SessionId>().ok()),
        );
    }
    Ok(ids)
}
