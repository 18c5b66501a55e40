//! Copies of many files by several threads, while one thread walks the trees.
//!
//! The walker makes directories and says which files are to be copied into them; whoever is the
//! last to have put something into a new directory gives it its attributes.

use std::num::NonZero;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, Scope};

use super::attributes::Attributes;
use super::copy::Copier;
use super::meta::Meta;
use super::name;
use crate::error::{During, Trouble};

/// More would only compete for the disk.
const MAX_WORKERS: usize = 4;

/// So many files of one directory are given to a thread at once.
const BATCH: usize = 64;

/// So many batches wait; with them wait the descriptors of their directories.
const WAITING: usize = 32;

/// A directory whose files are copied.
pub(super) struct Target {
    from: OwnedFd,
    to: OwnedFd,
    place: Vec<u8>,
    /// Batches that are not done, and the walker while it is there.
    users: AtomicUsize,
    /// What the directory is to be like, when it is new.
    attributes: OnceLock<Attributes<'static>>,
}

struct Batch {
    target: Arc<Target>,
    files: Vec<Vec<u8>>,
}

/// What threads and walker share.
#[derive(Default)]
struct Shared {
    failed: AtomicBool,
    error: Mutex<Option<Trouble>>,
    /// Extended attributes that the file system could not hold.
    skipped: Mutex<u64>,
}

/// The way to the threads; they end when it is dropped.
pub(super) struct Copies<'s> {
    batches: SyncSender<Batch>,
    shared: &'s Shared,
}

/// What a walk has found in one directory and not yet handed over.
#[derive(Default)]
pub(super) struct Found {
    target: Option<Arc<Target>>,
    files: Vec<Vec<u8>>,
}

/// How many threads copy.
pub(super) fn workers() -> usize {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    processors.min(MAX_WORKERS)
}

/// Runs `walk`, which hands over files, and waits until all are copied, by a thread for each
/// `meta`. Returns how many extended attributes the file system could not hold.
pub(super) fn run(
    metas: Vec<Meta>,
    walk: impl FnOnce(&Copies<'_>) -> Result<(), Trouble>,
) -> Result<u64, Trouble> {
    let shared = Shared::default();
    let walked = thread::scope(|scope| {
        let (batches, waiting) = sync_channel(WAITING);
        let waiting = Arc::new(Mutex::new(waiting));
        for meta in metas {
            start(scope, meta, &shared, Arc::clone(&waiting));
        }
        // Whoever hands something over has to learn when no thread is left to take it.
        drop(waiting);
        let copies = Copies {
            batches,
            shared: &shared,
        };
        let walked = walk(&copies);
        shared.failed.fetch_or(walked.is_err(), Ordering::Relaxed);
        walked
    });
    let Shared { error, skipped, .. } = shared;
    // The walker may have stopped because of this one.
    match error.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => walked.map(|()| skipped.into_inner().unwrap_or_else(PoisonError::into_inner)),
    }
}

fn start<'scope>(
    scope: &'scope Scope<'scope, '_>,
    mut meta: Meta,
    shared: &'scope Shared,
    waiting: Arc<Mutex<Receiver<Batch>>>,
) {
    scope.spawn(move || {
        let mut copier = Copier::default();
        loop {
            let next = waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .recv();
            let Ok(batch) = next else {
                break;
            };
            if shared.failed.load(Ordering::Relaxed) {
                continue;
            }
            if let Err(error) = batch.copy(&mut copier, &mut meta) {
                shared.failed.store(true, Ordering::Relaxed);
                let mut first = shared.error.lock().unwrap_or_else(PoisonError::into_inner);
                first.get_or_insert(error);
            }
        }
        let mut skipped = shared
            .skipped
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *skipped += meta.skipped;
    });
}

impl Batch {
    fn copy(&self, copier: &mut Copier, meta: &mut Meta) -> Result<(), Trouble> {
        let target = &*self.target;
        for file in &self.files {
            let place = name::join(&target.place, file);
            let (from, to) = (target.from.as_fd(), target.to.as_fd());
            copier.regular(meta, (from, file), (to, file), &place)?;
        }
        target.release(meta)
    }
}

impl Target {
    /// A directory and its copy, by descriptors of their own.
    pub(super) fn new(
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        place: &[u8],
    ) -> Result<Target, Trouble> {
        let another = |fd| rustix::io::fcntl_dupfd_cloexec(fd, 0).during("open", place);
        Ok(Target {
            from: another(from)?,
            to: another(to)?,
            place: place.to_owned(),
            users: AtomicUsize::new(1),
            attributes: OnceLock::new(),
        })
    }

    /// One fewer has to do with the directory; the last one completes it.
    fn release(&self, meta: &mut Meta) -> Result<(), Trouble> {
        if self.users.fetch_sub(1, Ordering::AcqRel) > 1 {
            return Ok(());
        }
        match self.attributes.get() {
            Some(attributes) => meta.finish_directory(self.to.as_fd(), attributes, &self.place),
            None => Ok(()),
        }
    }
}

impl Found {
    /// Adds a file; `target` says from where to where, the first time.
    pub(super) fn add(
        &mut self,
        copies: &Copies<'_>,
        file: Vec<u8>,
        target: impl FnOnce() -> Result<Target, Trouble>,
    ) -> Result<(), Trouble> {
        if self.target.is_none() {
            self.target = Some(Arc::new(target()?));
        }
        self.files.push(file);
        if self.files.len() >= BATCH {
            self.hand_over(copies)?;
        }
        Ok(())
    }

    fn hand_over(&mut self, copies: &Copies<'_>) -> Result<(), Trouble> {
        let Some(target) = self.target.as_ref().filter(|_| !self.files.is_empty()) else {
            return Ok(());
        };
        target.users.fetch_add(1, Ordering::AcqRel);
        let batch = Batch {
            target: Arc::clone(target),
            files: std::mem::take(&mut self.files),
        };
        let taken = copies.batches.send(batch).is_ok();
        if !taken || copies.shared.failed.load(Ordering::Relaxed) {
            // The thread that failed has said why.
            return Err(rustix::io::Errno::CANCELED).during("copy into", &target.place);
        }
        Ok(())
    }

    /// Ends the directory. A new one gets its attributes when all its files are there; gives
    /// them back when nothing was ever copied into it.
    pub(super) fn end(
        mut self,
        copies: &Copies<'_>,
        meta: &mut Meta,
        attributes: Option<Attributes<'static>>,
    ) -> Result<Option<Attributes<'static>>, Trouble> {
        self.hand_over(copies)?;
        let Some(target) = self.target else {
            return Ok(attributes);
        };
        if let Some(attributes) = attributes {
            // Set once: here.
            let _ = target.attributes.set(attributes);
        }
        target.release(meta)?;
        Ok(None)
    }
}
