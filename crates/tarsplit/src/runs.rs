//! Cuts a record into runs that can be put together side by side.

use std::collections::VecDeque;
use std::io::Read;

use crate::crc64::Crc64;
use crate::error::AssembleError;
use crate::header::{BLOCK, Block, is_header_only};
use crate::record::{FileEntry, RecordReader, Step};

/// Reads a record and gives the tar that it describes as runs, one behind the other.
///
/// Only this has to be done in order: a [`RunReader`](crate::RunReader) puts a run together
/// without knowing of any other.
pub struct Runs<B> {
    record: RecordReader<B>,
    /// The last bytes of the segment, or of its pieces so far.
    tail: Tail,
    segment: Vec<u8>,
    /// What did not fit into the run before.
    held: Option<Held>,
    ended: bool,
}

/// A part of a tar: what stands in it, and which payloads.
#[derive(Default)]
pub struct Run {
    pub(crate) bytes: Vec<u8>,
    pub(crate) items: VecDeque<Item>,
    /// Why nothing comes behind it.
    pub(crate) error: Option<AssembleError>,
    length: u64,
}

pub(crate) enum Item {
    /// So many of the run's bytes.
    Bytes(usize),
    Payload(Payload),
}

pub(crate) struct Payload {
    pub(crate) entry: FileEntry,
    pub(crate) expected: [u8; 8],
}

enum Held {
    Segment,
    Payload(Payload),
}

impl<B: Read> Runs<B> {
    /// Cuts what `record` describes.
    pub fn new(record: RecordReader<B>) -> Self {
        Self {
            record,
            tail: Tail {
                block: [0; BLOCK],
                length: 0,
            },
            segment: Vec::new(),
            held: None,
            ended: false,
        }
    }

    /// Returns the next run, `None` behind the last. It has about `length` bytes at most, unless it
    /// is a single payload.
    ///
    /// A record that cannot be read gives a run that ends in the error, so that what comes in front
    /// of it comes first.
    pub fn next_run(&mut self, length: usize) -> Option<Run> {
        let mut run = Run::default();
        while !self.ended {
            let next = match self.held.take() {
                Some(held) => Ok(Some(held)),
                None => self.step(),
            };
            let held = match next {
                Ok(Some(held)) => held,
                Ok(None) => continue,
                Err(error) => {
                    self.ended = true;
                    run.error = Some(error);
                    break;
                }
            };
            let more = match &held {
                Held::Segment => self.segment.len() as u64,
                Held::Payload(payload) => payload.entry.size,
            };
            if run.length > 0 && run.length.saturating_add(more) > length as u64 {
                self.held = Some(held);
                return Some(run);
            }
            run.length = run.length.saturating_add(more);
            run.items.push_back(match held {
                Held::Segment => {
                    run.bytes.extend_from_slice(&self.segment);
                    Item::Bytes(self.segment.len())
                }
                Held::Payload(payload) => Item::Payload(payload),
            });
        }
        (run.length > 0 || run.error.is_some()).then_some(run)
    }

    /// What stands next. `None` for entries without payload, and at the end.
    fn step(&mut self) -> Result<Option<Held>, AssembleError> {
        Ok(match self.record.step(&mut self.segment)? {
            Step::End => {
                self.ended = true;
                None
            }
            Step::Segment { start } => {
                self.tail.add(start, &self.segment);
                (!self.segment.is_empty()).then_some(Held::Segment)
            }
            Step::File(entry) => self.payload(entry)?.map(Held::Payload),
        })
    }

    /// The payload of an entry that has one.
    fn payload(&self, entry: FileEntry) -> Result<Option<Payload>, AssembleError> {
        if entry.size == 0 {
            return Ok(None);
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
            return Ok(None);
        }
        Ok(Some(Payload { entry, expected }))
    }
}

/// The last block of a segment.
struct Tail {
    block: Block,
    length: usize,
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
