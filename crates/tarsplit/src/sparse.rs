//! The four ways a tar has to say where the data of a sparse file belongs.

use crate::header::{BLOCK, Block, Format, Raw, Reason, number};
use crate::metadata::Sparse;
use crate::pax::{Key, Pax, integer};

/// Offset and length of each run of data.
pub(crate) type Runs = Vec<(u64, u64)>;

const NO_NUMBER: Reason = "its sparse map holds something that is not a number";

/// The runs that an old GNU header, or an extension block of one, holds: into `runs`.
/// Returns whether another block follows.
pub(crate) fn old_gnu(fields: &[u8], more: u8, runs: &mut Runs) -> Result<bool, Reason> {
    for pair in fields.chunks_exact(24) {
        let (offset, length) = pair.split_at(12);
        // The end of the list is where GNU tar sees it, even when another block follows.
        if offset.first() == Some(&0) {
            break;
        }
        let value = |field: &[u8]| number(field).ok_or(NO_NUMBER);
        runs.push(run(value(offset)?, value(length)?)?);
    }
    Ok(more > 0)
}

/// An old GNU header's runs and the size of the file.
pub(crate) fn old_gnu_header(
    raw: &Raw<'_>,
    block: &Block,
    runs: &mut Runs,
) -> Result<(u64, bool), Reason> {
    if raw.format != Format::Gnu {
        return Err("a sparse file without a GNU header");
    }
    let size = number(&block[483..495])
        .and_then(|size| u64::try_from(size).ok())
        .ok_or("its real size is not a size")?;
    Ok((size, old_gnu(&block[386..482], block[482], runs)?))
}

/// An extension block of an old GNU header: its runs.
pub(crate) fn old_gnu_extension(block: &Block, runs: &mut Runs) -> Result<bool, Reason> {
    old_gnu(&block[..504], block[504], runs)
}

/// Which pax form, if any.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PaxForm {
    /// The map is in the extended header: 0.0 and 0.1.
    InHeader,
    /// The map is in front of the data: 1.0.
    InPayload,
}

/// Tells the pax form.
pub(crate) fn pax_form(pax: &Pax) -> Option<PaxForm> {
    match (pax.get(Key::SparseMajor), pax.get(Key::SparseMinor)) {
        (Some(b"0"), Some(b"0" | b"1")) => Some(PaxForm::InHeader),
        (Some(b"1"), Some(b"0")) => Some(PaxForm::InPayload),
        (None, None) if pax.sparse_map().is_some() => Some(PaxForm::InHeader),
        _ => None,
    }
}

/// The map of pax 0.0 and 0.1.
pub(crate) fn pax_header_map(pax: &Pax) -> Result<Runs, Reason> {
    let count = pax
        .get(Key::SparseBlocks)
        .and_then(integer)
        .and_then(|count| usize::try_from(count).ok());
    let map = pax.sparse_map().unwrap_or_default();
    let mut numbers = map.split(|byte| *byte == b',').filter(|_| !map.is_empty());
    let mut runs = Runs::new();
    while let Some(offset) = numbers.next() {
        let length = numbers
            .next()
            .ok_or("its sparse map has an odd count of numbers")?;
        let value = |text| integer(text).ok_or(NO_NUMBER);
        runs.push(run(value(offset)?, value(length)?)?);
    }
    if count != Some(runs.len()) {
        return Err("its sparse map has another length than it says");
    }
    Ok(runs)
}

/// Reads the map of pax 1.0 block by block.
#[derive(Default)]
pub(crate) struct PayloadMap {
    /// How many bytes of complete blocks were looked at.
    pub(crate) seen: usize,
    numbers: usize,
    expected: Option<usize>,
    /// The offset that waits for its length.
    offset: Option<i64>,
    digits: Vec<u8>,
    runs: Runs,
}

