//! Regular files of a draft, made by several threads.
//!
//! Whoever applies entries goes on while threads create, write and complete small files. That is safe
//! as long as nothing but such a file was ever at its place: then nobody can tell when it
//! appears, until an entry comes whose place is the same, or that looks for it. For those all
//! files are waited for first ([`Writers::drain`]).

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, BorrowedFd};

use bytes::Bytes;
use rustix::fs::{FsWord, fstatfs};
use rustix::io::Errno;

use super::attributes::Attributes;
use super::copy::Copier;
use super::handle;
use super::meta::Meta;
use super::place::Spot;
use super::pool::{self, Job, Pool};
use crate::error::{ApplyError, During, Origin, Trouble, shown};

/// Files up to this size go to threads. A larger one is written as it comes, while they work.
const LARGEST: u64 = 512 << 10;

/// So many files, of so much of the stream, and in so many directories, go to a thread at once.
const FILES: usize = 64;
const STREAM: u64 = 1 << 20;
const DIRECTORIES: usize = 8;

/// What btrfs says it is. A second thread makes it slower there.
const BTRFS: FsWord = 0x9123_683e;

/// A regular file that is to be.
#[derive(Debug)]
pub(super) struct NewFile {
    pub(super) spot: Spot,
    pub(super) last: Vec<u8>,
    pub(super) attributes: Attributes<'static>,
    pub(super) payload: Vec<Bytes>,
    pub(super) origin: Origin,
}

/// Files on their way to the threads.
#[derive(Debug, Default)]
pub(super) struct Writers {
    threads: usize,
    meta: Meta,
    /// Started when there is enough to do.
    pool: Option<Pool<Batch>>,
    batch: Batch,
}

/// Files that lie close together in the stream.
#[derive(Debug, Default)]
struct Batch {
    files: Vec<NewFile>,
    directories: usize,
}

impl Writers {
    /// For files of the file system of `root`.
    pub(super) fn new(root: BorrowedFd<'_>, meta: &Meta) -> Self {
        let btrfs = || fstatfs(root).is_ok_and(|found| found.f_type == BTRFS);
        let threads = match pool::threads() {
            // A single processor has nothing to gain.
            1 => 0,
            _ if btrfs() => 1,
            threads => threads,
        };
        Self {
            threads,
            meta: meta.another(),
            ..Self::default()
        }
    }

    /// Returns whether a file of this size is one for threads.
    pub(super) fn take(&self, size: u64) -> bool {
        self.threads > 0 && size <= LARGEST
    }

    /// Adds a file. Nothing else may be, or have been, at its place.
    pub(super) fn add(&mut self, file: NewFile) -> Result<(), Trouble> {
        if !self.batch.has_room_for(&file) {
            self.hand_over()?;
        }
        self.batch.add(file);
        Ok(())
    }

    /// Gives the threads what they have not got yet.
    pub(super) fn hand_over(&mut self) -> Result<(), Trouble> {
        if self.batch.files.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.batch);
        if self.pool.is_none() {
            self.pool = Pool::start(&self.meta, self.threads);
        }
        match &self.pool {
            // No thread can be had.
            None => self.by_itself(batch),
            Some(pool) => {
                let taken = pool.give(batch);
                let done = if taken { Ok(()) } else { pool.drain() };
                self.ended(done)
            }
        }
    }

    /// Waits until all files are there.
    ///
    /// # Errors
    /// That of the first entry that failed. Nothing is waited for after that.
    pub(super) fn drain(&mut self) -> Result<(), Trouble> {
        match &self.pool {
            None => {
                let batch = std::mem::take(&mut self.batch);
                self.by_itself(batch)
            }
            Some(_) => {
                self.hand_over()?;
                let done = self.pool.as_ref().map_or(Ok(()), Pool::drain);
                self.ended(done)
            }
        }
    }

    /// Waits until all files are there, and ends the threads. Returns how many extended attributes
    /// the file system could not hold.
    pub(super) fn end(&mut self) -> Result<u64, Trouble> {
        self.drain()?;
        let skipped = match self.pool.take() {
            Some(pool) => pool.end().map_err(Trouble::earlier)?,
            None => 0,
        };
        Ok(skipped + std::mem::take(&mut self.meta.skipped))
    }

    fn by_itself(&mut self, batch: Batch) -> Result<(), Trouble> {
        let done = batch.run(&mut self.meta, &mut Copier::default());
        self.ended(done)
    }

    /// After a failure nobody makes files any more.
    fn ended(&mut self, done: Result<(), ApplyError>) -> Result<(), Trouble> {
        if done.is_err() {
            (self.pool, self.batch) = (None, Batch::default());
        }
        done.map_err(Trouble::earlier)
    }
}

impl Batch {
    fn has_room_for(&self, file: &NewFile) -> bool {
        let (Some(first), Some(last)) = (self.files.first(), self.files.last()) else {
            return true;
        };
        self.files.len() < FILES
            && file.origin.offset.saturating_sub(first.origin.offset) < STREAM
            && (self.directories < DIRECTORIES || last.spot.is(&file.spot))
    }

    fn add(&mut self, file: NewFile) {
        let known = self
            .files
            .last()
            .is_some_and(|last| last.spot.is(&file.spot));
        self.directories += usize::from(!known);
        self.files.push(file);
    }
}

impl Job for Batch {
    type Error = ApplyError;

    fn run(self, meta: &mut Meta, _: &mut Copier) -> Result<(), ApplyError> {
        for file in &self.files {
            let made = file.make(meta);
            made.map_err(|trouble| trouble.of_entry(&file.origin))?;
        }
        Ok(())
    }

    fn lost() -> ApplyError {
        ApplyError::Draft {
            action: "make files of",
            path: "the layer".into(),
            source: Errno::CANCELED.into(),
        }
    }
}

impl NewFile {
    fn make(&self, meta: &mut Meta) -> Result<(), Trouble> {
        let place = self.spot.at(&self.last);
        let (dir, mode) = (self.spot.dir(), Meta::creation_mode(&self.attributes));
        let fd = rustix::fs::openat(dir, &self.last, handle::CREATE, mode);
        let fd = match fd {
            Err(Errno::EXIST) => return Err(taken(&place)),
            fd => fd.during("create", &place)?,
        };
        let mut file = File::from(fd);
        for piece in &self.payload {
            file.write_all(piece).during("write", &place)?;
        }
        meta.finish_file(file.as_fd(), &self.attributes, &place)
    }
}

/// Something is where nothing of the layer was put.
pub(super) fn taken(place: &[u8]) -> Trouble {
    Trouble::Refused(format!(
        "{} is there already, though no entry before has this name: the file system takes two names \
         for one, or another program writes to the layer",
        shown(place)
    ))
}
