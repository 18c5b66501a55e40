//! The payload of the current entry, read in place.

use std::io::{self, BufRead, Read};

use bytes::Bytes;

use crate::crc64::Crc64;
use crate::error::SplitError;
use crate::pieces::{PayloadReader, Pieces, ReadPieces};
use crate::stream::Stream;

/// Gives the payload out of the stream's own memory and sums it.
pub(crate) struct Payload<P> {
    pub(crate) source: Stream<P>,
    pub(crate) remaining: u64,
    pub(crate) crc: Crc64,
    /// Index of the entry.
    pub(crate) entry: u64,
    /// Where its header stands.
    pub(crate) header: u64,
    /// Its name, for errors.
    pub(crate) name: Vec<u8>,
    /// Length of the whole payload.
    pub(crate) stored: u64,
}

impl<P: Pieces> Payload<P> {
    pub(crate) fn new(pieces: P) -> Self {
        Self {
            source: Stream::new(pieces),
            remaining: 0,
            crc: Crc64::new(),
            entry: 0,
            header: 0,
            name: Vec::new(),
            stored: 0,
        }
    }

    /// Starts the payload of the entry that `entry`, `header` and `name` tell of.
    pub(crate) fn start(&mut self, stored: u64) {
        self.stored = stored;
        self.remaining = stored;
        self.crc.reset();
    }

    /// What is there of the payload; empty when all of it was read.
    pub(crate) fn peek(&mut self) -> Result<&[u8], SplitError> {
        if self.remaining == 0 {
            return Ok(&[]);
        }
        let offset = self.source.offset();
        if self
            .source
            .fill()
            .map_err(|source| SplitError::Io { offset, source })?
            .is_empty()
        {
            return Err(self.truncated("file", self.stored, self.stored - self.remaining));
        }
        let there = self.source.buffered();
        let length = usize::try_from(self.remaining)
            .unwrap_or(usize::MAX)
            .min(there.len());
        Ok(there.get(..length).unwrap_or_default())
    }

    /// Gives away what `peek` showed, or the front of it.
    pub(crate) fn take(&mut self, length: usize) -> Bytes {
        let left = usize::try_from(self.remaining).unwrap_or(usize::MAX);
        let taken = self.source.take(length.min(left));
        self.crc.update(&taken);
        self.remaining -= taken.len() as u64;
        taken
    }

    /// Reads what is left and sums it.
    pub(crate) fn drain(&mut self) -> Result<(), SplitError> {
        loop {
            let length = self.peek()?.len();
            if length == 0 {
                return Ok(());
            }
            self.take(length);
        }
    }

    pub(crate) fn truncated(&self, what: &'static str, expected: u64, found: u64) -> SplitError {
        let name = self.name.clone();
        SplitError::Truncated {
            entry: self.entry,
            offset: self.header,
            name,
            what,
            expected,
            found,
        }
    }
}

impl<R: Read + io::Seek> Payload<ReadPieces<R>> {
    /// Passes over what is left, without looking at it.
    pub(crate) fn skip(&mut self) -> Result<(), SplitError> {
        let offset = self.source.offset();
        let found = self
            .source
            .skip(self.remaining)
            .map_err(|source| SplitError::Io { offset, source })?;
        if found < self.remaining {
            return Err(self.truncated("file", self.stored, self.stored - self.remaining + found));
        }
        self.remaining = 0;
        Ok(())
    }
}

impl<P: Pieces> PayloadReader for Payload<P> {
    fn take_piece(&mut self) -> io::Result<Bytes> {
        let length = self.peek()?.len();
        Ok(self.take(length))
    }
}

impl<P: Pieces> BufRead for Payload<P> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        Ok(self.peek()?)
    }

    fn consume(&mut self, length: usize) {
        self.take(length);
    }
}

impl<P: Pieces> Read for Payload<P> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let length = self.peek()?.read(out)?;
        self.take(length);
        Ok(length)
    }
}