impl PayloadMap {
    /// Takes the next block. Returns the runs after the block that ends the map.
    pub(crate) fn block(&mut self, block: &[u8]) -> Result<Option<Runs>, Reason> {
        self.seen += block.len();
        for byte in block {
            if *byte != b'\n' {
                // No number needs more digits; leading zeros are not worth memory.
                if self.digits.len() >= 4 * BLOCK {
                    return Err(NO_NUMBER);
                }
                self.digits.push(*byte);
                continue;
            }
            let value = integer(&self.digits).ok_or(NO_NUMBER)?;
            self.digits.clear();
            match (self.expected, self.offset.take()) {
                (None, _) => {
                    let count = value
                        .checked_mul(2)
                        .and_then(|count| usize::try_from(count).ok());
                    self.expected = Some(count.ok_or("its sparse map has an impossible length")?);
                }
                (Some(_), None) => self.offset = Some(value),
                (Some(_), Some(offset)) => self.runs.push(run(offset, value)?),
            }
            if self.expected.is_some() {
                if Some(self.numbers) == self.expected {
                    return Ok(Some(std::mem::take(&mut self.runs)));
                }
                self.numbers += 1;
            }
        }
        Ok(None)
    }
}

/// A run whose numbers are not negative and whose end is one too.
fn run(offset: i64, length: i64) -> Result<(u64, u64), Reason> {
    match (
        u64::try_from(offset),
        u64::try_from(length),
        offset.checked_add(length),
    ) {
        (Ok(offset), Ok(length), Some(_)) => Ok((offset, length)),
        _ => Err("its sparse map has a run that is nowhere"),
    }
}

/// Checks the runs against the file's size and what is stored of it.
///
/// A file of size 0 has no use for its stored bytes: the field's readers pass over them unseen.
pub(crate) fn check(sparse: &Sparse, size: u64, stored: u64) -> Result<(), Reason> {
    let mut end = 0;
    let mut data = 0_u64;
    for (offset, length) in &sparse.runs {
        if *offset < end {
            return Err("the runs of its sparse map overlap");
        }
        end = offset + length;
        if end > size {
            return Err("its sparse map leaves the file");
        }
        data += length;
    }
    if size > 0 && stored.checked_sub(sparse.data_start) != Some(data) {
        return Err("its sparse map and its data differ in length");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{PayloadMap, check};
    use crate::metadata::Sparse;

    fn map(text: &str) -> Result<Option<Vec<(u64, u64)>>, &'static str> {
        let mut block = text.as_bytes().to_vec();
        block.resize(text.len().next_multiple_of(512), 0);
        let mut map = PayloadMap::default();
        for block in block.chunks(512) {
            if let Some(runs) = map.block(block)? {
                return Ok(Some(runs));
            }
        }
        Ok(None)
    }

    #[test]
    fn payload_maps() {
        assert_eq!(map("0\n"), Ok(Some(vec![])));
        assert_eq!(map("2\n0\n5\n10\n1\n"), Ok(Some(vec![(0, 5), (10, 1)])));
        assert_eq!(map("2\n0\n5\n10\n"), Ok(None));
        assert_eq!(map("1\n1\n1\n9\n"), Ok(Some(vec![(1, 1)])));
        for bad in [
            "-1\n",
            "x\n",
            "\n",
            "1\n0\n-5\n",
            "9223372036854775807\n",
            "1\n9223372036854775807\n1\n",
        ] {
            assert!(map(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn runs_are_checked() {
        let sparse = |runs: &[(u64, u64)]| Sparse {
            data_start: 512,
            runs: runs.to_vec(),
        };
        assert!(check(&sparse(&[(0, 5), (5, 1)]), 10, 518).is_ok());
        assert!(check(&sparse(&[(0, 5), (4, 1)]), 10, 518).is_err());
        assert!(check(&sparse(&[(0, 5), (9, 2)]), 10, 519).is_err());
        assert!(check(&sparse(&[(0, 5)]), 10, 518).is_err());
        assert!(check(&sparse(&[(0, 5)]), 10, 5).is_err());
        assert!(check(&sparse(&[]), 0, 999).is_ok());
    }
}
