//! The record: everything about a tar but its payloads, in either of two forms.
//!
//! The *text* is that of the field, JSON lines. The *binary* form says the same in a tenth of the
//! time, and each can be made from the other.

mod binary_read;
mod binary_write;
mod text_read;
mod text_write;

use std::io::{self, Read};

use crate::error::{ConvertError, RecordError};
use crate::frame::Sink;
use binary_read::BinaryReader;
use text_read::TextReader;

pub use binary_write::BinaryWriter;
pub use text_write::TextWriter;

/// How a binary record begins; the last byte is the version of the form.
const MAGIC: [u8; 8] = *b"\x89tarrec\x01";
/// The most bytes of a segment that stand together in a binary record.
const PIECE: usize = 64 << 10;
/// The longest name that a binary record has.
const NAME_LIMIT: usize = 16 << 20;
/// The longest number in a binary record: seven bits a byte.
const VARINT: usize = 10;

/// What stands next in a binary record, told by the lowest two bits of the number in front of it.
/// The others are how many bytes follow; for a file twice that, plus one when it has a checksum.
mod kind {
    /// The end. The number of entries follows.
    pub(super) const END: u64 = 0;
    /// Bytes of a segment that goes on behind them.
    pub(super) const MORE: u64 = 1;
    /// The last bytes of a segment.
    pub(super) const SEGMENT: u64 = 2;
    /// The name of a file; its size follows, then its checksum.
    pub(super) const FILE: u64 = 3;
}

/// A file entry of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// Its place among all entries, counted from 0.
    pub position: u64,
    /// The file's name, as the tar had it.
    pub name: Vec<u8>,
    /// Length of the payload.
    pub size: u64,
    /// CRC-64 of the payload.
    pub crc: Option<[u8; 8]>,
}

/// One entry of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordItem {
    /// A payload stands here in the tar: that of this file.
    File(FileEntry),
    /// These bytes stand here in the tar. A segment that is longer than a reader may hold comes in
    /// several pieces.
    Segment(Vec<u8>),
}

/// What a record is written to: [`TextWriter`] or [`BinaryWriter`].
///
/// Segments and files come in the order of the tar. The record is whole once
/// [`finish`](Self::finish) has returned.
pub trait RecordSink {
    /// What is left of the writer when the record is whole.
    type Written;

    /// The position that the next entry gets, counted from 0.
    fn position(&self) -> u64;

    /// Adds to the current segment, or begins one. No bytes begin none.
    ///
    /// # Errors
    /// What the writer below says, as for all of these.
    fn add(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Begins a segment, which is there even when nothing is added to it.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    fn begin_segment(&mut self) -> io::Result<()>;

    /// Ends the segment, if there is one.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    fn end_segment(&mut self) -> io::Result<()>;

    /// Adds a file, after ending the current segment.
    ///
    /// # Errors
    /// As [`add`](Self::add); also for a name that the form has no room for.
    fn file(&mut self, name: &[u8], size: u64, crc: Option<[u8; 8]>) -> io::Result<()>;

    /// Ends the record and gives its writer back, flushed.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    fn finish(self) -> io::Result<Self::Written>;
}

impl<S: RecordSink> Sink for S {
    fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.add(bytes)
    }
}

/// What a reader found.
pub(crate) enum Step {
    File(FileEntry),
    /// The bytes are in the caller's buffer; whether the segment starts with them.
    Segment {
        start: bool,
    },
    End,
}

/// Reads a record.
///
/// Of the text, JSON objects, usually one a line, any valid spelling will do: unknown keys are
/// passed over, the order of entries counts and not their `position`, an empty last segment is as
/// good as none. A record that ends inside an entry is damaged, and a binary one that has no end.
pub struct RecordReader<B> {
    form: Form<B>,
    segment: Vec<u8>,
}

enum Form<B> {
    Text(TextReader<B>),
    Binary(BinaryReader<B>),
}

impl<B: Read> RecordReader<B> {
    /// Reads plain text from `record`: not compressed.
    pub fn new(record: B) -> Self {
        Self {
            form: Form::Text(TextReader::new(record)),
            segment: Vec::new(),
        }
    }

    /// Reads the binary form from `record`: not compressed.
    pub fn binary(record: B) -> Self {
        Self {
            form: Form::Binary(BinaryReader::new(record)),
            segment: Vec::new(),
        }
    }

    /// Returns the next entry, `None` after the last.
    ///
    /// # Errors
    /// When the record can not be read, is none, or ends inside an entry. Nothing after that
    /// is worth reading.
    pub fn next_item(&mut self) -> Result<Option<RecordItem>, RecordError> {
        let mut segment = std::mem::take(&mut self.segment);
        Ok(match self.step(&mut segment)? {
            Step::File(file) => Some(RecordItem::File(file)),
            Step::Segment { .. } => Some(RecordItem::Segment(segment)),
            Step::End => None,
        })
    }

    /// Writes all that is left to `sink`: the same record, in the form that the sink has.
    ///
    /// Of a text as the reference writes it, the binary form makes the same text again, to the byte.
    ///
    /// # Errors
    /// When the record can not be read to its end, or `sink` fails.
    pub fn copy_to<S: RecordSink>(mut self, mut sink: S) -> Result<S::Written, ConvertError> {
        let written = |source| ConvertError::Write { source };
        let mut segment = std::mem::take(&mut self.segment);
        loop {
            match self.step(&mut segment)? {
                Step::File(FileEntry {
                    name, size, crc, ..
                }) => sink.file(&name, size, crc),
                Step::Segment { start: true } => {
                    sink.begin_segment().and_then(|()| sink.add(&segment))
                }
                Step::Segment { start: false } => sink.add(&segment),
                Step::End => return sink.finish().map_err(written),
            }
            .map_err(written)?;
        }
    }

    /// Finds the next entry; a segment's bytes replace those in `bytes`.
    pub(crate) fn step(&mut self, bytes: &mut Vec<u8>) -> Result<Step, RecordError> {
        match &mut self.form {
            Form::Text(text) => text.step(bytes),
            Form::Binary(binary) => binary.step(bytes),
        }
    }
}
