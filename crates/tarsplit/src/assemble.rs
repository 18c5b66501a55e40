//! Puts a tar together again.

use std::io::{self, Read, Write};

use crate::crc64::Crc64;
use crate::error::AssembleError;
use crate::header::{BLOCK, Block, is_header_only};
use crate::record::{FileEntry, RecordReader, Step};

/// Where the payloads are.
pub trait FileGetter {
    /// Opens the payload of a file entry. What it reads as must be as long as the entry says.
    ///
    /// # Errors
    /// When it is not there, or is nothing to read from.
    fn open(&mut self, entry: &FileEntry) -> io::Result<Box<dyn Read + Send>>;
}

impl<F: FnMut(&FileEntry) -> io::Result<Box<dyn Read + Send>>> FileGetter for F {
    fn open(&mut self, entry: &FileEntry) -> io::Result<Box<dyn Read + Send>> {
        self(entry)
    }
}

/// Reads as the tar that a record and its payloads make.
///
/// Every payload's length and CRC-64 is compared with the record. What does not fit is an
/// [`io::Error`] that wraps an [`AssembleError`]; bytes in front of it were given out by then, so
/// only a stream that was read to its end is right.
pub struct Assembler<B, G> {
    record: RecordReader<B>,
    getter: G,
    segment: Vec<u8>,
    /// How much of the segment was given out.
    given: usize,
    /// The last bytes of the segment, or of its pieces so far.
    tail: Tail,
    file: Option<Open>,
    crc: Crc64,
    state: State,
    total: u64,
}

enum State {
    Running,
    Done,
    /// An error waits for the next call, because bytes in front of it had to go first.
    Failing(AssembleError),
    Failed,
}

/// A payload on its way.
struct Open {
    entry: FileEntry,
    expected: [u8; 8],
    reader: Box<dyn Read + Send>,
    remaining: u64,
}

/// The last block of a segment.
struct Tail {
    block: Block,
    length: usize,
}

impl<B: Read, G: FileGetter> Assembler<B, G> {
    /// Assembles what `record` (plain text) describes, with payloads from `getter`.
    pub fn new(record: B, getter: G) -> Self {
        Self::reading(RecordReader::new(record), getter)
    }

    /// Assembles what `record` describes, whatever its form, with payloads from `getter`.
    pub fn reading(record: RecordReader<B>, getter: G) -> Self {
        Self {
            record,
            getter,
            segment: Vec::new(),
            given: 0,
            tail: Tail {
                block: [0; BLOCK],
                length: 0,
            },
            file: None,
            crc: Crc64::new(),
            state: State::Running,
            total: 0,
        }
    }

    /// Fills `out` as far as it goes. Less than its length means the end.
    fn fill(&mut self, out: &mut [u8]) -> Result<usize, AssembleError> {
        match std::mem::replace(&mut self.state, State::Failed) {
            State::Running => self.state = State::Running,
            State::Done => {
                self.state = State::Done;
                return Ok(0);
            }
            State::Failing(error) => return Err(error),
            State::Failed => return Err(AssembleError::Stopped),
        }
        let mut filled = 0;
        while let Some(space) = out.get_mut(filled..).filter(|space| !space.is_empty()) {
            match self.some(space) {
                Ok(Some(length)) => filled += length,
                Ok(None) => {
                    self.state = State::Done;
                    break;
                }
                Err(error) if filled == 0 => {
                    self.state = State::Failed;
                    return Err(error);
                }
                Err(error) => {
                    self.state = State::Failing(error);
                    break;
                }
            }
        }
        self.total += filled as u64;
        Ok(filled)
    }

    /// The next bytes of the stream into `space`, maybe none. `None` at the end.
    fn some(&mut self, space: &mut [u8]) -> Result<Option<usize>, AssembleError> {
        if let Some(rest) = self
            .segment
            .get(self.given..)
            .filter(|rest| !rest.is_empty())
        {
            let length = rest.len().min(space.len());
            let (from, to) = (rest.get(..length), space.get_mut(..length));
            if let (Some(from), Some(to)) = (from, to) {
                to.copy_from_slice(from);
            }
            self.given += length;
            return Ok(Some(length));
        }
        if self.file.is_some() {
            return self.payload(space).map(Some);
        }
        self.given = 0;
        match self.record.step(&mut self.segment)? {
            Step::End => return Ok(None),
            Step::Segment { start } => self.tail.add(start, &self.segment),
            Step::File(entry) => self.open(entry)?,
        }
        Ok(Some(0))
    }

