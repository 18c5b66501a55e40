//! Strings that cross: a pointer and a length, believed only after a look.
#![allow(
    unsafe_code,
    reason = "what a plugin calls a string is read here, and nowhere else"
)]

use std::ffi::{CStr, c_char};

use crate::abi::Text;

/// The longest text for people: a reason, a fact, a fact's name.
pub(crate) const WORDS: usize = 64 << 10;

/// What is wrong with a string that a plugin gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextFault {
    /// A null pointer, and a length.
    #[error("is null, with a length of {len}")]
    Null {
        /// The length.
        len: usize,
    },
    /// A pointer to where nothing is.
    #[error("is at an address where nothing can be read")]
    Elsewhere,
    /// More than lith reads.
    #[error("has a length of {len}, more than the {limit} that are allowed")]
    Long {
        /// The length.
        len: usize,
        /// The longest.
        limit: usize,
    },
    /// Nothing, where something must be.
    #[error("is empty")]
    Empty,
    /// Not UTF-8.
    #[error("is not UTF-8 (byte {at})")]
    NotUtf8 {
        /// The first byte that is wrong, counted from 0.
        at: usize,
    },
    /// A control character in what people are to read.
    #[error("has a control character (byte {at})")]
    Control {
        /// Where it is, counted from 0.
        at: usize,
    },
}

/// Copies the bytes of a text.
///
/// # Safety
/// Where `data` is not null and `len` is at most `limit`, `len` bytes can be read there.
pub(crate) unsafe fn bytes(text: Text, limit: usize) -> Result<Vec<u8>, TextFault> {
    let Text { data, len } = text;
    if len == 0 {
        return Ok(Vec::new());
    }
    if data.is_null() {
        return Err(TextFault::Null { len });
    }
    if len > limit {
        return Err(TextFault::Long { len, limit });
    }
    // SAFETY: not null and not too long; that it can be read is what the caller promises.
    Ok(unsafe { std::slice::from_raw_parts(data.cast::<u8>(), len) }.to_vec())
}

/// Copies a text that people are to read.
///
/// # Safety
/// As for [`bytes`].
pub(crate) unsafe fn words(text: Text, limit: usize) -> Result<String, TextFault> {
    // SAFETY: the caller's promise.
    let bytes = unsafe { bytes(text, limit) }?;
    let words = String::from_utf8(bytes).map_err(|error| TextFault::NotUtf8 {
        at: error.utf8_error().valid_up_to(),
    })?;
    match words.char_indices().find(|(_, c)| c.is_control()) {
        Some((at, _)) => Err(TextFault::Control { at }),
        None => Ok(words),
    }
}

/// Bytes that cross: valid while they are borrowed.
pub(crate) const fn lend(bytes: &[u8]) -> Text {
    Text {
        data: bytes.as_ptr().cast::<c_char>(),
        len: bytes.len(),
    }
}

/// The same, with the NUL byte that the ABI promises behind what lith gives.
pub(crate) fn lend_c(string: &CStr) -> Text {
    Text {
        data: string.as_ptr(),
        len: string.count_bytes(),
    }
}

/// Bytes as text: what is no UTF-8 or would move a cursor is escaped.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() {
                text.extend(c.escape_default());
            } else {
                text.push(c);
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words_of(text: Text) -> Result<String, TextFault> {
        // SAFETY: the tests lend what they have.
        unsafe { words(text, 64) }
    }

    #[test]
    fn what_is_no_text_is_refused() {
        assert_eq!(words_of(lend("plain".as_bytes())), Ok("plain".to_owned()));
        assert_eq!(words_of(lend(b"")), Ok(String::new()));
        let null = |len| Text {
            data: std::ptr::null(),
            len,
        };
        assert_eq!(words_of(null(0)), Ok(String::new()));
        assert_eq!(words_of(null(3)), Err(TextFault::Null { len: 3 }));
        assert_eq!(
            words_of(Text {
                len: usize::MAX,
                ..lend(b"x")
            }),
            Err(TextFault::Long {
                len: usize::MAX,
                limit: 64
            })
        );
        assert_eq!(
            words_of(lend(b"caf\xe9")),
            Err(TextFault::NotUtf8 { at: 3 })
        );
        assert_eq!(
            words_of(lend(b"a\x1b[2J")),
            Err(TextFault::Control { at: 1 })
        );
    }

    #[test]
    fn what_is_shown_moves_no_cursor() {
        assert_eq!(shown(b"caf\xe9\x1b[2J\n"), "caf\\xe9\\u{1b}[2J\\n");
    }
}
