//! Streams in pieces: large parts of memory that several may hold, so that nobody has to copy them.

use std::io::{self, BufRead, Read};

use bytes::{Bytes, BytesMut};

/// A stream that comes in pieces, each of which may be held for as long as somebody needs it.
///
/// Pieces of some 100 KiB are best. Where each is a multiple of 512 bytes, but for the last, no header
/// has to be put together from two of them.
pub trait Pieces {
    /// Returns the next piece. An empty one is the end.
    ///
    /// # Errors
    /// When the stream cannot be read on.
    fn next_piece(&mut self) -> io::Result<Bytes>;
}

/// One piece, then the end.
impl Pieces for Bytes {
    fn next_piece(&mut self) -> io::Result<Bytes> {
        Ok(std::mem::take(self))
    }
}

/// Cuts what is read into [`Pieces`]; memory that nobody holds any more is used again.
#[derive(Debug)]
pub struct ReadPieces<R> {
    pub(crate) inner: R,
    room: BytesMut,
    size: usize,
}

impl<R: Read> ReadPieces<R> {
    /// Reads `inner` in pieces of up to `size` bytes.
    pub fn new(inner: R, size: usize) -> Self {
        Self {
            inner,
            room: BytesMut::new(),
            size: size.max(1),
        }
    }
}

impl<R> ReadPieces<R> {
    /// The most that a piece holds.
    pub(crate) fn size(&self) -> usize {
        self.size
    }
}

impl<R: Read> Pieces for ReadPieces<R> {
    fn next_piece(&mut self) -> io::Result<Bytes> {
        if self.room.is_empty() {
            self.room.resize(self.size, 0);
        }
        let length = loop {
            match self.inner.read(&mut self.room) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                length => break length?.min(self.size),
            }
        };
        Ok(self.room.split_to(length).freeze())
    }
}

/// The payload of an entry, on its way.
///
/// It reads as its bytes. Who wants to hold on to them takes them in pieces instead, which are not
/// copied when the stream comes in [`Pieces`].
pub trait PayloadReader: BufRead {
    /// Takes the next bytes, as many as there are in one piece. Empty at the end.
    ///
    /// # Errors
    /// As reading.
    fn take_piece(&mut self) -> io::Result<Bytes>;
}

impl PayloadReader for &[u8] {
    fn take_piece(&mut self) -> io::Result<Bytes> {
        Ok(Bytes::copy_from_slice(std::mem::take(self)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_the_stream_and_stay_what_they_are() {
        let data: Vec<u8> = (0..10_000_u32).map(|n| (n % 251) as u8).collect();
        for size in [1, 512, 4096, 20_000] {
            let mut pieces = ReadPieces::new(&data[..], size);
            let mut held = Vec::new();
            loop {
                let piece = pieces.next_piece().unwrap();
                if piece.is_empty() {
                    break;
                }
                assert!(piece.len() <= size);
                held.push(piece);
            }
            assert!(pieces.next_piece().unwrap().is_empty());
            assert_eq!(held.concat(), data);
        }
    }
}
