//! What of this process's memory can be read and run: asked before a pointer of a table is followed.

use std::ffi::c_char;
use std::ops::Range;

use crate::abi::Text;
use crate::text::TextFault;

/// The mappings of this process, when it was asked. Where the system does not tell, everything is
/// taken for right.
#[derive(Debug)]
pub(super) struct Memory(Option<Vec<Mapping>>);

#[derive(Debug)]
struct Mapping {
    range: Range<usize>,
    readable: bool,
    executable: bool,
}

impl Memory {
    /// Asks the system.
    pub(super) fn now() -> Self {
        let maps = std::fs::read_to_string("/proc/self/maps").ok();
        Self(maps.and_then(|maps| maps.lines().map(mapping).collect()))
    }

    /// Whether so many bytes can be read there.
    pub(super) fn is_readable<T>(&self, at: *const T, len: usize) -> bool {
        self.holds(at.addr(), len, |mapping| mapping.readable)
    }

    /// Whether there is code.
    pub(super) fn is_code(&self, at: usize) -> bool {
        self.holds(at, 1, |mapping| mapping.executable)
    }

    /// Refuses a text that cannot be read. What else may be wrong with it is seen when it is.
    pub(super) fn expect_text(&self, text: Text, limit: usize) -> Result<(), TextFault> {
        let Text { data, len } = text;
        let looked_at: *const c_char = data;
        if len > limit || data.is_null() || self.is_readable(looked_at, len) {
            return Ok(());
        }
        Err(TextFault::Elsewhere)
    }

    fn holds(&self, at: usize, len: usize, right: impl Fn(&Mapping) -> bool) -> bool {
        let (Some(mappings), Some(end)) = (&self.0, at.checked_add(len)) else {
            return self.0.is_none();
        };
        // They are in the order of their addresses, and may adjoin.
        let mut at = at;
        for mapping in mappings.iter().filter(|mapping| right(mapping)) {
            if mapping.range.contains(&at) {
                at = mapping.range.end;
            }
        }
        at >= end
    }
}

/// A line such as `7f0c4a200000-7f0c4a228000 r-xp 00000000 08:01 1234 /lib/libc.so.6`.
fn mapping(line: &str) -> Option<Mapping> {
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    let number = |digits| usize::from_str_radix(digits, 16).ok();
    Some(Mapping {
        range: number(start)?..number(end)?,
        readable: rest.starts_with('r'),
        executable: rest.get(2..3) == Some("x"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_and_data_are_told_apart() {
        static DATA: [u8; 4] = [1, 2, 3, 4];
        let memory = Memory::now();
        assert!(memory.0.is_some());
        assert!(memory.is_readable(&raw const DATA, 4));
        assert!(!memory.is_code((&raw const DATA).addr()));
        assert!(memory.is_code(mapping as fn(&str) -> Option<Mapping> as usize));
        assert!(!memory.is_readable(std::ptr::without_provenance::<u8>(8), 1));
        assert!(!memory.is_readable(std::ptr::without_provenance::<u8>(usize::MAX), 1));
    }

    #[test]
    fn adjoining_mappings_are_one_and_gaps_are_none() {
        let maps = "1000-2000 r--p 0 0:0 0\n2000-3000 r-xp 0 0:0 0\n3000-4000 ---p 0 0:0 0\n5000-6000 rw-p 0 0:0 0 [heap]";
        let memory = Memory(maps.lines().map(mapping).collect());
        let readable =
            |at: usize, len| memory.is_readable(std::ptr::without_provenance::<u8>(at), len);
        assert!(readable(0x1800, 0x1800) && readable(0x5000, 0x1000));
        assert!(!readable(0x1800, 0x1801) && !readable(0xfff, 1) && !readable(0x5fff, 2));
        assert!(memory.is_code(0x2000) && !memory.is_code(0x1fff));
    }
}
