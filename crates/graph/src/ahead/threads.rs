//! Reading by several threads, and hashing by another.

use std::io;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use bytes::Bytes;

use super::{CHUNK, RunSource};
use crate::buffers::Buffers;
use crate::hashed::Hashed;

/// Chunks of one reader that may wait for their turn.
const AHEAD: usize = 4;

/// Chunks that may wait to be hashed.
const TO_HASH: usize = 6;

/// What a reader has read: some bytes, whether the run ends behind them, or why nothing comes.
type Piece = (Bytes, io::Result<bool>);

/// Whose run comes next.
enum Turn {
    Reader(usize),
    /// The stream was read to its end. A channel that closes without it is a failure.
    End,
}

/// Threads that read and hash. Dropping it stops them and waits for them.
pub(crate) struct Threads {
    turns: Option<Receiver<Turn>>,
    /// What each reader gives: its runs, one behind the other.
    lanes: Vec<Receiver<Piece>>,
    /// Whose run is being taken.
    lane: Option<usize>,
    to_hash: Option<SyncSender<Bytes>>,
    /// What comes behind the chunk that was given out.
    failed: Option<io::Error>,
    ended: bool,
    readers: Vec<JoinHandle<()>>,
    hasher: Option<JoinHandle<Hashed>>,
}

impl Threads {
    pub(super) fn start<C, R>(runs: C, readers: impl Iterator<Item = R>) -> io::Result<Self>
    where
        C: Iterator + Send + 'static,
        R: RunSource<C::Item>,
    {
        let (to_hash, chunks) = sync_channel(TO_HASH);
        // Bounded by the lanes: who takes a run has given all of the one before.
        let (to_turns, turns) = channel();
        let mut threads = Self {
            turns: Some(turns),
            lanes: Vec::new(),
            lane: None,
            to_hash: Some(to_hash),
            failed: None,
            ended: false,
            readers: Vec::new(),
            hasher: None,
        };
        let runs = Arc::new(Mutex::new((runs.fuse(), to_turns)));
        for (number, reader) in readers.enumerate() {
            let (to_lane, lane) = sync_channel(AHEAD);
            threads.lanes.push(lane);
            let runs = Arc::clone(&runs);
            let thread = thread::Builder::new().name("read".into());
            let thread = thread.spawn(move || read_runs(number, &runs, reader, &to_lane))?;
            threads.readers.push(thread);
        }
        let thread = thread::Builder::new().name("hash".into());
        threads.hasher = Some(thread.spawn(move || Hashed::of_chunks(chunks))?);
        Ok(threads)
    }

    pub(super) fn next_chunk(&mut self) -> io::Result<Option<Bytes>> {
        while !self.ended {
            let piece = match self.failed.take() {
                None => self.next_piece(),
                Some(error) => Err(error),
            };
            let chunk = piece.inspect_err(|_| self.stop())?;
            if chunk.is_empty() {
                continue;
            }
            if let Some(to_hash) = &self.to_hash {
                // It stops before its time only when it panics, and then there is no hash.
                let _ = to_hash.send(chunk.clone());
            }
            return Ok(Some(chunk));
        }
        Ok(None)
    }

    /// Takes a turn, or bytes from the reader whose turn it is.
    fn next_piece(&mut self) -> io::Result<Bytes> {
        let stopped = || io::Error::other("a reading thread stopped early");
        let Some(lane) = self.lane else {
            let turn = self.turns.as_ref().and_then(|turns| turns.recv().ok());
            match turn.ok_or_else(stopped)? {
                Turn::Reader(number) => self.lane = Some(number),
                Turn::End => self.ended = true,
            }
            return Ok(Bytes::new());
        };
        let piece = self.lanes.get(lane).and_then(|lane| lane.recv().ok());
        let (chunk, last) = piece.ok_or_else(stopped)?;
        match last {
            Ok(true) => self.lane = None,
            Ok(false) => {}
            Err(error) => self.failed = Some(error),
        }
        Ok(chunk)
    }

    /// Lets all threads end.
    fn stop(&mut self) {
        self.turns = None;
        self.lanes.clear();
        self.to_hash = None;
    }

    pub(super) fn finish(&mut self) -> Option<Hashed> {
        self.stop();
        for reader in self.readers.drain(..) {
            // What it had to say was said.
            let _ = reader.join();
        }
        let hashed = self.hasher.take().and_then(|hasher| hasher.join().ok());
        hashed.filter(|_| self.ended)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Takes runs in turn and reads them, until there are no more or nobody listens.
fn read_runs<C: Iterator>(
    number: usize,
    runs: &Mutex<(C, Sender<Turn>)>,
    mut reader: impl RunSource<C::Item>,
    to_lane: &SyncSender<Piece>,
) {
    let mut buffers = Buffers::new(CHUNK);
    while let Some(run) = take_run(number, runs) {
        reader.begin(run);
        let mut last = false;
        while !last {
            let piece = buffers.read(&mut reader);
            let failed = piece.1.is_err();
            last = matches!(piece.1, Ok(true));
            if to_lane.send(piece).is_err() || failed {
                return;
            }
        }
    }
}

/// The next run, which `number` announces to be its own.
fn take_run<C: Iterator>(number: usize, runs: &Mutex<(C, Sender<Turn>)>) -> Option<C::Item> {
    // Behind a panic there is nothing to go on with.
    let mut runs = runs.lock().ok()?;
    let run = runs.0.next();
    let turn = match &run {
        Some(_) => Turn::Reader(number),
        None => Turn::End,
    };
    runs.1.send(turn).ok()?;
    run
}
