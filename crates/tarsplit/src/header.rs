//! One header block, decoded as the field's reader does.

use crate::metadata::Timestamp;

pub(crate) const BLOCK: usize = 512;
pub(crate) type Block = [u8; BLOCK];

/// What stands in one header block, before any extension.
pub(crate) struct Raw<'a> {
    pub(crate) header: &'a tar::Header,
    pub(crate) flag: u8,
    pub(crate) format: Format,
    pub(crate) prefix: &'a [u8],
    pub(crate) size: i64,
    pub(crate) mode: i64,
    pub(crate) uid: i64,
    pub(crate) gid: i64,
    pub(crate) mtime: Timestamp,
    pub(crate) uname: &'a [u8],
    pub(crate) gname: &'a [u8],
    pub(crate) device: (i64, i64),
}

/// The families of headers, told apart by their magic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Format {
    V7,
    /// Also pax.
    Ustar,
    Gnu,
    Star,
}

/// What is wrong with a header.
pub(crate) type Reason = &'static str;

impl<'a> Raw<'a> {
    /// Decodes a block.
    pub(crate) fn decode(block: &'a Block) -> Result<Self, Reason> {
        let header = tar::Header::from_byte_slice(block);
        let format = format(block)?;
        let v7 = header.as_old();
        let mut raw = Self {
            header,
            flag: v7.linkflag[0],
            format,
            prefix: &[],
            size: number(&v7.size).ok_or("its size is not a number")?,
            mode: number(&v7.mode).ok_or("its mode is not a number")?,
            uid: number(&v7.uid).ok_or("its owner is not a number")?,
            gid: number(&v7.gid).ok_or("its group is not a number")?,
            mtime: Timestamp {
                seconds: number(&v7.mtime).ok_or("its time is not a number")?,
                nanos: 0,
            },
            uname: &[],
            gname: &[],
            device: (0, 0),
        };
        if format != Format::V7 {
            raw.uname = text(field::<265, 32>(block));
            raw.gname = text(field::<297, 32>(block));
            let device = "its device is not a number";
            raw.device = (
                number(field::<329, 8>(block)).ok_or(device)?,
                number(field::<337, 8>(block)).ok_or(device)?,
            );
        }
        raw.prefix = prefix(block, format)?;
        Ok(raw)
    }

    /// The name, with what the format puts in front of it, into `name`.
    pub(crate) fn name(&self, name: &mut Vec<u8>) {
        name.clear();
        if !self.prefix.is_empty() {
            name.extend_from_slice(self.prefix);
            name.push(b'/');
        }
        name.extend_from_slice(text(&self.header.as_old().name));
    }

    pub(crate) fn link(&self) -> &'a [u8] {
        text(&self.header.as_old().linkname)
    }
}

/// The front part of the name that some formats have a field for.
fn prefix(block: &Block, format: Format) -> Result<&[u8], Reason> {
    match format {
        Format::V7 => Ok(&[]),
        Format::Ustar => Ok(text(field::<345, 155>(block))),
        Format::Star => {
            number(field::<476, 12>(block)).ok_or("its access time is not a number")?;
            number(field::<488, 12>(block)).ok_or("its change time is not a number")?;
            Ok(text(field::<345, 131>(block)))
        }
        // GNU has two times there. Old writers in Go put a prefix there all the same, so what can
        // not be a time and is ASCII is one.
        Format::Gnu => {
            let time = |field: &[u8; 12]| field[0] == 0 || number(field).is_some();
            let prefix = text(field::<345, 155>(block));
            let is_time = time(field::<345, 12>(block)) && time(field::<357, 12>(block));
            Ok(if !is_time && prefix.is_ascii() {
                prefix
            } else {
                &[]
            })
        }
    }
}

/// Checks the block's checksum and tells its format.
fn format(block: &Block) -> Result<Format, Reason> {
    let stated = octal(field::<148, 8>(block)).ok_or("its checksum is not a number")?;
    if !has_checksum(block, stated) {
        return Err("its checksum is wrong: not a tar header");
    }
    let magic = field::<257, 6>(block);
    Ok(match magic {
        b"ustar\0" if field::<508, 4>(block) == b"tar\0" => Format::Star,
        b"ustar\0" => Format::Ustar,
        b"ustar " if field::<263, 2>(block) == b" \0" => Format::Gnu,
        _ => Format::V7,
    })
}

/// Tells whether bytes are the beginning of a tar: a block of zeros, or a header whose checksum
/// is right. Fewer than 512 bytes are no tar.
pub fn looks_like_tar(head: &[u8]) -> bool {
    let Some(block) = head.first_chunk::<BLOCK>() else {
        return false;
    };
    block.iter().all(|&byte| byte == 0)
        || octal(field::<148, 8>(block)).is_some_and(|stated| has_checksum(block, stated))
}

