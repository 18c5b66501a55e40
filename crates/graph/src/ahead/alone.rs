//! Reading and hashing on the caller's thread.

use std::io;

use bytes::Bytes;

use super::{CHUNK, RunSource};
use crate::buffers::Buffers;
use crate::hashed::{Hashed, Hashing};

/// A stream that nobody else works on.
pub(crate) struct Alone {
    chunks: Box<dyn Iterator<Item = io::Result<Bytes>> + Send>,
    hashing: Hashing,
    state: State,
}

#[derive(PartialEq, Eq)]
enum State {
    Running,
    Ended,
    Failed,
}

impl Alone {
    pub(super) fn new<C, R>(runs: C, reader: R) -> Self
    where
        C: Iterator + Send + 'static,
        R: RunSource<C::Item>,
    {
        let chunks = Chunks {
            runs,
            reader,
            buffers: Buffers::new(CHUNK),
            inside: false,
            failed: None,
        };
        Self {
            chunks: Box::new(chunks),
            hashing: Hashing::default(),
            state: State::Running,
        }
    }

    pub(super) fn next_chunk(&mut self) -> io::Result<Option<Bytes>> {
        if self.state != State::Running {
            return Ok(None);
        }
        match self.chunks.next() {
            Some(Ok(chunk)) => {
                self.hashing.add(&chunk);
                Ok(Some(chunk))
            }
            Some(Err(error)) => {
                self.state = State::Failed;
                Err(error)
            }
            None => {
                self.state = State::Ended;
                Ok(None)
            }
        }
    }

    pub(super) fn finish(&mut self) -> Option<Hashed> {
        let hashing = std::mem::take(&mut self.hashing);
        (self.state == State::Ended).then(|| hashing.finish())
    }
}

/// The chunks of all runs.
struct Chunks<C, R> {
    runs: C,
    reader: R,
    buffers: Buffers,
    /// In the middle of a run.
    inside: bool,
    /// What comes behind the chunk that was given out.
    failed: Option<io::Error>,
}

impl<C: Iterator, R: RunSource<C::Item>> Iterator for Chunks<C, R> {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            if let Some(error) = self.failed.take() {
                return Some(Err(error));
            }
            if !self.inside {
                self.reader.begin(self.runs.next()?);
            }
            let (chunk, ended) = self.buffers.read(&mut self.reader);
            self.inside = matches!(ended, Ok(false));
            self.failed = ended.err();
            if !chunk.is_empty() {
                return Some(Ok(chunk));
            }
        }
    }
}
