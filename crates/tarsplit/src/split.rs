//! Takes a tar apart: payloads to the caller, everything else into the record.

use std::io::{self, BufRead, Read, Write};

use bytes::Bytes;

use crate::crc64::Crc64;
use crate::error::SplitError;
use crate::frame::Frame;
use crate::header::is_header_only;
use crate::metadata::Metadata;
use crate::pieces::{PayloadReader, Pieces, ReadPieces};
use crate::record::{RecordSink, TextWriter};

/// How much is read at once. It fits the second cache of any processor of today.
pub(crate) const BUFFER: usize = 256 << 10;
/// The length of a segment of what stands behind the end.
pub(crate) const CHUNK: u64 = 1 << 20;

/// Reads a tar, yields its entries, and writes the record as it goes.
///
/// Whatever the caller does with the payloads, the record gives the stream back to the byte once
/// each payload can be had again; a payload that nobody reads is read here and summed.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let tar = [0; 1024];
/// use lith_tarsplit::Splitter;
/// use std::io::Read;
///
/// let mut splitter = Splitter::new(&tar[..], Vec::new());
/// while let Some(mut entry) = splitter.next_entry()? {
///     let mut payload = Vec::new();
///     entry.read_to_end(&mut payload)?;
/// }
/// let (record, summary) = splitter.finish()?;
/// assert_eq!(summary.bytes, 1024);
/// # assert!(record.starts_with(b"{\"type\":2,"));
/// # Ok(())
/// # }
/// ```
pub struct Splitter<P: Pieces, S: RecordSink> {
    frame: Frame<P>,
    record: S,
    state: State,
    payload_bytes: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// In front of a header.
    Between,
    /// An entry was handed out.
    InEntry,
    /// The source was read to its end.
    Done,
    Failed,
}

/// Totals of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Summary {
    /// Bytes of the whole stream.
    pub bytes: u64,
    /// Entries in it.
    pub entries: u64,
    /// Bytes of all payloads, as they stand in the stream.
    pub payload_bytes: u64,
}

impl<R: Read, W: Write> Splitter<ReadPieces<R>, TextWriter<W>> {
    /// Splits `source`, writes the record to `record`: plain text, in large pieces.
    pub fn new(source: R, record: W) -> Self {
        Self::recording(ReadPieces::new(source, BUFFER), TextWriter::new(record))
    }
}

impl<P: Pieces, S: RecordSink> Splitter<P, S> {
    /// Splits a stream that comes in pieces, none of which is copied; `record` decides on the
    /// form of the record.
    pub fn recording(pieces: P, record: S) -> Self {
        Self {
            frame: Frame::new(pieces),
            record,
            state: State::Between,
            payload_bytes: 0,
        }
    }

    /// Returns the next entry. What was left of the one before is read first.
    ///
    /// `None` comes once the whole source was read to its very end, whatever stands there behind
    /// the end of the archive, and was recorded.
    ///
    /// # Errors
    /// When source or record fail, or the source is no tar that can be given back. It can not go
    /// on after that.
    pub fn next_entry(&mut self) -> Result<Option<Entry<'_, P, S>>, SplitError> {
        match std::mem::replace(&mut self.state, State::Failed) {
            State::Failed => return Err(SplitError::Unfinished),
            State::Done => {
                self.state = State::Done;
                return Ok(None);
            }
            State::InEntry => self.end_entry()?,
            State::Between => {}
        }
        if !self.frame.advance(&mut self.record)? {
            self.end()?;
            self.state = State::Done;
            return Ok(None);
        }
        self.record
            .end_segment()
            .map_err(|source| SplitError::Record { source })?;
        self.frame.metadata.position = self.record.position();
        self.state = State::InEntry;
        Ok(Some(Entry { splitter: self }))
    }

    /// Ends the record and returns its writer, flushed, and the totals.
    ///
    /// # Errors
    /// When [`next_entry`](Self::next_entry) has not given `None`, or the record fails.
    pub fn finish(self) -> Result<(S::Written, Summary), SplitError> {
        if self.state != State::Done {
            return Err(SplitError::Unfinished);
        }
        let summary = Summary {
            bytes: self.frame.payload.source.offset(),
            entries: self.frame.entries,
            payload_bytes: self.payload_bytes,
        };
        let record = self
            .record
            .finish()
            .map_err(|source| SplitError::Record { source })?;
        Ok((record, summary))
    }

    /// Reads the rest of the payload and records the entry.
    fn end_entry(&mut self) -> Result<(), SplitError> {
        self.frame.payload.drain()?;
        let Frame {
            payload,
            metadata,
            recorded,
            ..
        } = &self.frame;
        let crc = match (metadata.stored, recorded) {
            (0, 0) => None,
            // A header without payload that claims one.
            (0, _) => Some(Crc64::EMPTY),
            _ => Some(payload.crc.finish()),
        };
        if metadata.stored > 0 {
            check_ambiguous(&self.frame)?;
        }
        self.record
            .file(&metadata.path, *recorded, crc)
            .map_err(|source| SplitError::Record { source })?;
        self.payload_bytes += metadata.stored;
        Ok(())
    }

    /// Records what stands behind the end of the archive.
    fn end(&mut self) -> Result<(), SplitError> {
        record_rest(&mut self.frame, &mut self.record)
    }
}

