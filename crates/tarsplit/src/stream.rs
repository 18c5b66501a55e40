//! The stream that is split: looked into where it lies, and given away in parts.

use std::io::{self, Read};

use bytes::{Buf as _, Bytes, BytesMut};

use crate::pieces::{Pieces, ReadPieces};

/// What is there of a stream, and where that stands.
pub(crate) struct Stream<P> {
    pieces: P,
    current: Bytes,
    offset: u64,
}

impl<P: Pieces> Stream<P> {
    pub(crate) fn new(pieces: P) -> Self {
        Self {
            pieces,
            current: Bytes::new(),
            offset: 0,
        }
    }

    /// How many bytes were consumed.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// What is there without reading.
    pub(crate) fn buffered(&self) -> &[u8] {
        &self.current
    }

    /// Gives up to `length` of the buffered bytes away.
    pub(crate) fn consume(&mut self, length: usize) {
        let length = length.min(self.current.len());
        self.current.advance(length);
        self.offset += length as u64;
    }

    /// Takes up to `length` of the buffered bytes, to be held on to.
    pub(crate) fn take(&mut self, length: usize) -> Bytes {
        let taken = self.current.split_to(length.min(self.current.len()));
        self.offset += taken.len() as u64;
        taken
    }

    /// What is there, after reading once when that is nothing. Empty at the end.
    pub(crate) fn fill(&mut self) -> io::Result<&[u8]> {
        if self.current.is_empty() {
            self.current = self.pieces.next_piece()?;
        }
        Ok(self.buffered())
    }

    /// What is there, after reading until that is at least `wanted` bytes or the stream ends.
    pub(crate) fn ensure(&mut self, wanted: usize) -> io::Result<&[u8]> {
        if self.fill()?.len() < wanted {
            self.join(wanted)?;
        }
        Ok(self.buffered())
    }

    /// Puts pieces behind each other until there are `wanted` bytes.
    fn join(&mut self, wanted: usize) -> io::Result<()> {
        let mut joined = BytesMut::from(std::mem::take(&mut self.current));
        let mut read = Ok(());
        while joined.len() < wanted {
            match self.pieces.next_piece() {
                Ok(piece) if piece.is_empty() => break,
                Ok(piece) => joined.extend_from_slice(&piece),
                Err(error) => {
                    read = Err(error);
                    break;
                }
            }
        }
        self.current = joined.freeze();
        read
    }
}

impl<R: Read + io::Seek> Stream<ReadPieces<R>> {
    /// Goes `length` bytes ahead without reading them where it can. Returns how far it got.
    pub(crate) fn skip(&mut self, length: u64) -> io::Result<u64> {
        let near = length.min(self.current.len() as u64);
        self.consume(usize::try_from(near).unwrap_or(usize::MAX));
        let mut left = length - near;
        // The last byte is read, for seeking behind the end is no error.
        if let Ok(far) = i64::try_from(left.saturating_sub(1))
            && far > self.pieces.size() as i64
        {
            self.pieces.inner.seek_relative(far)?;
            self.offset += far as u64;
            left -= far as u64;
        }
        while left > 0 {
            let there = self.fill()?.len() as u64;
            if there == 0 {
                break;
            }
            let step = there.min(left);
            self.consume(usize::try_from(step).unwrap_or(usize::MAX));
            left -= step;
        }
        Ok(length - left)
    }
}
