//! The record: JSON lines that say everything about a tar but its payloads.

mod read;
mod write;

pub(crate) use read::Step;
pub use read::{FileEntry, RecordItem, RecordReader};
pub(crate) use write::RecordWriter;
