//! Reads a tar without losing a byte.
//!
//! A [`Splitter`] hands out the entries of a tar and writes down everything that is not payload:
//! the *record*. An [`Assembler`] makes the same tar from the record and the payloads again, bit
//! for bit, and says which file is not what it was when it can not. The record is the tar-split
//! format of the container engines, readable by them and the other way round; a binary form of it
//! takes less time and room, and can be made from it and made back into it.
//!
//! ```
//! use lith_tarsplit::{FileEntry, Splitter, assemble};
//! use std::collections::HashMap;
//! use std::io::{Cursor, Read};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut builder = tar::Builder::new(Vec::new());
//! let mut header = tar::Header::new_gnu();
//! header.set_size(6);
//! builder.append_data(&mut header, "etc/motd", &b"hello\n"[..])?;
//! let tar = builder.into_inner()?;
//!
//! let mut kept = HashMap::new();
//! let mut splitter = Splitter::new(&tar[..], Vec::new());
//! while let Some(mut entry) = splitter.next_entry()? {
//!     let mut payload = Vec::new();
//!     entry.read_to_end(&mut payload)?;
//!     kept.insert(entry.metadata().position, payload);
//! }
//! let (record, summary) = splitter.finish()?;
//! assert_eq!((summary.entries, summary.payload_bytes), (1, 6));
//!
//! let mut again = Vec::new();
//! let getter = |file: &FileEntry| {
//!     let payload = kept.get(&file.position).cloned().unwrap_or_default();
//!     Ok(Box::new(Cursor::new(payload)) as Box<dyn Read + Send>)
//! };
//! assemble(&record[..], getter, &mut again)?;
//! assert!(again == tar);
//! # Ok(())
//! # }
//! ```

mod assemble;
mod crc64;
mod disassemble;
mod entry_header;
mod error;
mod frame;
mod header;
mod metadata;
mod names;
mod path;
mod pax;
mod payload;
mod pieces;
mod record;
mod runs;
mod source;
mod sparse;
mod split;
mod stream;

pub use assemble::{Assembler, FileGetter, RunReader, assemble};
pub use crc64::Crc64;
pub use disassemble::{disassemble, disassemble_seekable};
pub use entry_header::EntryHeader;
pub use error::{AssembleError, ConvertError, RecordError, SplitError};
pub use frame::EXTENSION_LIMIT;
pub use header::looks_like_tar;
pub use metadata::{Kind, Metadata, Sparse, Timestamp};
pub use path::clean_path;
pub use pieces::{PayloadReader, Pieces, ReadPieces};
pub use record::{BinaryWriter, FileEntry, RecordItem, RecordReader, RecordSink, TextWriter};
pub use runs::{Run, Runs};
pub use split::{Entry, Splitter, Summary};
