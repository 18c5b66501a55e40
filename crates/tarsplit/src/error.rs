//! What can go wrong, with the entry it went wrong at.

use std::fmt;
use std::io;

/// A name from an archive, made safe to print.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Shown<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A name can be a megabyte long; a message should not.
        const LONGEST: usize = 512;
        let (shown, cut) = match self.0.get(..LONGEST) {
            Some(start) if self.0.len() > LONGEST => (start, true),
            _ => (self.0, false),
        };
        f.write_str("\"")?;
        for chunk in shown.utf8_chunks() {
            write!(f, "{}", chunk.valid().escape_debug())?;
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        f.write_str(if cut { "\"..." } else { "\"" })
    }
}

/// Where in the stream something was found.
struct At<'a>(u64, u64, &'a [u8]);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tar entry {} at byte {}", self.0, self.1)?;
        if !self.2.is_empty() {
            write!(f, " ({})", Shown(self.2))?;
        }
        Ok(())
    }
}

/// Why a stream could not be read as a tar.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SplitError {
    /// The source failed.
    #[error("cannot read the tar at byte {offset}")]
    Io {
        /// How far the source had been read.
        offset: u64,
        /// What it said.
        source: io::Error,
    },
    /// The record could not be written.
    #[error("cannot write the record")]
    Record {
        /// What its writer said.
        source: io::Error,
    },
    /// The copy of the stream could not be written.
    #[error("cannot write the copy of the tar")]
    Copy {
        /// What its writer said.
        source: io::Error,
    },
    /// The temporary copy of a stream that can not be read twice failed.
    #[error("cannot keep a temporary copy of the tar")]
    Spool {
        /// What the file said.
        source: io::Error,
    },
    /// A header is wrong.
    #[error("{}: {reason}", At(*.entry, *.offset, .name))]
    Header {
        /// Index of the entry, from 0.
        entry: u64,
        /// Where the header stands in the stream.
        offset: u64,
        /// The entry's name, as far as it was known.
        name: Vec<u8>,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The stream ends inside an entry.
    #[error("{}: the tar ends inside the {what}: expected {expected} bytes, found {found}", At(*.entry, *.offset, .name))]
    Truncated {
        /// Index of the entry, from 0.
        entry: u64,
        /// Where the entry's header stands in the stream.
        offset: u64,
        /// The entry's name, as far as it was known.
        name: Vec<u8>,
        /// What was cut off.
        what: &'static str,
        /// Its length.
        expected: u64,
        /// How much of it there was.
        found: u64,
    },
    /// Something that must be held in memory is longer than any sane archive has it.
    #[error("{}: {what} longer than {limit} bytes", At(*.entry, *.offset, .name))]
    TooLong {
        /// Index of the entry, from 0.
        entry: u64,
        /// Where the header stands in the stream.
        offset: u64,
        /// The entry's name, as far as it was known.
        name: Vec<u8>,
        /// What is too long.
        what: &'static str,
        /// How long it may be.
        limit: u64,
    },
    /// The source was not the same when it was read again.
    #[error("{}: the tar changed while it was read", At(*.entry, *.offset, .name))]
    Changed {
        /// Index of the entry, from 0.
        entry: u64,
        /// Where its header stands in the stream.
        offset: u64,
        /// Its name now.
        name: Vec<u8>,
    },
    /// More entries than can be told apart.
    #[error("more than {limit} entries in a tar")]
    TooMany {
        /// How many there may be.
        limit: u64,
    },
    /// The tar was not read to its end, or reading it had failed before.
    #[error("the tar was not read to its end")]
    Unfinished,
}

impl From<SplitError> for io::Error {
    fn from(error: SplitError) -> Self {
        let kind = match &error {
            SplitError::Io { source, .. }
            | SplitError::Record { source }
            | SplitError::Copy { source }
            | SplitError::Spool { source } => source.kind(),
            SplitError::Truncated { .. } => io::ErrorKind::UnexpectedEof,
            _ => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}

/// Why a record could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Its source failed.
    #[error("cannot read the record at byte {offset}")]
    Io {
        /// How far it had been read.
        offset: u64,
        /// What the source said.
        source: io::Error,
    },
    /// The last entry is not complete.
    #[error("the record ends inside entry {position}, at byte {offset}")]
    Torn {
        /// Index of the entry, from 0.
        position: u64,
        /// Length of the record.
        offset: u64,
    },
    /// An entry is not what an entry must be.
    #[error("entry {position} of the record, before byte {offset}, is damaged: {reason}")]
    Damaged {
        /// Index of the entry, from 0.
        position: u64,
        /// How far the record had been read.
        offset: u64,
        /// What is wrong with it.
        reason: String,
    },
}

/// Why a record could not be written in another form.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// The record can not be read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The other form can not be written.
    #[error("cannot write the record")]
    Write {
        /// What its writer said.
        source: io::Error,
    },
}

/// Why a stream could not be put together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AssembleError {
    /// The record can not be read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A payload can not be opened.
    #[error("cannot open {} (position {position} of the record)", Shown(.name))]
    Open {
        /// The file's name in the record.
        name: Vec<u8>,
        /// Its position in the record.
        position: u64,
        /// What the getter said.
        source: io::Error,
    },
    /// A payload can not be read.
    #[error("cannot read {} (position {position} of the record)", Shown(.name))]
    Read {
        /// The file's name in the record.
        name: Vec<u8>,
        /// Its position in the record.
        position: u64,
        /// What its reader said.
        source: io::Error,
    },
    /// A payload has another length than it had.
    #[error("{} (position {position} of the record) has changed: expected {expected} bytes, found {}{found}",
        Shown(.name), if *.more { "more than " } else { "" })]
    Length {
        /// The file's name in the record.
        name: Vec<u8>,
        /// Its position in the record.
        position: u64,
        /// Bytes the record has.
        expected: u64,
        /// Bytes there were.
        found: u64,
        /// Whether there were more than that.
        more: bool,
    },
    /// A payload has another checksum than it had.
    #[error("{} (position {position} of the record) has changed: expected checksum {}, found {}",
        Shown(.name), Hex(.expected), Hex(.found))]
    Checksum {
        /// The file's name in the record.
        name: Vec<u8>,
        /// Its position in the record.
        position: u64,
        /// The checksum in the record.
        expected: [u8; 8],
        /// The checksum of what was read.
        found: [u8; 8],
    },
    /// A payload has no checksum in the record, so nothing can vouch for it.
    #[error("the record has {size} bytes but no checksum for {} (position {position})", Shown(.name))]
    NoChecksum {
        /// The file's name in the record.
        name: Vec<u8>,
        /// Its position in the record.
        position: u64,
        /// Its size.
        size: u64,
    },
    /// The stream can not be written.
    #[error("cannot write the tar at byte {offset}")]
    Write {
        /// How much was written.
        offset: u64,
        /// What the writer said.
        source: io::Error,
    },
    /// The stream failed before; nothing more comes out of it.
    #[error("the tar could not be put together")]
    Stopped,
}

impl From<AssembleError> for io::Error {
    fn from(error: AssembleError) -> Self {
        let kind = match &error {
            AssembleError::Open { source, .. }
            | AssembleError::Read { source, .. }
            | AssembleError::Write { source, .. }
            | AssembleError::Record(RecordError::Io { source, .. }) => match source.kind() {
                // These two have a meaning to callers of `read`, which they must not get from here.
                io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock => io::ErrorKind::Other,
                kind => kind,
            },
            _ => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}

/// Eight bytes as the digits of a number.
struct Hex<'a>(&'a [u8; 8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(*self.0))
    }
}
