//! Fields of a tar header that decide whether and how far to read on.

use tar::Header;

use crate::LoadError;

pub(crate) fn is_zero(block: &[u8]) -> bool {
    block.iter().all(|byte| *byte == 0)
}

pub(crate) fn checksum_is_right(header: &Header) -> bool {
    let Ok(stored) = header.cksum() else {
        return false;
    };
    let bytes = header.as_bytes();
    let field = |index: usize| (148..156).contains(&index);
    let byte = |(index, byte): (usize, &u8)| if field(index) { b' ' } else { *byte };
    let unsigned: i64 = bytes.iter().enumerate().map(byte).map(i64::from).sum();
    // Some old writers summed signed characters.
    #[expect(clippy::cast_possible_wrap, reason = "that is what those writers did")]
    let signed: i64 = bytes
        .iter()
        .enumerate()
        .map(byte)
        .map(|byte| i64::from(byte as i8))
        .sum();
    i64::from(stored) == unsigned || i64::from(stored) == signed
}

/// The size field; negative and overlong numbers are refused.
pub(crate) fn number(header: &Header, offset: u64) -> Result<u64, LoadError> {
    let wrong = |reason: &str| LoadError::Damaged {
        offset,
        reason: reason.to_owned(),
    };
    let field = header.as_bytes().get(124..136).unwrap_or_default();
    match field.split_first() {
        Some((first, rest)) if first & 0x80 != 0 => {
            let (high, low) = rest.split_at(rest.len().saturating_sub(8));
            if *first != 0x80 || high.iter().any(|byte| *byte != 0) {
                return Err(wrong("a member's size is negative or too large"));
            }
            Ok(low
                .iter()
                .fold(0, |number, byte| (number << 8) | u64::from(*byte)))
        }
        _ => header
            .entry_size()
            .map_err(|_| wrong("a member's size is not a number")),
    }
}
