//! A stream that is read ahead by several threads in turn, and hashed by another.
//!
//! ```text
//!        ┌─► [read thread: a run] ─┐
//! [runs] ┼─► [read thread: a run] ─┼─► in order: the caller ─► [hash thread: SHA-256]
//!        └─►        ...           ─┘
//! ```
//!
//! All look at the chunk that the bytes were read into, so nothing is copied. Every channel is
//! bounded, so memory stays flat. A stream of one chunk goes through no thread, and none does
//! where there is one processor.

mod alone;
mod threads;

use std::io::{self, Read};
use std::sync::OnceLock;
use std::thread;

use bytes::Bytes;

use crate::hashed::Hashed;
use alone::Alone;
use threads::Threads;

/// Bytes that travel together. What waits has to last while a thread gets no processor, and where
/// there are two for four threads and all else, that is some milliseconds.
pub(crate) const CHUNK: usize = 512 << 10;

/// More readers than this only wait for the one that hashes.
const MOST_READERS: usize = 3;

/// Reads runs, parts of a stream; several do so side by side.
pub(crate) trait RunSource<R>: Read + Send + 'static {
    /// Goes on with `run`, which then is read to its end.
    fn begin(&mut self, run: R);
}

/// A source that is one run, and nothing to be cut.
pub(crate) struct Whole<R>(pub(crate) R);

impl<R: Read + Send + 'static> RunSource<()> for Whole<R> {
    fn begin(&mut self, (): ()) {}
}

impl<R: Read> Read for Whole<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

/// The bytes, in order.
pub(crate) enum Ahead {
    /// Everything is done by the caller.
    Alone(Alone),
    Threads(Threads),
}

/// How many readers are worth it for a stream of about `length` bytes.
pub(crate) fn readers(length: u64) -> usize {
    match length <= CHUNK as u64 {
        true => 1,
        false => processors().min(MOST_READERS),
    }
}

fn processors() -> usize {
    static PROCESSORS: OnceLock<usize> = OnceLock::new();
    *PROCESSORS.get_or_init(|| thread::available_parallelism().map_or(1, usize::from))
}

impl Ahead {
    /// Starts to read a stream of about `length` bytes: `runs` says what, `first` and `more` read
    /// it in turns.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub(crate) fn start<C, R>(runs: C, first: R, more: Vec<R>, length: u64) -> io::Result<Self>
    where
        C: Iterator + Send + 'static,
        R: RunSource<C::Item>,
    {
        if length <= CHUNK as u64 || processors() == 1 {
            return Ok(Self::Alone(Alone::new(runs, first)));
        }
        let readers = std::iter::once(first).chain(more);
        Threads::start(runs, readers).map(Self::Threads)
    }

    /// The next bytes, some at least; `None` at the end. Nothing comes behind an error.
    pub(crate) fn next_chunk(&mut self) -> io::Result<Option<Bytes>> {
        match self {
            Self::Alone(alone) => alone.next_chunk(),
            Self::Threads(threads) => threads.next_chunk(),
        }
    }

