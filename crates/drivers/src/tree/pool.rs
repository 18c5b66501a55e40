//! Threads that make files while another one says which.

use std::collections::VecDeque;
use std::num::NonZero;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::copy::Copier;
use super::meta::Meta;

/// More would only compete for the disk.
const MAX_THREADS: usize = 4;

/// So many jobs wait; with them wait the descriptors and the bytes that they hold.
const WAITING: usize = 8;

/// Work for a thread.
pub(super) trait Job: std::fmt::Debug + Send + 'static {
    type Error: std::fmt::Debug + Send + 'static;

    /// Does it.
    fn run(self, meta: &mut Meta, copier: &mut Copier) -> Result<(), Self::Error>;

    /// The error of a job whose thread stopped without a word.
    fn lost() -> Self::Error;
}

/// Threads with a queue. Dropping it lets them end what they are at, and waits for that.
#[derive(Debug)]
pub(super) struct Pool<J: Job> {
    shared: Arc<Shared<J>>,
    /// Each gives how many extended attributes the file system could not hold.
    threads: Vec<JoinHandle<u64>>,
}

#[derive(Debug)]
struct Shared<J: Job> {
    state: Mutex<State<J>>,
    /// There is work, or there will be none.
    work: Condvar,
    /// A job was taken or done.
    progress: Condvar,
}

#[derive(Debug)]
struct State<J: Job> {
    waiting: VecDeque<(u64, J)>,
    given: u64,
    running: usize,
    idle: usize,
    /// The one who gives jobs sleeps until no more wait than this, and none runs when it is 0.
    awaited: Option<usize>,
    ending: bool,
    stopped: bool,
    /// Of all that failed, the job that was given first.
    failed: Option<(u64, J::Error)>,
}

/// How many threads make files where there are no other reasons.
pub(super) fn threads() -> usize {
    thread::available_parallelism()
        .map_or(1, NonZero::get)
        .min(MAX_THREADS)
}

impl<J: Job> Pool<J> {
    /// Starts so many threads, or as many as can be; `None` when there are none.
    pub(super) fn start(meta: &Meta, threads: usize) -> Option<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                given: 0,
                running: 0,
                idle: 0,
                awaited: None,
                ending: false,
                stopped: false,
                failed: None,
            }),
            work: Condvar::new(),
            progress: Condvar::new(),
        });
        let start = |_| {
            let (shared, meta) = (Arc::clone(&shared), meta.another());
            let thread = thread::Builder::new().name("files".into());
            match thread.spawn(move || shared.work(meta)) {
                Ok(thread) => Some(thread),
                Err(error) => {
                    tracing::debug!(%error, "one thread fewer makes files");
                    None
                }
            }
        };
        let threads: Vec<_> = (0..threads).filter_map(start).collect();
        (!threads.is_empty()).then_some(Self { shared, threads })
    }

    /// Gives a job away, when not too many wait. False when one has failed: [`Pool::drain`] says
    /// how.
    pub(super) fn give(&self, job: J) -> bool {
        let mut state = self.shared.lock();
        if state.waiting.len() >= WAITING {
            state = self.shared.sleep(state, WAITING / 2);
        }
        if state.stopped {
            return false;
        }
        let number = state.given;
        state.given += 1;
        state.waiting.push_back((number, job));
        if state.idle > 0 {
            self.shared.work.notify_one();
        }
        true
    }

    /// Waits until all jobs are done.
    ///
    /// # Errors
    /// That of the job which was given first, of those that failed. The rest was not done.
    pub(super) fn drain(&self) -> Result<(), J::Error> {
        let mut state = self.shared.lock();
        if !state.waiting.is_empty() || state.running > 0 {
            state = self.shared.sleep(state, 0);
        }
        match (state.failed.take(), state.stopped) {
            (Some((_, error)), _) => Err(error),
            (None, true) => Err(J::lost()),
            (None, false) => Ok(()),
        }
    }

    /// Waits until all jobs are done, and ends the threads. Returns how many extended attributes
    /// the file system could not hold.
    ///
    /// # Errors
    /// As [`Pool::drain`].
    pub(super) fn end(mut self) -> Result<u64, J::Error> {
        self.drain()?;
        self.join().ok_or_else(J::lost)
    }

    fn join(&mut self) -> Option<u64> {
        self.shared.lock().ending = true;
        self.shared.work.notify_all();
        let threads = std::mem::take(&mut self.threads);
        let results: Vec<_> = threads.into_iter().map(JoinHandle::join).collect();
        results.into_iter().map(Result::ok).sum()
    }
}

