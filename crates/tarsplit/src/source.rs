//! A read buffer that can be looked into: for the text of records.

use std::io::{self, Read};

/// Reads large pieces of a source and lets them be used in place.
pub(crate) struct Source<R> {
    inner: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    offset: u64,
}

impl<R: Read> Source<R> {
    pub(crate) fn new(inner: R, capacity: usize) -> Self {
        Self {
            inner,
            buffer: vec![0; capacity],
            start: 0,
            end: 0,
            offset: 0,
        }
    }

    /// How many bytes were consumed.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// What is there without reading.
    pub(crate) fn buffered(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Gives up to `length` of the buffered bytes away.
    pub(crate) fn consume(&mut self, length: usize) {
        let length = length.min(self.end - self.start);
        self.start += length;
        self.offset += length as u64;
    }

    /// What is there, after reading once when that is nothing. Empty at the end.
    pub(crate) fn fill(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            self.read_more()?;
        }
        Ok(self.buffered())
    }

    /// What is there, after reading until that is at least `wanted` bytes or the source ends.
    ///
    /// The buffer grows with what was read, never ahead of it by more than its double.
    pub(crate) fn ensure(&mut self, wanted: usize) -> io::Result<&[u8]> {
        while self.end - self.start < wanted {
            if self.start > 0 && self.start + wanted > self.buffer.len() {
                self.buffer.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            }
            if self.end == self.buffer.len() {
                self.buffer.resize(self.buffer.len() * 2, 0);
            }
            if self.read_more()? == 0 {
                break;
            }
        }
        Ok(self.buffered())
    }

    fn read_more(&mut self) -> io::Result<usize> {
        let Some(space) = self.buffer.get_mut(self.end..) else {
            return Ok(0);
        };
        let room = space.len();
        let length = retry(|| self.inner.read(space))?.min(room);
        self.end += length;
        Ok(length)
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut there = self.fill()?;
        let length = there.read(out)?;
        self.consume(length);
        Ok(length)
    }
}

/// Repeats a call that a signal interrupted.
fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
