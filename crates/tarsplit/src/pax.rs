//! Pax extended headers: the records and what they mean.

use std::ops::Range;

use crate::header::Reason;
use crate::metadata::Timestamp;

const BAD: Reason = "a pax record is malformed";

/// The records of one extended header. A later record replaces an earlier one of the same key.
#[derive(Default)]
pub(crate) struct Pax {
    /// The payload of the extended header.
    pub(crate) data: Vec<u8>,
    values: [Option<Range<usize>>; KEYS.len()],
    /// Keys and values of extended attributes, in the order found.
    xattrs: Vec<(Range<usize>, Range<usize>)>,
    /// Offsets and lengths of pax sparse 0.0, which come as many records, joined by commas.
    spread_map: Vec<u8>,
    spread: usize,
}

/// The keys that mean something here.
#[derive(Clone, Copy)]
#[repr(usize)]
pub(crate) enum Key {
    Path,
    LinkPath,
    Size,
    Uid,
    Gid,
    Uname,
    Gname,
    Mtime,
    Atime,
    Ctime,
    SparseMajor,
    SparseMinor,
    SparseName,
    SparseSize,
    SparseRealSize,
    SparseBlocks,
    SparseMap,
}

/// In the order of [`Key`].
const KEYS: [&[u8]; 17] = [
    b"path",
    b"linkpath",
    b"size",
    b"uid",
    b"gid",
    b"uname",
    b"gname",
    b"mtime",
    b"atime",
    b"ctime",
    b"GNU.sparse.major",
    b"GNU.sparse.minor",
    b"GNU.sparse.name",
    b"GNU.sparse.size",
    b"GNU.sparse.realsize",
    b"GNU.sparse.numblocks",
    b"GNU.sparse.map",
];

const SCHILY: &[u8] = b"SCHILY.xattr.";
const LIBARCHIVE: &[u8] = b"LIBARCHIVE.xattr.";

impl Pax {
    /// Forgets everything but its buffers.
    pub(crate) fn clear(&mut self) {
        self.data.clear();
        self.forget();
    }

    fn forget(&mut self) {
        self.values = Default::default();
        self.xattrs.clear();
        self.spread_map.clear();
        self.spread = 0;
    }

    /// Reads the records that `data` holds.
    pub(crate) fn parse(&mut self) -> Result<(), Reason> {
        self.forget();
        let mut at = 0;
        while at < self.data.len() {
            at = self.record(at)?;
        }
        Ok(())
    }

    /// Reads the record at `at`; returns where the next one starts.
    fn record(&mut self, at: usize) -> Result<usize, Reason> {
        let rest = self.data.get(at..).unwrap_or_default();
        let space = rest.iter().position(|byte| *byte == b' ').ok_or(BAD)?;
        let length = rest
            .get(..space)
            .and_then(integer)
            .and_then(|length| usize::try_from(length).ok())
            .ok_or(BAD)?;
        // "5 k=\n" is the shortest there can be.
        if length < 5 || length > rest.len() || space + 1 >= length {
            return Err(BAD);
        }
        let body = rest
            .get(space + 1..length)
            .and_then(|body| body.strip_suffix(b"\n"))
            .ok_or(BAD)?;
        let equals = body.iter().position(|byte| *byte == b'=').ok_or(BAD)?;
        let (key, value) = (&body[..equals], &body[equals + 1..]);
        let start = at + space + 1;
        let (key_range, value_range) = (
            start..start + equals,
            start + equals + 1..start + body.len(),
        );

        let known = KEYS.iter().position(|known| *known == key);
        let names = [Key::Path, Key::LinkPath, Key::Uname, Key::Gname];
        let nul = match known {
            // Only these may not hold a NUL; elsewhere it is the key that may not.
            Some(index) if names.iter().any(|name| *name as usize == index) => value.contains(&0),
            _ => key.contains(&0),
        };
        if key.is_empty() || nul {
            return Err(BAD);
        }
        if let Some(index) = known {
            if let Some(slot) = self.values.get_mut(index) {
                *slot = Some(value_range);
            }
        } else if key.starts_with(SCHILY) || key.starts_with(LIBARCHIVE) {
            self.xattrs.push((key_range, value_range));
        } else if key == b"GNU.sparse.offset" || key == b"GNU.sparse.numbytes" {
            let is_offset = key == b"GNU.sparse.offset";
            if is_offset != self.spread.is_multiple_of(2) || value.contains(&b',') {
                return Err("its sparse map is out of order");
            }
            if self.spread > 0 {
                self.spread_map.push(b',');
            }
            self.spread_map.extend_from_slice(value);
            self.spread += 1;
        }
        Ok(at + length)
    }