/// Refuses the one payload that a record can not tell from none: its checksum is 0 *and* the block
/// in front of it, the last of a sparse map, was made to look like the header of a link.
pub(crate) fn check_ambiguous<P: Pieces>(frame: &Frame<P>) -> Result<(), SplitError> {
    let Metadata { offset, path, .. } = &frame.metadata;
    if frame.payload.crc.finish() == Crc64::EMPTY && is_header_only(&frame.last_block, path) {
        let reason = "its payload has the checksum of nothing and its sparse map ends like a link";
        return Err(SplitError::Header {
            entry: frame.payload.entry,
            offset: *offset,
            name: path.clone(),
            reason,
        });
    }
    Ok(())
}

/// Records everything to the end of the source, in segments of [`CHUNK`].
pub(crate) fn record_rest<P: Pieces>(
    frame: &mut Frame<P>,
    record: &mut impl RecordSink,
) -> Result<(), SplitError> {
    let written = |source| SplitError::Record { source };
    record.end_segment().map_err(written)?;
    let source = &mut frame.payload.source;
    let mut room = CHUNK;
    loop {
        let offset = source.offset();
        let there = source
            .fill()
            .map_err(|source| SplitError::Io { offset, source })?;
        let length = there.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        if length == 0 {
            return record.end_segment().map_err(written);
        }
        record
            .add(there.get(..length).unwrap_or_default())
            .map_err(written)?;
        source.consume(length);
        room -= length as u64;
        if room == 0 {
            record.end_segment().map_err(written)?;
            room = CHUNK;
        }
    }
}

/// An entry of a tar that is being split.
///
/// Reads as its payload: the bytes as they stand in the tar, exactly as many as
/// [`Metadata::stored`] says, or an error; a wrapped [`SplitError`] names the entry.
pub struct Entry<'a, P: Pieces, S: RecordSink> {
    splitter: &'a mut Splitter<P, S>,
}

impl<P: Pieces, S: RecordSink> Entry<'_, P, S> {
    /// What the entry says about its file.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.splitter.frame.metadata
    }

    /// Returns metadata and payload at once, for whoever needs both.
    pub fn into_parts(&mut self) -> (&Metadata, &mut dyn PayloadReader) {
        let Frame {
            metadata, payload, ..
        } = &mut self.splitter.frame;
        (metadata, payload)
    }
}

impl<P: Pieces, S: RecordSink> Read for Entry<'_, P, S> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.splitter.frame.payload.read(out)
    }
}

impl<P: Pieces, S: RecordSink> BufRead for Entry<'_, P, S> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.splitter.frame.payload.fill_buf()
    }

    fn consume(&mut self, length: usize) {
        self.splitter.frame.payload.consume(length);
    }
}

impl<P: Pieces, S: RecordSink> PayloadReader for Entry<'_, P, S> {
    fn take_piece(&mut self) -> io::Result<Bytes> {
        self.splitter.frame.payload.take_piece()
    }
}