    /// Ends; the hash is `None` when the stream was not read to its end.
    pub(crate) fn finish(&mut self) -> Option<Hashed> {
        match self {
            Self::Alone(alone) => alone.finish(),
            Self::Threads(threads) => threads.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use lith_store::DiffId;

    use super::*;

    /// Runs of so many bytes each, all of them the run's number.
    fn runs(lengths: &[usize]) -> impl Iterator<Item = (u8, usize)> + use<> {
        (1..).zip(lengths.to_vec())
    }

    /// Reads such runs; fails behind the run of this number, and is slow where it is even.
    #[derive(Clone, Default)]
    struct Numbers {
        run: (u8, usize),
        bad: Option<u8>,
    }

    impl RunSource<(u8, usize)> for Numbers {
        fn begin(&mut self, run: (u8, usize)) {
            self.run = run;
            if run.0.is_multiple_of(2) {
                thread::sleep(std::time::Duration::from_millis(1));
            }
        }
    }

    impl Read for Numbers {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let (number, left) = &mut self.run;
            if *left == 0 && self.bad == Some(*number) {
                return Err(io::Error::other(format!("run {number} is bad")));
            }
            let read = buf.len().min(*left).min(100_000);
            buf[..read].fill(*number);
            *left -= read;
            Ok(read)
        }
    }

    /// By no thread of its own when there are no `readers`.
    fn start(lengths: &[usize], readers: usize, bad: Option<u8>) -> Ahead {
        let numbers = Numbers {
            bad,
            ..Numbers::default()
        };
        match readers {
            0 => Ahead::Alone(Alone::new(runs(lengths), numbers)),
            _ => {
                let readers = std::iter::repeat_n(numbers, readers);
                Ahead::Threads(Threads::start(runs(lengths), readers).unwrap())
            }
        }
    }

    fn all(ahead: &mut Ahead) -> (Vec<u8>, io::Result<()>) {
        let mut bytes = Vec::new();
        loop {
            match ahead.next_chunk() {
                Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
                Ok(None) => return (bytes, Ok(())),
                Err(error) => return (bytes, Err(error)),
            }
        }
    }

    const LENGTHS: [&[usize]; 6] = [
        &[],
        &[7],
        &[CHUNK],
        &[CHUNK + 1, 0, 3],
        &[5 * CHUNK, 9, 8, CHUNK, 1, 3 * CHUNK - 1],
        &[1000; 200],
    ];

    fn expected(lengths: &[usize]) -> Vec<u8> {
        let runs = lengths.iter().zip(1..);
        runs.flat_map(|(length, number)| vec![number; *length])
            .collect()
    }

    #[test]
    fn every_byte_comes_in_order_with_the_hash() {
        for lengths in LENGTHS {
            for readers in 0..4 {
                let mut ahead = start(lengths, readers, None);
                let (bytes, end) = all(&mut ahead);
                end.unwrap();
                assert!(bytes == expected(lengths), "{lengths:?} by {readers}");
                assert!(ahead.next_chunk().unwrap().is_none());
                let hashed = ahead.finish().unwrap();
                assert_eq!(hashed.bytes, bytes.len() as u64);
                assert_eq!(hashed.diff_id, DiffId::of_bytes(&bytes));
            }
        }
    }

    #[test]
    fn the_first_failure_in_order_is_the_one_that_is_told() {
        for lengths in [&[1000; 200][..], &[300_000; 20], &[10, 10, 10]] {
            for readers in 0..4 {
                for bad in [1, 2, 3] {
                    let mut ahead = start(lengths, readers, Some(bad));
                    let (bytes, end) = all(&mut ahead);
                    assert_eq!(end.unwrap_err().to_string(), format!("run {bad} is bad"));
                    assert!(bytes == expected(&lengths[..usize::from(bad)]));
                    assert_eq!(ahead.finish(), None);
                }
            }
        }
    }

    #[test]
    fn who_stops_early_gets_no_hash() {
        let mut ahead = start(&[CHUNK; 100], 2, None);
        assert_eq!(ahead.next_chunk().unwrap().unwrap().len(), CHUNK);
        assert_eq!(ahead.finish(), None);
        // Nor does dropping wait for anything.
        drop(start(&[CHUNK; 100], 3, None));
    }

    #[test]
    fn a_thread_that_panics_is_a_failure() {
        struct Panics;
        impl RunSource<(u8, usize)> for Panics {
            fn begin(&mut self, _: (u8, usize)) {
                panic!("a test");
            }
        }
        impl Read for Panics {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Ok(0)
            }
        }
        let readers = [Panics, Panics].into_iter();
        let ahead = Threads::start(runs(&[CHUNK; 3]), readers).unwrap();
        let mut ahead = Ahead::Threads(ahead);
        assert!(all(&mut ahead).1.is_err());
        assert_eq!(ahead.finish(), None);
    }

    #[test]
    fn what_cuts_and_panics_is_a_failure() {
        let runs = runs(&[CHUNK; 9]).inspect(|run| assert!(run.0 < 7, "a test"));
        let readers = std::iter::repeat_n(Numbers::default(), 3);
        let mut ahead = Ahead::Threads(Threads::start(runs, readers).unwrap());
        assert!(all(&mut ahead).1.is_err());
        assert_eq!(ahead.finish(), None);
    }

    #[test]
    fn little_is_read_without_threads() {
        for (length, alone) in [(CHUNK, true), (CHUNK + 1, processors() == 1)] {
            let more = vec![Numbers::default(); readers(length as u64) - 1];
            let first = Numbers::default();
            let mut ahead = Ahead::start(runs(&[length]), first, more, length as u64).unwrap();
            assert_eq!(matches!(ahead, Ahead::Alone(_)), alone);
            assert_eq!(all(&mut ahead).0.len(), length);
        }
    }
}
