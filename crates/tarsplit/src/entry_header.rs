//! Writes what stands before an entry's payload: the same bytes as Go's `archive/tar` gives.

use crate::Timestamp;

const BLOCK: usize = 512;

/// Largest number that one of eight bytes holds.
const MAX_SHORT: u64 = (1 << 21) - 1;

/// What stands before an entry's payload: a ustar header, and a pax header before it for whatever
/// that cannot hold.
///
/// The same fields always give the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryHeader<'a> {
    /// The type byte.
    pub kind: u8,
    /// Its name; that of a directory ends in a slash.
    pub path: &'a [u8],
    /// The target of a hard or symbolic link.
    pub link: &'a [u8],
    /// Permission, set-id and sticky bits.
    pub mode: u32,
    /// Owner, by number.
    pub uid: u64,
    /// Group, by number.
    pub gid: u64,
    /// Name of owner and group.
    pub owner: &'a str,
    /// Time of the last change.
    pub mtime: Timestamp,
    /// Bytes of payload.
    pub size: u64,
    /// Whether the size stands in the pax header, whatever it is. Else it stands in the header alone:
    /// in octal up to [`EntryHeader::MAX_OCTAL`], beyond that in binary, as GNU tar has it.
    pub wide: bool,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Extended attributes.
    pub xattrs: &'a [(Vec<u8>, Vec<u8>)],
}

impl<'a> EntryHeader<'a> {
    /// Largest size, and latest time, that a header holds in octal.
    pub const MAX_OCTAL: u64 = (1 << 33) - 1;

    /// Describes an entry of a kind with a name: mode 0, root's, of 1970, empty.
    #[must_use]
    pub fn new(kind: u8, path: &'a [u8]) -> Self {
        Self {
            kind,
            path,
            link: b"",
            mode: 0,
            uid: 0,
            gid: 0,
            owner: "",
            mtime: Timestamp::default(),
            size: 0,
            wide: false,
            device: (0, 0),
            xattrs: &[],
        }
    }

    /// Returns the header's blocks.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let records = self.records();
        let mut bytes = Vec::new();
        if !records.is_empty() {
            let (folder, base) = match self.path.iter().rposition(|byte| *byte == b'/') {
                Some(slash) => self.path.split_at(slash + 1),
                None => (&b""[..], self.path),
            };
            let name = [folder, b"PaxHeaders.0/", base].concat();
            let mut pax = EntryHeader::new(b'x', &name);
            pax.size = records.len() as u64;
            bytes.extend_from_slice(&pax.block(false));
            bytes.extend_from_slice(&records);
            bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        }
        bytes.extend_from_slice(&self.block(true));
        bytes
    }

    /// The pax records, sorted by key as Go sorts them.
    fn records(&self) -> Vec<u8> {
        let mut records: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut say = |key: &str, value: Vec<u8>| records.push((key.as_bytes().to_vec(), value));
        if needs_record(self.path) {
            say("path", self.path.to_vec());
        }
        if needs_record(self.link) {
            say("linkpath", self.link.to_vec());
        }
        if self.wide {
            say("size", self.size.to_string().into_bytes());
        }
        for (key, id) in [("uid", self.uid), ("gid", self.gid)] {
            if id > MAX_SHORT {
                say(key, id.to_string().into_bytes());
            }
        }
        let Timestamp { seconds, nanos } = self.mtime;
        if nanos != 0 || !u64::try_from(seconds).is_ok_and(|seconds| seconds <= Self::MAX_OCTAL) {
            say("mtime", decimal(self.mtime).into_bytes());
        }
        for (name, value) in self.xattrs {
            let key = [b"SCHILY.xattr.", name.as_slice()].concat();
            records.push((key, value.clone()));
        }
        records.sort();
        let mut out = Vec::new();
        for (key, value) in records {
            record(&mut out, &key, &value);
        }
        out
    }

    fn block(&self, devices: bool) -> [u8; BLOCK] {
        // Readers take these from the records; Go writes 0 here as well.
        let short = |id: u64| if id > MAX_SHORT { 0 } else { id };
        let size = if self.wide { 0 } else { self.size };
        let seconds = u64::try_from(self.mtime.seconds).unwrap_or(0);
        let seconds = if seconds > Self::MAX_OCTAL {
            0
        } else {
            seconds
        };
        let mut block = [0; BLOCK];
        put(&mut block, 0, 100, self.path);
        put(&mut block, 100, 8, octal(self.mode.into(), 8).as_bytes());
        put(&mut block, 108, 8, octal(short(self.uid), 8).as_bytes());
        put(&mut block, 116, 8, octal(short(self.gid), 8).as_bytes());
        put(&mut block, 124, 12, &number(size));
        put(&mut block, 136, 12, octal(seconds, 12).as_bytes());
        put(&mut block, 148, 8, b"        ");
        put(&mut block, 156, 1, &[self.kind]);
        put(&mut block, 157, 100, self.link);
        put(&mut block, 257, 8, b"ustar\x0000");
        put(&mut block, 265, 32, self.owner.as_bytes());
        put(&mut block, 297, 32, self.owner.as_bytes());
        if devices {
            let (major, minor) = self.device;
            put(&mut block, 329, 8, octal(major.into(), 8).as_bytes());
            put(&mut block, 337, 8, octal(minor.into(), 8).as_bytes());
        }
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        put(&mut block, 148, 7, octal(sum, 7).as_bytes());
        block
    }
}