fn has_checksum(block: &Block, stated: i64) -> bool {
    let (unsigned, signed) = checksums(block);
    stated == unsigned || stated == signed
}

/// The sums of all bytes with the checksum field as spaces: unsigned, and signed as old Suns did.
fn checksums(block: &Block) -> (i64, i64) {
    let mut unsigned = 0_i64;
    let mut high = 0_i64;
    for byte in block {
        unsigned += i64::from(*byte);
        high += i64::from(*byte >> 7);
    }
    for byte in field::<148, 8>(block) {
        unsigned += i64::from(b' ') - i64::from(*byte);
        high -= i64::from(*byte >> 7);
    }
    (unsigned, unsigned - 256 * high)
}

/// Returns whether this is the header of a kind that never has a payload, for an entry of this name.
///
/// The record alone can not tell "no payload" from a payload whose checksum happens to be 0; the
/// header in front of it can.
pub(crate) fn is_header_only(block: &Block, name: &[u8]) -> bool {
    format(block).is_ok()
        && match block[156] {
            b'1'..=b'6' => true,
            0 => name.ends_with(b"/"),
            _ => false,
        }
}

/// A field of the block. Out of range does not compile.
pub(crate) fn field<const AT: usize, const LENGTH: usize>(block: &Block) -> &[u8; LENGTH] {
    const { assert!(AT + LENGTH <= BLOCK, "a field lies inside the block") };
    block[AT..]
        .first_chunk()
        .expect("the assertion above holds")
}

/// The text of a field: up to its first NUL.
pub(crate) fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A number field: octal digits, or base 256 when the first bit is set.
pub(crate) fn number(field: &[u8]) -> Option<i64> {
    match field.split_first() {
        Some((first, rest)) if first & 0x80 != 0 => base256(*first, rest),
        _ => octal(field),
    }
}

/// Two's complement, the first bit of the field being no part of it.
fn base256(first: u8, rest: &[u8]) -> Option<i64> {
    let invert = if first & 0x40 != 0 { 0xff } else { 0 };
    let mut value = u64::from((first ^ invert) & 0x7f);
    for byte in rest {
        if value >> 56 != 0 {
            return None;
        }
        value = value << 8 | u64::from(byte ^ invert);
    }
    let value = i64::try_from(value).ok()?;
    Some(if invert == 0 { value } else { !value })
}

/// Octal digits between spaces and NULs; nothing at all is 0.
fn octal(field: &[u8]) -> Option<i64> {
    let blank = |byte: &u8| *byte == b' ' || *byte == 0;
    let Some(start) = field.iter().position(|byte| !blank(byte)) else {
        return Some(0);
    };
    let end = field.iter().rposition(|byte| !blank(byte))? + 1;
    let digits = text(field.get(start..end)?);
    digits.iter().try_fold(0_i64, |value, digit| match digit {
        b'0'..=b'7' => Some(value << 3 | i64::from(digit - b'0')),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::{is_header_only, number};

    #[test]
    fn numbers_as_go_reads_them() {
        for (field, value) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"        ", Some(0)),
            (b"\0\0\0\0", Some(0)),
            (b"", Some(0)),
            (b"\0\0 12\0 ", Some(0o12)),
            (b"12 34\0", None),
            (b"12\x0034", Some(0o12)),
            (b"8\0", None),
            (b"+7\0", None),
            (b"-7\0", None),
            (b"\x80\0\0\0\0\0\0\x01", Some(1)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (
                b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff",
                Some(i64::MAX),
            ),
            (b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"\x80\0\0\x01\0\0\0\0\0\0\0\0", None),
            (b"\xff\xff\xff\xff\x80\0\0\0\0\0\0\0", Some(i64::MIN)),
            (b"\xff\xff\xff\xff\x7f\xff\xff\xff\xff\xff\xff\xff", None),
            (b"777777777777", Some(0o777_777_777_777)),
        ] {
            assert_eq!(number(field), value, "{field:?}");
        }
    }

    #[test]
    fn header_only_needs_a_true_header() {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Symlink);
        assert!(!is_header_only(header.as_bytes(), b"x"), "no checksum");
        header.set_cksum();
        assert!(is_header_only(header.as_bytes(), b"x"));
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        assert!(!is_header_only(header.as_bytes(), b"x/"));
        header.as_old_mut().linkflag = [0];
        header.set_cksum();
        assert!(is_header_only(header.as_bytes(), b"x/"));
        assert!(!is_header_only(header.as_bytes(), b"x"));
    }
}
