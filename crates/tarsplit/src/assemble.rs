//! Puts a tar together again.

use std::io::{self, Read, Write};

use crate::crc64::Crc64;
use crate::error::AssembleError;
use crate::record::{FileEntry, RecordReader};
use crate::runs::{Item, Payload, Run, Runs};

/// Where the payloads are.
pub trait FileGetter {
    /// Opens the payload of a file entry. What it reads as must be as long as the entry says.
    ///
    /// # Errors
    /// When it is not there, or is nothing to read from.
    fn open(&mut self, entry: &FileEntry) -> io::Result<Box<dyn Read + Send>>;

    /// The same for whoever knows how long the payload is without reading it: nobody then reads
    /// on to find its end.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    fn open_sized(&mut self, entry: &FileEntry) -> io::Result<(Box<dyn Read + Send>, Option<u64>)> {
        Ok((self.open(entry)?, None))
    }
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
    runs: Runs<B>,
    parts: Parts<G>,
    state: State,
}

/// Reads as one [`Run`] of a tar, then as the next: several of these put a tar together side by
/// side.
///
/// All that an [`Assembler`] checks is checked here.
pub struct RunReader<G> {
    parts: Parts<G>,
    state: State,
}

enum State {
    Running,
    Done,
    /// An error waits for the next call, because bytes in front of it had to go first.
    Failing(AssembleError),
    Failed,
}

/// What is left of a run.
struct Parts<G> {
    getter: G,
    run: Run,
    /// How many of the run's bytes were given out.
    given: usize,
    file: Option<Open>,
    crc: Crc64,
}

/// A payload on its way.
struct Open {
    entry: FileEntry,
    expected: [u8; 8],
    reader: Box<dyn Read + Send>,
    remaining: u64,
    /// Whether the reader said how long it is.
    sized: bool,
}

/// How much of a record is looked at in one go.
const RUN: usize = 256 << 10;

impl<B: Read, G: FileGetter> Assembler<B, G> {
    /// Assembles what `record` (plain text) describes, with payloads from `getter`.
    pub fn new(record: B, getter: G) -> Self {
        Self::reading(RecordReader::new(record), getter)
    }

    /// Assembles what `record` describes, whatever its form, with payloads from `getter`.
    pub fn reading(record: RecordReader<B>, getter: G) -> Self {
        Self {
            runs: Runs::new(record),
            parts: Parts::new(getter),
            state: State::Running,
        }
    }

    /// Fills `out` as far as it goes. Less than its length means the end.
    fn fill(&mut self, out: &mut [u8]) -> Result<usize, AssembleError> {
        let Self { runs, parts, state } = self;
        state.fill(out, |space| {
            let length = parts.some(space)?;
            Ok(length.or_else(|| {
                parts.begin(runs.next_run(RUN)?);
                Some(0)
            }))
        })
    }
}

impl<G: FileGetter> RunReader<G> {
    /// Reads nothing until a run is given.
    pub fn new(getter: G) -> Self {
        Self {
            parts: Parts::new(getter),
            state: State::Done,
        }
    }

    /// Goes on with `run`; what was left of the one before is forgotten.
    pub fn begin(&mut self, run: Run) {
        self.parts.begin(run);
        self.state = State::Running;
    }
}

impl State {
    /// Fills `out` with what `some` gives, as far as it goes. Less than its length means the end,
    /// or that an error comes next.
    fn fill(
        &mut self,
        out: &mut [u8],
        mut some: impl FnMut(&mut [u8]) -> Result<Option<usize>, AssembleError>,
    ) -> Result<usize, AssembleError> {
        match std::mem::replace(self, State::Failed) {
            State::Running => *self = State::Running,
            State::Done => {
                *self = State::Done;
                return Ok(0);
            }
            State::Failing(error) => return Err(error),
            State::Failed => return Err(AssembleError::Stopped),
        }
        let mut filled = 0;
        while let Some(space) = out.get_mut(filled..).filter(|space| !space.is_empty()) {
            match some(space) {
                Ok(Some(length)) => filled += length,
                Ok(None) => {
                    *self = State::Done;
                    break;
                }
                Err(error) if filled == 0 => {
                    *self = State::Failed;
                    return Err(error);
                }
                Err(error) => {
                    *self = State::Failing(error);
                    break;
                }
            }
        }
        Ok(filled)
    }
}

impl<G: FileGetter> Parts<G> {
    fn new(getter: G) -> Self {
        Self {
            getter,
            run: Run::default(),
            given: 0,
            file: None,
            crc: Crc64::new(),
        }
    }

    fn begin(&mut self, run: Run) {
        self.run = run;
        self.given = 0;
        self.file = None;
    }

    /// The next bytes of the run into `space`, maybe none. `None` at its end.
    fn some(&mut self, space: &mut [u8]) -> Result<Option<usize>, AssembleError> {
        if self.file.is_some() {
            return self.payload(space).map(Some);
        }
        match self.run.items.front_mut() {
            Some(Item::Bytes(left)) => {
                let length = (*left).min(space.len());
                let from = self.run.bytes.get(self.given..self.given + length);
                if let (Some(from), Some(to)) = (from, space.get_mut(..length)) {
                    to.copy_from_slice(from);
                }
                self.given += length;
                *left -= length;
                if *left == 0 {
                    self.run.items.pop_front();
                }
                return Ok(Some(length));
            }
            Some(Item::Payload(_)) => {}
            None => return self.run.error.take().map_or(Ok(None), Err),
        }
        if let Some(Item::Payload(payload)) = self.run.items.pop_front() {
            self.file = Some(self.open(payload)?);
            self.crc.reset();
        }
        Ok(Some(0))
    }

    fn open(&mut self, payload: Payload) -> Result<Open, AssembleError> {
        let Payload { entry, expected } = payload;
        let opened = self.getter.open_sized(&entry);
        let (reader, length) = opened.map_err(|source| AssembleError::Open {
            name: entry.name.clone(),
            position: entry.position,
            source,
        })?;
        let file = Open {
            remaining: entry.size,
            entry,
            expected,
            reader,
            sized: length.is_some(),
        };
        match length {
            Some(found) if found != file.remaining => Err(file.length(found, false)),
            _ => Ok(file),
        }
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
        if !self.sized && self.read(&mut [0])? > 0 {
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

impl<B: Read, G: FileGetter> Read for Assembler<B, G> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        Ok(self.fill(out)?)
    }
}

impl<G: FileGetter> Read for RunReader<G> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let Self { parts, state } = self;
        Ok(state.fill(out, |space| parts.some(space))?)
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
