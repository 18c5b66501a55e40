//! Bytes of an archive: from a stream, where passing over is reading, or from a file.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// A source of bytes that knows a way to pass some over.
pub(crate) trait Skip: Read {
    /// Passes over up to `count` bytes; fewer only at the end.
    fn skip(&mut self, count: u64) -> io::Result<u64>;
}

/// A stream: what is passed over must be read.
pub(crate) struct Stream<R>(pub(crate) R);

impl<R: Read> Read for Stream<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl<R: Read> Skip for Stream<R> {
    fn skip(&mut self, count: u64) -> io::Result<u64> {
        io::copy(&mut self.0.by_ref().take(count), &mut io::sink())
    }
}

/// A part of a file, read by position: several may read one file at the same time.
#[derive(Debug, Clone)]
pub(crate) struct Extent {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Extent {
    /// All bytes of `file` from `at` to before `end`.
    pub(crate) fn new(file: &Arc<File>, at: u64, end: u64) -> Extent {
        Extent {
            file: Arc::clone(file),
            at,
            end,
        }
    }
}

impl Read for Extent {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.end.saturating_sub(self.at);
        let want = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let Some(buf) = buf.get_mut(..want) else {
            return Ok(0);
        };
        let read = self.file.read_at(buf, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Skip for Extent {
    fn skip(&mut self, count: u64) -> io::Result<u64> {
        let skipped = count.min(self.end.saturating_sub(self.at));
        self.at += skipped;
        Ok(skipped)
    }
}

/// Reads until `buf` is full or the source ends.
pub(crate) fn read_full(source: &mut impl Read, buf: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buf.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match source.read(rest) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
