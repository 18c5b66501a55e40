//! Workers that read layers and publish them, never far ahead of what can be published.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use lith_graph::{Observer, Registered, StagedLayer};

use super::shelf::{Batch, Shelf};
use crate::LoadError;

/// More would only compete for the disk.
const MAX_WORKERS: usize = 4;

/// So many layers may be made before the first of them is published.
const AHEAD: usize = 256;

/// What is to be done with the layers of a plan, by their numbers.
pub(super) struct Work {
    shelf: Shelf,
    /// To be made, each when its turn comes.
    makes: BTreeSet<usize>,
    /// To be made once another one stands.
    after: HashMap<usize, Vec<usize>>,
    /// Made or being made here, and not published.
    ahead: HashSet<usize>,
    busy: usize,
    done: Vec<(usize, Registered)>,
    error: Option<LoadError>,
}

enum Next {
    Make(usize),
    Publish(Batch),
    Wait,
    Stop,
}

/// How a worker does its two kinds of work.
pub(super) trait Hands: Sync {
    /// Reads a layer.
    fn make(&self, number: usize) -> Result<StagedLayer, LoadError>;
    /// Gives layers their places.
    fn publish(&self, batch: Batch) -> Result<Vec<(usize, Registered)>, LoadError>;
    fn observer(&self) -> &dyn Observer;
}

impl Work {
    pub(super) fn new(shelf: Shelf) -> Work {
        Work {
            shelf,
            makes: BTreeSet::new(),
            after: HashMap::new(),
            ahead: HashSet::new(),
            busy: 0,
            done: Vec::new(),
            error: None,
        }
    }

    pub(super) fn shelf(&mut self) -> &mut Shelf {
        &mut self.shelf
    }

    /// Adds a layer to be made, where given not before another one stands.
    pub(super) fn add(&mut self, number: usize, after: Option<usize>) {
        match after.filter(|other| !self.shelf.stands(*other)) {
            Some(other) => self.after.entry(other).or_default().push(number),
            None => {
                self.makes.insert(number);
            }
        }
    }

    /// Does it all; gives what was published.
    pub(super) fn run(self, hands: &dyn Hands) -> Result<Vec<(usize, Registered)>, LoadError> {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = workers.min(MAX_WORKERS).min(self.makes.len());
        let shop = Shop {
            work: Mutex::new(self),
            changed: Condvar::new(),
            hands,
        };
        if workers <= 1 {
            shop.work();
        } else {
            std::thread::scope(|scope| {
                for _ in 0..workers {
                    scope.spawn(|| shop.work());
                }
            });
        }
        let work = shop
            .work
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        work.error.map_or(Ok(work.done), Err)
    }

    fn next(&mut self, observer: &dyn Observer) -> Next {
        if self.error.is_none() && observer.cancelled() {
            self.error = Some(LoadError::Cancelled);
        }
        if self.error.is_some() {
            return Next::Stop;
        }
        // When nothing else can go on, somebody waits for the first of these.
        let stuck = self.busy == 0 && !self.shelf.has_ready();
        let may_make = self.ahead.len() < AHEAD || stuck;
        let make = self.makes.first().copied().filter(|_| may_make);
        if self.shelf.has_batch() || (make.is_none() && self.shelf.has_ready()) {
            self.busy += 1;
            return Next::Publish(self.shelf.take_batch());
        }
        if let Some(number) = make {
            self.makes.remove(&number);
            self.ahead.insert(number);
            self.busy += 1;
            return Next::Make(number);
        }
        if self.busy == 0 {
            Next::Stop
        } else {
            Next::Wait
        }
    }

    fn made(&mut self, number: usize, result: Result<StagedLayer, LoadError>) {
        self.busy -= 1;
        match result {
            Ok(staged) => self.shelf.put(number, staged),
            Err(error) => {
                self.error.get_or_insert(error);
            }
        }
    }

    fn published(&mut self, result: Result<Vec<(usize, Registered)>, LoadError>) {
        self.busy -= 1;
        match result {
            Ok(published) => {
                for (number, _) in &published {
                    self.shelf.set_standing(*number);
                    self.ahead.remove(number);
                    self.makes
                        .extend(self.after.remove(number).into_iter().flatten());
                }
                self.done.extend(published);
            }
            Err(error) => {
                self.error.get_or_insert(error);
            }
        }
    }
}

/// Where workers meet.
struct Shop<'a> {
    work: Mutex<Work>,
    changed: Condvar,
    hands: &'a dyn Hands,
}

impl Shop<'_> {
    fn lock(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let _alarm = Alarm(self);
        let mut work = self.lock();
        loop {
            match work.next(self.hands.observer()) {
                Next::Make(number) => {
                    drop(work);
                    let made = self.hands.make(number);
                    work = self.lock();
                    work.made(number, made);
                }
                Next::Publish(batch) => {
                    drop(work);
                    let published = self.hands.publish(batch);
                    work = self.lock();
                    work.published(published);
                }
                Next::Wait => {
                    work = self
                        .changed
                        .wait(work)
                        .unwrap_or_else(PoisonError::into_inner);
                    continue;
                }
                Next::Stop => {
                    self.changed.notify_all();
                    return;
                }
            }
            self.changed.notify_all();
        }
    }
}

/// A worker that panics must not let the others wait for it.
struct Alarm<'a>(&'a Shop<'a>);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().error.get_or_insert(LoadError::Cancelled);
            self.0.changed.notify_all();
        }
    }
}