/// Whether a name cannot stand in the header alone: too long, or text that is no ASCII, of which the
/// header does not say what it is. Bytes that are no text at all stay as they are.
fn needs_record(name: &[u8]) -> bool {
    name.len() > 100 || (!name.is_ascii() && std::str::from_utf8(name).is_ok())
}

/// Seconds since 1970, with as many decimals as it takes.
fn decimal(time: Timestamp) -> String {
    let Timestamp { seconds, nanos } = time;
    if nanos == 0 {
        return seconds.to_string();
    }
    let (sign, whole, nanos) = match seconds {
        // Rounded down: -0.25 is one second before 1970 and three quarters.
        ..0 => ("-", (seconds + 1).unsigned_abs(), 1_000_000_000 - nanos),
        _ => ("", seconds.unsigned_abs(), nanos),
    };
    let text = format!("{sign}{whole}.{nanos:09}");
    text.trim_end_matches('0').to_owned()
}

/// Octal digits that fill a field of `width` bytes up to a final zero byte.
fn octal(number: u64, width: usize) -> String {
    format!("{number:0digits$o}\0", digits = width - 1)
}

/// A size field: octal, or binary where that is too short, as GNU tar has it and everybody
/// reads.
fn number(size: u64) -> Vec<u8> {
    if size <= EntryHeader::MAX_OCTAL {
        return octal(size, 12).into_bytes();
    }
    let mut field = vec![0x80, 0, 0, 0];
    field.extend_from_slice(&size.to_be_bytes());
    field
}

/// Writes `bytes`, cut to `width`, at `at`.
fn put(block: &mut [u8; BLOCK], at: usize, width: usize, bytes: &[u8]) {
    let field = block.iter_mut().skip(at).take(width);
    for (place, byte) in field.zip(bytes) {
        *place = *byte;
    }
}

/// A pax record; its length counts its own digits.
fn record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let bare = key.len() + value.len() + 3;
    let mut length = bare + bare.to_string().len();
    length = bare + length.to_string().len();
    out.extend_from_slice(format!("{length} ").as_bytes());
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Splitter;

    #[test]
    fn record_lengths_count_themselves() {
        let text = |key: &[u8], value: &[u8]| {
            let mut out = Vec::new();
            record(&mut out, key, value);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(b"path", b"abc"), "12 path=abc\n");
        for length in 80..120 {
            let text = text(b"path", &vec![b'x'; length]);
            let number = text.split(' ').next().unwrap();
            assert_eq!(number.parse(), Ok(text.len()));
        }
    }

    #[test]
    fn times_have_as_many_decimals_as_they_need() {
        for (seconds, nanos, expected) in [
            (5, 0, "5"),
            (5, 250_000_000, "5.25"),
            (5, 1, "5.000000001"),
            (-1, 750_000_000, "-0.25"),
            (-3, 500_000_000, "-2.5"),
            (-3, 0, "-3"),
        ] {
            assert_eq!(decimal(Timestamp { seconds, nanos }), expected);
        }
    }

    /// What is written is what the own reader reads, whatever has to go into records.
    #[test]
    fn everything_comes_back() {
        let long = vec![b'n'; 300];
        let xattrs = vec![
            (b"user.a".to_vec(), b"\x00=\n\xff".to_vec()),
            (b"security.capability".to_vec(), vec![1; 20]),
        ];
        let plain = EntryHeader::new(b'3', b"dev");
        let headers = [
            EntryHeader {
                mode: 0o4755,
                uid: 1000,
                mtime: Timestamp {
                    seconds: 1_700_000_000,
                    nanos: 0,
                },
                ..EntryHeader::new(b'0', b"plain")
            },
            EntryHeader {
                uid: 4_294_967_294,
                gid: 1 << 21,
                mtime: Timestamp {
                    seconds: -7,
                    nanos: 5,
                },
                xattrs: &xattrs,
                ..EntryHeader::new(b'0', &long)
            },
            EntryHeader {
                link: &long,
                ..EntryHeader::new(b'2', "ü/é".as_bytes())
            },
            EntryHeader::new(b'5', b"\xff\xfe/"),
            EntryHeader {
                device: (4095, 1_048_575),
                mtime: Timestamp {
                    seconds: 1 << 34,
                    nanos: 0,
                },
                ..plain
            },
        ];
        let mut tar: Vec<u8> = headers.iter().flat_map(EntryHeader::to_bytes).collect();
        tar.extend_from_slice(&[0; 2 * BLOCK]);
        let mut splitter = Splitter::new(&tar[..], std::io::sink());
        for expected in &headers {
            let entry = splitter.next_entry().unwrap().unwrap();
            let found = entry.metadata();
            assert_eq!(found.path, expected.path);
            assert_eq!(found.link, expected.link);
            assert_eq!((found.uid, found.gid), (expected.uid, expected.gid));
            assert_eq!((found.mode, found.mtime), (expected.mode, expected.mtime));
            let device = (expected.device.0.into(), expected.device.1.into());
            assert_eq!(found.device, device);
            let mut xattrs = expected.xattrs.to_vec();
            xattrs.sort();
            assert_eq!(found.xattrs, xattrs);
        }
        assert!(splitter.next_entry().unwrap().is_none());
    }
}
