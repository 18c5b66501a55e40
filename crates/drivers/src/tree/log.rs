//! Notes that a draft takes for its end: they lie in files, so that memory does not grow with
//! the number of entries.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::Mode;

use super::handle;

/// A list of byte strings in a file, written at its end and read from its start.
#[derive(Debug)]
pub(crate) struct Log {
    file: BufWriter<File>,
    end: u64,
}

impl Log {
    /// Makes an empty log called `name`, which must not exist.
    pub(crate) fn create(dir: BorrowedFd<'_>, name: &str) -> io::Result<Self> {
        let fd: OwnedFd = rustix::fs::openat(dir, name, handle::CREATE, Mode::RUSR | Mode::WUSR)?;
        Ok(Self {
            file: BufWriter::with_capacity(16 * 1024, File::from(fd)),
            end: 0,
        })
    }

    /// Closes it and returns how long it is, to be opened again.
    pub(crate) fn park(mut self) -> io::Result<u64> {
        self.file.flush()?;
        Ok(self.end)
    }

    /// Opens a log that was parked with this length.
    pub(crate) fn reopen(dir: BorrowedFd<'_>, name: &str, end: u64) -> io::Result<Self> {
        let fd = rustix::fs::openat(dir, name, handle::CHANGE, Mode::empty())?;
        let mut file = File::from(fd);
        let found = file.seek(SeekFrom::End(0))?;
        if found != end {
            let message = format!("{found} bytes of notes, expected {end}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(Self {
            file: BufWriter::with_capacity(16 * 1024, file),
            end,
        })
    }

    /// Appends a note and returns where it starts.
    pub(crate) fn push(&mut self, note: &[u8]) -> io::Result<u64> {
        let start = self.end;
        let length = u32::try_from(note.len()).map_err(io::Error::other)?;
        self.file.write_all(&length.to_le_bytes())?;
        self.file.write_all(note)?;
        self.end += 4 + u64::from(length);
        Ok(start)
    }

    /// Returns whether nothing was noted.
    pub(crate) fn is_empty(&self) -> bool {
        self.end == 0
    }

    /// Returns a reader over all notes up to now.
    pub(crate) fn notes(&mut self) -> io::Result<Notes> {
        self.file.flush()?;
        let file = self.file.get_ref().try_clone()?;
        Ok(Notes {
            file: BufReader::with_capacity(16 * 1024, FromStart { file, at: 0 }),
            left: self.end,
            at: 0,
        })
    }

    /// Returns the note that starts at `start`.
    pub(crate) fn note_at(&mut self, start: u64) -> io::Result<Vec<u8>> {
        self.file.flush()?;
        let file = self.file.get_ref();
        let mut length = [0; 4];
        file.read_exact_at(&mut length, start)?;
        let mut note = vec![0; u32::from_le_bytes(length) as usize];
        file.read_exact_at(&mut note, start + 4)?;
        Ok(note)
    }
}

/// Reads a file by offset, so that the writer's own place in it stays.
#[derive(Debug)]
struct FromStart {
    file: File,
    at: u64,
}

impl Read for FromStart {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buf, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Reads the notes of a [`Log`].
#[derive(Debug)]
pub(crate) struct Notes {
    file: BufReader<FromStart>,
    left: u64,
    at: u64,
}

impl Notes {
    /// Returns the next note and where it starts.
    pub(crate) fn next(&mut self) -> io::Result<Option<(u64, Vec<u8>)>> {
        if self.left == 0 {
            return Ok(None);
        }
        let mut length = [0; 4];
        self.file.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length);
        let mut note = vec![0; length as usize];
        self.file.read_exact(&mut note)?;
        let (start, size) = (self.at, 4 + u64::from(length));
        self.at += size;
        self.left = self.left.saturating_sub(size);
        Ok(Some((start, note)))
    }
}

/// Puts values behind each other.
#[derive(Debug, Default)]
pub(crate) struct Encoder(pub(crate) Vec<u8>);

impl Encoder {
    pub(crate) fn byte(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    pub(crate) fn number(&mut self, value: u64) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.number(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }
}

/// Takes values apart again.
#[derive(Debug)]
pub(crate) struct Decoder<'a>(pub(crate) &'a [u8]);

impl<'a> Decoder<'a> {
    fn take(&mut self, length: usize) -> io::Result<&'a [u8]> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or_else(|| io::Error::other("a note of the draft is torn"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn byte(&mut self) -> io::Result<u8> {
        self.take(1)
            .map(|taken| taken.first().copied().unwrap_or(0))
    }

    pub(crate) fn number(&mut self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(self.take(8)?);
        Ok(u64::from_le_bytes(bytes))
    }

    pub(crate) fn bytes(&mut self) -> io::Result<&'a [u8]> {
        let length = usize::try_from(self.number()?).map_err(io::Error::other)?;
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn notes_come_back_in_order_and_by_place() {
        let temp = tempfile::tempdir().unwrap();
        let dir = File::open(temp.path()).unwrap();
        let mut log = Log::create(dir.as_fd(), "log").unwrap();
        let starts: Vec<u64> = (0..2000_u32)
            .map(|n| log.push(format!("note {n}").as_bytes()).unwrap())
            .collect();
        let mut notes = log.notes().unwrap();
        log.push(b"later").unwrap();
        for (n, start) in starts.iter().enumerate() {
            assert_eq!(
                notes.next().unwrap(),
                Some((*start, format!("note {n}").into_bytes()))
            );
        }
        assert_eq!(notes.next().unwrap(), None);
        assert_eq!(log.note_at(starts[1234]).unwrap(), b"note 1234");
        let later = log.end - 9;
        assert_eq!(log.note_at(later).unwrap(), b"later");
        let end = log.park().unwrap();
        assert!(Log::reopen(dir.as_fd(), "log", end - 1).is_err());
        let mut log = Log::reopen(dir.as_fd(), "log", end).unwrap();
        log.push(b"last").unwrap();
        assert_eq!(log.note_at(later).unwrap(), b"later");
        assert_eq!(log.note_at(end).unwrap(), b"last");
    }
}
