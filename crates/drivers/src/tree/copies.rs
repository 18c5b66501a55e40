//! Copies of many files by several threads, while one thread walks the trees.
//!
//! The walker makes directories and says which files are to be copied into them; whoever is the
//! last to have put something into a new directory gives it its attributes.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::io::Errno;

use super::attributes::Attributes;
use super::copy::Copier;
use super::meta::Meta;
use super::name;
use super::pool::{self, Job, Pool};
use crate::error::{During, Trouble};

/// So many files of one directory are given to a thread at once.
const BATCH: usize = 64;

/// A directory whose files are copied.
#[derive(Debug)]
pub(super) struct Target {
    from: OwnedFd,
    to: OwnedFd,
    place: Vec<u8>,
    /// Batches that are not done, and the walker while it is there.
    users: AtomicUsize,
    /// What the directory is to be like, when it is new.
    attributes: OnceLock<Attributes<'static>>,
}

#[derive(Debug)]
struct Batch {
    target: Arc<Target>,
    files: Vec<Vec<u8>>,
}

impl Job for Batch {
    type Error = Trouble;

    fn run(self, meta: &mut Meta, copier: &mut Copier) -> Result<(), Trouble> {
        let target = &*self.target;
        for file in &self.files {
            let place = name::join(&target.place, file);
            let (from, to) = (target.from.as_fd(), target.to.as_fd());
            copier.regular(meta, (from, file), (to, file), &place)?;
        }
        target.release(meta)
    }

    fn lost() -> Trouble {
        Trouble::Io {
            action: "copy files of",
            path: "the layer below".into(),
            source: Errno::CANCELED.into(),
        }
    }
}

/// The way to the threads; they end when it is dropped.
pub(super) struct Copies(Pool<Batch>);

/// What a walk has found in one directory and not yet handed over.
#[derive(Default)]
pub(super) struct Found {
    target: Option<Arc<Target>>,
    files: Vec<Vec<u8>>,
}

impl Copies {
    /// Starts the threads.
    pub(super) fn start(meta: &Meta) -> Result<Self, Trouble> {
        let pool = Pool::start(meta, pool::threads());
        pool.map(Self).ok_or_else(Batch::lost)
    }

    /// Waits until all is copied. Returns how many extended attributes the file system could not
    /// hold; of `walked` and of what threads failed at, the latter is the cause.
    pub(super) fn end(self, walked: Result<(), Trouble>) -> Result<u64, Trouble> {
        match walked {
            Ok(()) => self.0.end(),
            Err(trouble) => Err(self.0.drain().err().unwrap_or(trouble)),
        }
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
        copies: &Copies,
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

    fn hand_over(&mut self, copies: &Copies) -> Result<(), Trouble> {
        let Some(target) = self.target.as_ref().filter(|_| !self.files.is_empty()) else {
            return Ok(());
        };
        target.users.fetch_add(1, Ordering::AcqRel);
        let batch = Batch {
            target: Arc::clone(target),
            files: std::mem::take(&mut self.files),
        };
        if !copies.0.give(batch) {
            // The thread that failed says why.
            return Err(Errno::CANCELED).during("copy into", &target.place);
        }
        Ok(())
    }

    /// Ends the directory. A new one gets its attributes when all its files are there; gives
    /// them back when nothing was ever copied into it.
    pub(super) fn end(
        mut self,
        copies: &Copies,
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