impl<J: Job> Drop for Pool<J> {
    fn drop(&mut self) {
        if !self.threads.is_empty() {
            self.shared.lock().waiting.clear();
            self.join();
        }
    }
}

impl<J: Job> Shared<J> {
    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps until no more than `most` jobs wait, or work has stopped and ended.
    fn sleep<'a>(
        &self,
        mut state: MutexGuard<'a, State<J>>,
        most: usize,
    ) -> MutexGuard<'a, State<J>> {
        state.awaited = Some(most);
        while !state.is_down_to(most) {
            state = self
                .progress
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.awaited = None;
        state
    }

    /// What a thread does.
    fn work(&self, mut meta: Meta) -> u64 {
        let mut copier = Copier::default();
        while let Some((number, job)) = self.next() {
            let running = Running {
                shared: self,
                done: None,
            };
            running.end(number, job.run(&mut meta, &mut copier));
        }
        meta.skipped
    }

    fn next(&self) -> Option<(u64, J)> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.waiting.pop_front() {
                state.running += 1;
                self.tell(&state);
                return Some(job);
            }
            if state.ending {
                return None;
            }
            state.idle += 1;
            state = self
                .work
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    fn tell(&self, state: &State<J>) {
        if state.awaited.is_some_and(|most| state.is_down_to(most)) {
            self.progress.notify_one();
        }
    }
}

impl<J: Job> State<J> {
    fn is_down_to(&self, most: usize) -> bool {
        self.waiting.len() <= most && (most > 0 || self.running == 0)
    }
}

/// A job that is being done. One that ends by a panic is lost, and nobody waits for it.
struct Running<'a, J: Job> {
    shared: &'a Shared<J>,
    done: Option<(u64, Result<(), J::Error>)>,
}

impl<J: Job> Running<'_, J> {
    fn end(mut self, number: u64, result: Result<(), J::Error>) {
        self.done = Some((number, result));
    }
}

impl<J: Job> Drop for Running<'_, J> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.running -= 1;
        let (number, failed) = match self.done.take() {
            Some((_, Ok(()))) => {
                self.shared.tell(&state);
                return;
            }
            Some((number, Err(error))) => (number, Some(error)),
            None => (u64::MAX, None),
        };
        state.stopped = true;
        state.waiting.clear();
        if let Some(error) = failed
            && state
                .failed
                .as_ref()
                .is_none_or(|(first, _)| number < *first)
        {
            state.failed = Some((number, error));
        }
        self.shared.tell(&state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    static SUM: AtomicU64 = AtomicU64::new(0);

    #[derive(Debug)]
    struct Add(u64);

    impl Job for Add {
        type Error = u64;

        fn run(self, _: &mut Meta, _: &mut Copier) -> Result<(), u64> {
            match self.0 {
                100 => panic!("a job that breaks"),
                number if number > 100 => {
                    // The later ones are the quicker ones.
                    thread::sleep(std::time::Duration::from_millis(120 - number));
                    Err(number)
                }
                number => {
                    SUM.fetch_add(number, Ordering::Relaxed);
                    Ok(())
                }
            }
        }

        fn lost() -> u64 {
            0
        }
    }

    #[test]
    fn all_is_done_and_the_first_failure_is_told() {
        let pool = Pool::start(&Meta::default(), 3).unwrap();
        for _ in 0..500 {
            assert!(pool.give(Add(1)));
        }
        pool.drain().unwrap();
        assert_eq!(SUM.load(Ordering::Relaxed), 500);
        pool.drain().unwrap();
        for _ in 0..100 {
            assert!(pool.give(Add(2)));
        }
        assert_eq!(pool.end(), Ok(0));
        assert_eq!(SUM.load(Ordering::Relaxed), 700);

        let pool = Pool::start(&Meta::default(), 3).unwrap();
        for number in [110, 111, 112] {
            pool.give(Add(number));
        }
        assert_eq!(pool.drain(), Err(110));
        assert!(!pool.give(Add(1)));

        let pool = Pool::start(&Meta::default(), 1).unwrap();
        pool.give(Add(100));
        assert_eq!(pool.end(), Err(0));
    }
}
