//! Makes tars by hand, and takes them through the crate.

use std::collections::HashMap;
use std::io::{self, Cursor, Read};

use lith_tarsplit::{
    FileEntry, Metadata, RecordItem, RecordReader, SplitError, Splitter, Summary, assemble,
};

/// The two blocks of zeros that end a tar.
pub(crate) const END: [u8; 1024] = [0; 1024];

/// A header under construction: ustar unless changed.
#[derive(Clone)]
pub(crate) struct Header(pub(crate) [u8; 512]);

impl Header {
    pub(crate) fn new(flag: u8, name: &[u8], size: u64) -> Self {
        let mut header = Self([0; 512])
            .put(0, name)
            .put(100, b"0000644\0")
            .put(108, b"0000000\0")
            .put(116, b"0000000\0")
            .put(124, format!("{size:011o}\0").as_bytes())
            .put(136, b"00000000000\0")
            .put(257, b"ustar\x0000");
        header.0[156] = flag;
        header
    }

    /// The same in the GNU format.
    pub(crate) fn gnu(flag: u8, name: &[u8], size: u64) -> Self {
        Self::new(flag, name, size).put(257, b"ustar  \0")
    }

    /// Sets bytes.
    pub(crate) fn put(mut self, at: usize, bytes: &[u8]) -> Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// The block, with its checksum.
    pub(crate) fn block(self) -> Vec<u8> {
        let mut block = self.put(148, b"        ").0;
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block.to_vec()
    }
}

/// Data filled up to whole blocks.
pub(crate) fn padded(data: &[u8]) -> Vec<u8> {
    let mut padded = data.to_vec();
    padded.resize(data.len().next_multiple_of(512), 0);
    padded
}

/// Header and payload of an entry.
pub(crate) fn entry(flag: u8, name: &[u8], data: &[u8]) -> Vec<u8> {
    [
        Header::new(flag, name, data.len() as u64).block(),
        padded(data),
    ]
    .concat()
}

/// The same in the GNU format.
pub(crate) fn gnu(flag: u8, name: &[u8], data: &[u8]) -> Vec<u8> {
    [
        Header::gnu(flag, name, data.len() as u64).block(),
        padded(data),
    ]
    .concat()
}

/// One pax record.
pub(crate) fn pax_record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

/// A pax header: `x` or `g`.
pub(crate) fn pax(flag: u8, records: &[(&str, &[u8])]) -> Vec<u8> {
    let data: Vec<u8> = records
        .iter()
        .flat_map(|(key, value)| pax_record(key, value))
        .collect();
    entry(flag, b"pax_header", &data)
}

/// A source that gives a few bytes at a time, never the same number twice in a row.
pub(crate) struct Short<'a> {
    rest: &'a [u8],
    step: usize,
}

impl<'a> Short<'a> {
    pub(crate) fn new(rest: &'a [u8], step: usize) -> Self {
        Self { rest, step }
    }
}

impl Read for Short<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.step = self.step % 997 * 31 % 997 + 1;
        if self.step.is_multiple_of(13) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let length = self.step.min(out.len()).min(self.rest.len());
        let (front, rest) = self.rest.split_at(length);
        out[..length].copy_from_slice(front);
        self.rest = rest;
        Ok(length)
    }
}

/// Everything a split gives.
pub(crate) struct Split {
    pub(crate) record: Vec<u8>,
    pub(crate) payloads: HashMap<u64, Vec<u8>>,
    pub(crate) entries: Vec<Metadata>,
    pub(crate) summary: Summary,
}

/// Splits, keeping the payloads by position as a store would.
pub(crate) fn split(source: impl Read) -> Result<Split, SplitError> {
    let mut splitter = Splitter::new(source, Vec::new());
    let (mut payloads, mut entries) = (HashMap::new(), Vec::new());
    while let Some(mut entry) = splitter.next_entry()? {
        let metadata = entry.metadata().clone();
        let mut payload = Vec::new();
        match entry.read_to_end(&mut payload) {
            Ok(length) => assert_eq!(length as u64, metadata.stored),
            // The splitter says it again; that is what a caller sees who does not read.
            Err(error) => {
                assert!(
                    error
                        .get_ref()
                        .is_some_and(|inner| inner.is::<SplitError>()),
                    "{error}"
                );
                return Err(error.downcast::<SplitError>().expect("checked above"));
            }
        }
        if metadata.stored > 0 {
            payloads.insert(metadata.position, payload);
        }
        entries.push(metadata);
    }
    let (record, summary) = splitter.finish()?;
    Ok(Split {
        record,
        payloads,
        entries,
        summary,
    })
}

impl Split {
    /// Assembles again.
    pub(crate) fn assemble(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let getter = |file: &FileEntry| {
            let payload = self.payloads.get(&file.position).cloned();
            let payload = payload.ok_or(io::ErrorKind::NotFound)?;
            Ok(Box::new(Cursor::new(payload)) as Box<dyn Read + Send>)
        };
        assemble(&self.record[..], getter, &mut out).expect("what was split can be assembled");
        out
    }
}

/// Splits and checks that it can be undone.
pub(crate) fn round_trip(tar: &[u8]) -> Split {
    let split = split(tar).unwrap_or_else(|error| panic!("refused: {error}"));
    assert!(split.assemble() == tar, "the tar does not come back");
    assert_eq!(split.summary.bytes, tar.len() as u64);
    assert_eq!(split.summary.entries, split.entries.len() as u64);
    split
}

/// The items of a record.
pub(crate) fn items(record: &[u8]) -> Vec<RecordItem> {
    let mut reader = RecordReader::new(record);
    let mut items = Vec::new();
    while let Some(item) = reader.next_item().expect("a readable record") {
        items.push(item);
    }
    items
}

/// The file entries of a record: name, size, whether there is a checksum.
pub(crate) fn files(record: &[u8]) -> Vec<(String, u64, bool)> {
    let file = |item| match item {
        RecordItem::File(FileEntry {
            name, size, crc, ..
        }) => Some((
            String::from_utf8_lossy(&name).into_owned(),
            size,
            crc.is_some(),
        )),
        RecordItem::Segment(_) => None,
    };
    items(record).into_iter().filter_map(file).collect()
}

/// The lengths of the segments of a record.
pub(crate) fn segments(record: &[u8]) -> Vec<usize> {
    let length = |item| match item {
        RecordItem::Segment(bytes) => Some(bytes.len()),
        RecordItem::File(_) => None,
    };
    items(record).into_iter().filter_map(length).collect()
}
