//! The record of a tar whose payloads nobody keeps but the tree it is extracted to.

use std::io::{self, BufRead as _, Read, Seek, SeekFrom, Write};

use crate::crc64::Crc64;
use crate::error::SplitError;
use crate::frame::{Frame, Nowhere};
use crate::metadata::{Kind, Metadata};
use crate::names::{Collector, Names, Place};
use crate::pieces::{Pieces, ReadPieces};
use crate::record::{RecordSink, TextWriter};
use crate::split::{BUFFER, CHUNK, Summary, check_ambiguous, record_rest};

/// Records a tar for reassembly from the tree that it is extracted to.
///
/// Such a tree does not have every payload: of two entries for one place the last is there, a
/// sparse file has its holes, a file that became a folder is gone. These payloads stand in the
/// record itself, as raw segments of at most 1 MiB, so that the record and the tree always make
/// the tar again, and no two file entries of the record have one path. Everything else is recorded
/// as by a [`Splitter`](crate::Splitter).
///
/// What comes later in the stream decides, so this reads `source` into an unnamed temporary file
/// first. `copy` gets the stream, but only one that is accepted.
///
/// # Errors
/// When source, record or copy fail, or the source is no tar that can be given back.
pub fn disassemble(
    mut source: impl Read,
    record: impl Write,
    copy: Option<&mut dyn Write>,
) -> Result<Summary, SplitError> {
    let mut spool = tempfile::tempfile().map_err(|source| SplitError::Spool { source })?;
    let mut buffer = vec![0; BUFFER];
    let mut offset = 0;
    loop {
        match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => {
                let bytes = buffer.get(..length).unwrap_or_default();
                spool
                    .write_all(bytes)
                    .map_err(|source| SplitError::Spool { source })?;
                offset += length as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(SplitError::Io { offset, source }),
        }
    }
    spool
        .rewind()
        .map_err(|source| SplitError::Spool { source })?;
    disassemble_seekable(spool, record, copy)
}

/// [`disassemble`] for a source that can be read again: from where it stands to its end.
///
/// # Errors
/// As [`disassemble`]; also when the source is not the same the second time.
pub fn disassemble_seekable(
    mut source: impl Read + Seek,
    record: impl Write,
    copy: Option<&mut dyn Write>,
) -> Result<Summary, SplitError> {
    let io = |source| SplitError::Io { offset: 0, source };
    let start = source.stream_position().map_err(io)?;
    let mut collector = Collector::new();
    let mut trust = Trust::All;
    let cut = scan(&mut source, |place, frame| {
        if frame.disputed {
            trust = Trust::Nothing;
        }
        collector.add(place, &frame.metadata)
    })?;
    if cut && matches!(trust, Trust::All) {
        trust = Trust::AllBut(collector.len());
    }
    let mut names = collector.finish();
    source.seek(SeekFrom::Start(start)).map_err(io)?;
    scan(&mut source, |place, _| {
        names.mark_parents(place);
        Ok(())
    })?;
    source.seek(SeekFrom::Start(start)).map_err(io)?;
    write(Tee { source, copy }, record, &mut names, trust).map_err(blame_copy)
}

/// Which payloads an extracted tree can be trusted to have, as far as the archive's form tells.
#[derive(Clone, Copy)]
enum Trust {
    /// All that are not displaced.
    All,
    /// Not that of the last entry, which has this number: the archive ends in its padding, and
    /// some tools write whole blocks only.
    AllBut(u64),
    /// None: readers disagree on where a file goes, and it may land on any other.
    Nothing,
}

impl Trust {
    /// Whether the entry with this number, from 1, can be trusted.
    fn has(self, entry: u64) -> bool {
        match self {
            Self::All => true,
            Self::AllBut(last) => entry != last,
            Self::Nothing => false,
        }
    }
}

/// Visits every entry, without its payload. Returns whether the stream ends inside padding.
fn scan<R: Read + Seek>(
    source: R,
    mut visit: impl FnMut(&Place, &Frame<ReadPieces<R>>) -> Result<(), SplitError>,
) -> Result<bool, SplitError> {
    let mut frame = Frame::new(ReadPieces::new(source, BUFFER / 4));
    let mut place = Place::default();
    while frame.advance(&mut Nowhere)? {
        place.set(&frame.metadata.path);
        visit(&place, &frame)?;
        frame.payload.skip()?;
    }
    Ok(frame.cut)
}