    /// The value of a key, unless it is missing or empty.
    pub(crate) fn get(&self, key: Key) -> Option<&[u8]> {
        let range = self.values.get(key as usize)?.clone()?;
        self.data.get(range).filter(|value| !value.is_empty())
    }

    /// Whether there is a record of this key, be it empty.
    pub(crate) fn has(&self, key: Key) -> bool {
        self.values.get(key as usize).is_some_and(Option::is_some)
    }

    /// A number.
    pub(crate) fn number(&self, key: Key, reason: Reason) -> Result<Option<i64>, Reason> {
        self.get(key)
            .map(|value| integer(value).ok_or(reason))
            .transpose()
    }

    /// A time.
    pub(crate) fn time(&self, key: Key, reason: Reason) -> Result<Option<Timestamp>, Reason> {
        self.get(key)
            .map(|value| time(value).ok_or(reason))
            .transpose()
    }

    /// The sparse map of pax 0.0 or 0.1.
    pub(crate) fn sparse_map(&self) -> Option<&[u8]> {
        if self.spread > 0 {
            return Some(self.spread_map.as_slice()).filter(|map| !map.is_empty());
        }
        self.get(Key::SparseMap)
    }

    /// Extended attributes into `xattrs`, sorted by name; the last of a name wins, and the
    /// attribute as it is over the encoded one.
    pub(crate) fn xattrs(&self, xattrs: &mut Vec<(Vec<u8>, Vec<u8>)>) {
        if self.xattrs.is_empty() {
            return;
        }
        for plain in [false, true] {
            for (key, value) in &self.xattrs {
                let key = self.data.get(key.clone()).unwrap_or_default();
                let value = self.data.get(value.clone()).unwrap_or_default();
                if plain {
                    if let Some(name) = key.strip_prefix(SCHILY) {
                        xattrs.push((name.to_vec(), value.to_vec()));
                    }
                } else if let Some(name) = key.strip_prefix(LIBARCHIVE) {
                    xattrs.extend(libarchive(name, value));
                }
            }
        }
        xattrs.retain(|(name, _)| !name.is_empty());
        // Stable, so of equal names the last stays the last.
        xattrs.sort_by(|a, b| a.0.cmp(&b.0));
        xattrs.reverse();
        xattrs.dedup_by(|later, kept| later.0 == kept.0);
        xattrs.reverse();
    }
}

/// An attribute as libarchive writes it: name with %XX, value in base64.
fn libarchive(name: &[u8], value: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD_NO_PAD;

    let mut plain = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((byte, after)) = rest.split_first() {
        let code = if *byte == b'%' { after.get(..2) } else { None };
        let code =
            code.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        plain.push(code.unwrap_or(*byte));
        rest = if code.is_some() {
            after.get(2..).unwrap_or_default()
        } else {
            after
        };
    }
    let end = value
        .iter()
        .rposition(|byte| *byte != b'=')
        .map_or(0, |last| last + 1);
    let value = STANDARD_NO_PAD.decode(value.get(..end)?).ok()?;
    Some((plain, value))
}