    /// Opens the payload of an entry that has one.
    fn open(&mut self, entry: FileEntry) -> Result<(), AssembleError> {
        if entry.size == 0 {
            return Ok(());
        }
        let Some(expected) = entry.crc else {
            let FileEntry {
                name,
                position,
                size,
                ..
            } = entry;
            return Err(AssembleError::NoChecksum {
                name,
                position,
                size,
            });
        };
        if expected == Crc64::EMPTY && self.tail.says_no_payload(&entry.name) {
            return Ok(());
        }
        let reader = self
            .getter
            .open(&entry)
            .map_err(|source| AssembleError::Open {
                name: entry.name.clone(),
                position: entry.position,
                source,
            })?;
        self.crc.reset();
        self.file = Some(Open {
            remaining: entry.size,
            entry,
            expected,
            reader,
        });
        Ok(())
    }

    /// The next bytes of the open payload.
    fn payload(&mut self, space: &mut [u8]) -> Result<usize, AssembleError> {
        let Some(file) = &mut self.file else {
            return Ok(0);
        };
        if file.remaining == 0 {
            file.finish(&self.crc)?;
            self.file = None;
            return Ok(0);
        }
        let want = usize::try_from(file.remaining)
            .unwrap_or(usize::MAX)
            .min(space.len());
        let length = file.read(space.get_mut(..want).unwrap_or_default())?;
        if length == 0 {
            return Err(file.length(file.entry.size - file.remaining, false));
        }
        self.crc.update(space.get(..length).unwrap_or_default());
        file.remaining -= length as u64;
        Ok(length)
    }
}

impl Open {
    fn read(&mut self, space: &mut [u8]) -> Result<usize, AssembleError> {
        let room = space.len();
        loop {
            match self.reader.read(space) {
                Ok(length) => return Ok(length.min(room)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    let FileEntry { name, position, .. } = &self.entry;
                    return Err(AssembleError::Read {
                        name: name.clone(),
                        position: *position,
                        source,
                    });
                }
            }
        }
    }

    /// Checks that the file ends here, and that it is the one.
    fn finish(&mut self, crc: &Crc64) -> Result<(), AssembleError> {
        if self.read(&mut [0])? > 0 {
            return Err(self.length(self.entry.size, true));
        }
        let (expected, found) = (self.expected, crc.finish());
        if expected != found {
            let FileEntry { name, position, .. } = &self.entry;
            return Err(AssembleError::Checksum {
                name: name.clone(),
                position: *position,
                expected,
                found,
            });
        }
        Ok(())
    }

    fn length(&self, found: u64, more: bool) -> AssembleError {
        let FileEntry {
            name,
            position,
            size: expected,
            ..
        } = &self.entry;
        AssembleError::Length {
            name: name.clone(),
            position: *position,
            expected: *expected,
            found,
            more,
        }
    }
}

impl Tail {
    fn add(&mut self, start: bool, piece: &[u8]) {
        if start {
            self.length = 0;
        }
        if let Some(block) = piece.last_chunk::<BLOCK>() {
            self.block = *block;
            self.length = BLOCK;
            return;
        }
        let kept = self.length.min(BLOCK - piece.len());
        self.block.copy_within(self.length - kept..self.length, 0);
        if let Some(space) = self.block.get_mut(kept..kept + piece.len()) {
            space.copy_from_slice(piece);
        }
        self.length = kept + piece.len();
    }

    /// Whether an entry whose checksum is that of nothing has no payload. The header in front of
    /// it knows; without one it is what the checksum says.
    fn says_no_payload(&self, name: &[u8]) -> bool {
        self.length < BLOCK || is_header_only(&self.block, name)
    }
}

impl<B: Read, G: FileGetter> Read for Assembler<B, G> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        Ok(self.fill(out)?)
    }
}

/// Writes the tar that `record` (plain text) describes to `out`. Returns its length.
///
/// # Errors
/// When the record is damaged, a payload is missing or is not what it was, or `out` fails. What
/// was written by then is the front of the tar.
pub fn assemble<B: Read, G: FileGetter, O: Write>(
    record: B,
    getter: G,
    mut out: O,
) -> Result<u64, AssembleError> {
    let mut assembler = Assembler::new(record, getter);
    let mut buffer = vec![0; 256 << 10];
    let mut offset = 0;
    loop {
        let length = assembler.fill(&mut buffer)?;
        if length == 0 {
            out.flush()
                .map_err(|source| AssembleError::Write { offset, source })?;
            return Ok(offset);
        }
        out.write_all(buffer.get(..length).unwrap_or_default())
            .map_err(|source| AssembleError::Write { offset, source })?;
        offset += length as u64;
    }
}