/// Writes the record.
fn write(
    source: impl Read,
    record: impl Write,
    names: &mut Names,
    trust: Trust,
) -> Result<Summary, SplitError> {
    let mut frame = Frame::new(ReadPieces::new(source, BUFFER));
    let mut record = TextWriter::new(record);
    let mut place = Place::default();
    let mut payload_bytes = 0;
    let written = |source| SplitError::Record { source };
    while frame.advance(&mut record)? {
        record.end_segment().map_err(written)?;
        place.set(&frame.metadata.path);
        let Some(last) = names
            .last(&place)
            .filter(|last| u64::from(*last) + 1 >= frame.entries)
        else {
            return Err(changed(&frame));
        };
        payload_bytes += frame.metadata.stored;
        let displaced = u64::from(last) + 1 != frame.entries;
        let Metadata { stored, path, .. } = &frame.metadata;
        if displaced {
            raw_payload(&mut frame, &mut record)?;
        } else if *stored == 0 {
            let crc = (frame.recorded > 0).then_some(Crc64::EMPTY);
            record.file(path, frame.recorded, crc).map_err(written)?;
        } else if trust.has(frame.entries)
            && is_in_tree(&frame.metadata, &place)
            && !names.is_parent(last)
            && !names.is_blocked(&place)
        {
            frame.payload.drain()?;
            check_ambiguous(&frame)?;
            let crc = frame.payload.crc.finish();
            record
                .file(&frame.metadata.path, frame.recorded, Some(crc))
                .map_err(written)?;
        } else {
            record.file(path, 0, None).map_err(written)?;
            raw_payload(&mut frame, &mut record)?;
        }
    }
    if frame.entries != names.len() {
        return Err(changed(&frame));
    }
    record_rest(&mut frame, &mut record)?;
    let summary = Summary {
        bytes: frame.payload.source.offset(),
        entries: frame.entries,
        payload_bytes,
    };
    record.finish().map_err(written)?;
    Ok(summary)
}

/// Whether the extracted file has the payload as it stands in the tar, when nothing displaces it.
fn is_in_tree(metadata: &Metadata, place: &Place) -> bool {
    let file = match metadata.kind {
        Kind::Regular => true,
        // Solaris' extended headers are not extracted, what else is not known is as a file.
        Kind::Other(flag) => flag != b'X',
        _ => false,
    };
    // A sparse file without holes, whose map is not in the payload, is as good as any other.
    let dense = match &metadata.sparse {
        Some(sparse) => sparse.data_start == 0 && metadata.size == metadata.stored,
        None => true,
    };
    // To extracting tools a slash makes a folder of any file, and many want no dots at all.
    let mut parts = metadata.path.split(|byte| *byte == b'/');
    let plain = !metadata.path.ends_with(b"/") && !parts.any(|part| part == b"..");
    file && dense && plain && place.is_possible()
}

/// Puts the payload into the record.
fn raw_payload<P: Pieces>(
    frame: &mut Frame<P>,
    record: &mut impl RecordSink,
) -> Result<(), SplitError> {
    let written = |source| SplitError::Record { source };
    let mut room = CHUNK;
    loop {
        let there = frame.payload.peek()?;
        let length = there.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        if length == 0 {
            return record.end_segment().map_err(written);
        }
        record
            .add(there.get(..length).unwrap_or_default())
            .map_err(written)?;
        frame.payload.consume(length);
        room -= length as u64;
        if room == 0 {
            record.end_segment().map_err(written)?;
            room = CHUNK;
        }
    }
}

fn changed<P>(frame: &Frame<P>) -> SplitError {
    let Metadata { offset, path, .. } = &frame.metadata;
    SplitError::Changed {
        entry: frame.entries.saturating_sub(1),
        offset: *offset,
        name: path.clone(),
    }
}

/// Copies what is read.
struct Tee<'a, R> {
    source: R,
    copy: Option<&'a mut dyn Write>,
}

impl<R: Read> Read for Tee<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let length = self.source.read(out)?;
        if let Some(copy) = &mut self.copy {
            let bytes = out.get(..length).unwrap_or_default();
            let result = if length == 0 {
                copy.flush()
            } else {
                copy.write_all(bytes)
            };
            result.map_err(|error| io::Error::other(CopyFailed(error)))?;
        }
        Ok(length)
    }
}

/// Marks an error of the copy on its way through the reader.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the copy of the tar")]
struct CopyFailed(#[source] io::Error);

fn blame_copy(error: SplitError) -> SplitError {
    match error {
        SplitError::Io { offset, source } => match source.downcast::<CopyFailed>() {
            Ok(CopyFailed(source)) => SplitError::Copy { source },
            Err(source) => SplitError::Io { offset, source },
        },
        other => other,
    }
}
