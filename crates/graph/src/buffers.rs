//! Chunks: bytes that travel together and are copied no more once they were read.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read};

use bytes::{Bytes, BytesMut};

/// Chunks whose memory is used again when nobody holds them any more: memory that is new to the
/// process costs more than reading into it.
pub(crate) struct Buffers {
    size: usize,
    used: VecDeque<Bytes>,
}

impl Buffers {
    /// For chunks of `size` bytes at most.
    pub(crate) fn new(size: usize) -> Self {
        let used = VecDeque::new();
        Self { size, used }
    }

    /// Reads until a chunk is full or the source ends, which is true then. What was read before an
    /// error comes with it.
    pub(crate) fn read(&mut self, source: &mut impl Read) -> (Bytes, io::Result<bool>) {
        let mut buffer = self.free();
        let (length, ended) = fill(source, &mut buffer);
        buffer.truncate(length);
        let chunk = buffer.freeze();
        self.used.push_back(chunk.clone());
        (chunk, ended)
    }

    /// Room for a chunk.
    fn free(&mut self) -> BytesMut {
        for _ in 0..self.used.len() {
            let Some(chunk) = self.used.pop_front() else {
                break;
            };
            match chunk.try_into_mut() {
                Ok(mut buffer) => {
                    buffer.resize(self.size, 0);
                    return buffer;
                }
                Err(chunk) => self.used.push_back(chunk),
            }
        }
        BytesMut::zeroed(self.size)
    }
}

fn fill(source: &mut impl Read, buffer: &mut [u8]) -> (usize, io::Result<bool>) {
    let mut length = 0;
    while let Some(room) = buffer.get_mut(length..).filter(|room| !room.is_empty()) {
        match source.read(room) {
            Ok(0) => return (length, Ok(true)),
            Ok(read) => length += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return (length, Err(error)),
        }
    }
    (length, Ok(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: usize = 1000;

    #[test]
    fn memory_is_used_again_when_nobody_holds_it() {
        let mut buffers = Buffers::new(CHUNK);
        let (held, ended) = buffers.read(&mut &[1; 10][..]);
        assert!(ended.unwrap());
        let (next, ended) = buffers.read(&mut &[2; CHUNK + 1][..]);
        assert!(!ended.unwrap());
        assert_eq!((&held[..], next.len()), (&[1; 10][..], CHUNK));
        let places = [held.as_ptr(), next.as_ptr()];
        drop((held, next));
        for length in [CHUNK, 7, CHUNK - 1, 0] {
            let (chunk, _) = buffers.read(&mut &vec![3; length][..]);
            assert!(places.contains(&chunk.as_ptr()) && chunk == vec![3; length]);
        }
    }
}