/// A decimal number with an optional sign, in 64 bits.
pub(crate) fn integer(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Seconds with an optional fraction, of which nine digits count.
fn time(text: &[u8]) -> Option<Timestamp> {
    let dot = text
        .iter()
        .position(|byte| *byte == b'.')
        .unwrap_or(text.len());
    let (whole, fraction) = (text.get(..dot)?, text.get(dot + 1..).unwrap_or_default());
    let seconds = integer(whole)?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |index: usize| u32::from(fraction.get(index).map_or(0, |byte| byte - b'0'));
    let nanos = (0..9).fold(0_u32, |nanos, index| nanos * 10 + digit(index));
    // "-1.25" is before -1, which is -2 and three quarters.
    Some(if nanos > 0 && whole.first() == Some(&b'-') {
        Timestamp {
            seconds: seconds.saturating_sub(1),
            nanos: 1_000_000_000 - nanos,
        }
    } else {
        Timestamp { seconds, nanos }
    })
}

#[cfg(test)]
mod tests {
    use super::{Key, Pax, time};
    use crate::metadata::Timestamp;

    fn parse(data: &[u8]) -> Result<Pax, &'static str> {
        let mut pax = Pax {
            data: data.to_vec(),
            ..Pax::default()
        };
        pax.parse().map(|()| pax)
    }

    #[test]
    fn keys_are_in_the_order_of_their_enum() {
        assert_eq!(super::KEYS[Key::SparseMap as usize], b"GNU.sparse.map");
        assert_eq!(super::KEYS[Key::Ctime as usize], b"ctime");
        assert_eq!(
            super::KEYS[Key::SparseRealSize as usize],
            b"GNU.sparse.realsize"
        );
    }

    #[test]
    fn last_record_wins_and_empty_is_none() {
        let pax = parse(b"10 path=a\n10 path=b\n8 size=\n").expect("valid");
        assert_eq!(pax.get(Key::Path), Some(&b"b"[..]));
        assert_eq!(pax.get(Key::Size), None);
        let pax = parse(b"10 path=a\n9 path=\n").err();
        assert!(pax.is_some(), "length is wrong");
    }

    #[test]
    fn malformed_records_are_refused() {
        for bad in [
            &b"6 k=1"[..],
            b"6 k=1 ",
            b"7 k=1\n",
            b"4 =\n",
            b"5 =1\n",
            b"x k=1\n",
            b"-6 k=1\n",
            b"99999999999999999999 k=1\n",
            b"6 kk1\n",
            b"7 k\0=1\n",
            b"11 path=a\0\n",
            b"\n",
            b"6 k=1\n\0",
            b"000000000000000000000000000006 k=1\n",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        assert!(
            parse(b"06 k=1\n").is_err(),
            "six bytes counted, seven there"
        );
        assert!(parse(b"07 k=1\n").is_ok());
        assert!(parse(b"+7 k=1\n").is_ok());
        assert!(parse(b"7 k=\0\0\n").is_ok());
    }

    #[test]
    fn times() {
        for (text, seconds, nanos) in [
            ("0", 0, 0),
            ("1.5", 1, 500_000_000),
            ("-1.25", -2, 750_000_000),
            ("-0.1", -1, 900_000_000),
            ("1.0000000019", 1, 1),
            ("5.", 5, 0),
            ("-9223372036854775808", i64::MIN, 0),
        ] {
            assert_eq!(
                time(text.as_bytes()),
                Some(Timestamp { seconds, nanos }),
                "{text}"
            );
        }
        for bad in [
            "",
            ".5",
            "-",
            "1.x",
            "1.-5",
            "1e3",
            " 1",
            "99999999999999999999",
        ] {
            assert_eq!(time(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn attributes_are_sorted_and_the_last_wins() {
        let pax = parse(
            b"22 SCHILY.xattr.b.c=1\n22 SCHILY.xattr.a.c=2\n22 SCHILY.xattr.b.c=3\n30 LIBARCHIVE.xattr.%61.d=aGk\n33 LIBARCHIVE.xattr.b.c=AAAAAA==\n",
        )
        .expect("valid");
        let mut xattrs = Vec::new();
        pax.xattrs(&mut xattrs);
        let expected: [(&[u8], &[u8]); 3] = [(b"a.c", b"2"), (b"a.d", b"hi"), (b"b.c", b"3")];
        assert_eq!(
            xattrs,
            expected.map(|(name, value)| (name.to_vec(), value.to_vec()))
        );
    }
}
