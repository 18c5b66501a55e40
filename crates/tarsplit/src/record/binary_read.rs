//! Reads the binary form of a record.

use std::io::{self, Read};

use super::{FileEntry, MAGIC, NAME_LIMIT, PIECE, Step, VARINT, kind};
use crate::error::RecordError;
use crate::source::Source;

/// Room for the longest piece and what stands around it.
const BUFFER: usize = 128 << 10;

/// Reads a binary record from front to end, and makes sure that there is one.
pub(super) struct BinaryReader<B> {
    source: Source<B>,
    position: u64,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// In front of the magic bytes.
    Start,
    Between,
    /// Inside a segment.
    Inside,
    Done,
}

impl<B: Read> BinaryReader<B> {
    pub(super) fn new(record: B) -> Self {
        Self {
            source: Source::new(record, BUFFER),
            position: 0,
            state: State::Start,
        }
    }

    /// Finds the next entry; a segment's bytes replace those in `bytes`.
    pub(super) fn step(&mut self, bytes: &mut Vec<u8>) -> Result<Step, RecordError> {
        bytes.clear();
        match self.state {
            State::Start => self.magic()?,
            State::Done => return Ok(Step::End),
            State::Between | State::Inside => {}
        }
        let inside = self.state == State::Inside;
        let head = self.number()?;
        let (kind, length) = (head & 3, head >> 2);
        match kind {
            kind::MORE | kind::SEGMENT => {
                let piece = self.bytes(length, PIECE, "a piece of a segment")?;
                bytes.extend_from_slice(piece);
                self.source.consume(bytes.len());
                if kind == kind::MORE {
                    self.state = State::Inside;
                } else {
                    self.state = State::Between;
                    self.position += 1;
                }
                Ok(Step::Segment { start: !inside })
            }
            _ if inside => Err(self.damaged("its segment has no end".into())),
            kind::FILE => self.file(length).map(Step::File),
            _ => {
                self.end(length)?;
                self.state = State::Done;
                Ok(Step::End)
            }
        }
    }

    fn magic(&mut self) -> Result<(), RecordError> {
        let there = self.whole(MAGIC.len())?;
        if !there.starts_with(&MAGIC) {
            let text = match (there.split_last(), MAGIC.split_last()) {
                (Some((found, front)), Some((expected, magic))) if front == magic => {
                    format!("its version is {found}, expected {expected}")
                }
                _ => "it does not begin as a binary record does".to_owned(),
            };
            return Err(self.damaged(text));
        }
        self.source.consume(MAGIC.len());
        self.state = State::Between;
        Ok(())
    }

    fn file(&mut self, length: u64) -> Result<FileEntry, RecordError> {
        let has_crc = length & 1 == 1;
        let name = self.bytes(length >> 1, NAME_LIMIT, "a name")?.to_vec();
        self.source.consume(name.len());
        let size = self.number()?;
        let mut crc = None;
        if has_crc {
            crc = self.whole(8)?.first_chunk().copied();
            self.source.consume(8);
        }
        let position = self.position;
        self.position += 1;
        Ok(FileEntry {
            position,
            name,
            size,
            crc,
        })
    }

    /// Reads what says that nothing is missing, and finds nothing behind it.
    fn end(&mut self, length: u64) -> Result<(), RecordError> {
        let entries = self.number()?;
        if length != 0 || entries != self.position {
            let found = self.position;
            return Err(self.damaged(format!("its end names {entries} entries, found {found}")));
        }
        // Also makes a decoder below compare its checksum.
        if !self.at_least(1)?.is_empty() {
            return Err(self.damaged("bytes follow its end".into()));
        }
        Ok(())
    }

    /// A number in the shortest way to write it.
    fn number(&mut self) -> Result<u64, RecordError> {
        let there = self.at_least(VARINT)?;
        let mut value = 0;
        for (index, byte) in there.iter().take(VARINT).enumerate() {
            let bits = u64::from(byte & 0x7f);
            let shifted = bits << (7 * index);
            if shifted >> (7 * index) != bits || index > 0 && *byte == 0 {
                return Err(self.damaged("a number is not written as it must be".into()));
            }
            value |= shifted;
            if byte & 0x80 == 0 {
                self.source.consume(index + 1);
                return Ok(value);
            }
        }
        if there.len() < VARINT {
            return Err(self.torn());
        }
        Err(self.damaged("a number is too long".into()))
    }

    /// The next `length` bytes, which are `what` and may be `limit` at most.
    fn bytes(&mut self, length: u64, limit: usize, what: &str) -> Result<&[u8], RecordError> {
        match usize::try_from(length) {
            Ok(length) if length <= limit => self.whole(length),
            _ => Err(self.damaged(format!(
                "{what} has {length} bytes, expected at most {limit}"
            ))),
        }
    }

    /// The next `length` bytes, not consumed.
    fn whole(&mut self, length: usize) -> Result<&[u8], RecordError> {
        if self.at_least(length)?.len() < length {
            return Err(self.torn());
        }
        Ok(self.source.buffered().get(..length).unwrap_or_default())
    }

    fn at_least(&mut self, length: usize) -> Result<&[u8], RecordError> {
        let offset = self.source.offset();
        if let Err(source) = self.source.ensure(length) {
            // What a decoder says that finds its own end missing.
            return Err(if source.kind() == io::ErrorKind::UnexpectedEof {
                self.torn()
            } else {
                RecordError::Io { offset, source }
            });
        }
        Ok(self.source.buffered())
    }

    fn torn(&self) -> RecordError {
        RecordError::Torn {
            position: self.position,
            offset: self.source.offset() + self.source.buffered().len() as u64,
        }
    }

    fn damaged(&self, reason: String) -> RecordError {
        RecordError::Damaged {
            position: self.position,
            offset: self.source.offset(),
            reason,
        }
    }
}
