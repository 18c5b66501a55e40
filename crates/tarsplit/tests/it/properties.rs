//! For any bytes at all: refused, or given back.

use proptest::collection::vec;
use proptest::prelude::*;

use lith_tarsplit::{Summary, disassemble_seekable};

use crate::disassemble::check;
use crate::tars::{END, Header, Short, entry, gnu, padded, pax, split};

/// Splits and disassembles; what is accepted must come back.
fn refused_or_given_back(tar: &[u8], step: usize) -> bool {
    let (mut record, mut copy) = (Vec::new(), Vec::new());
    let disassembled =
        disassemble_seekable(std::io::Cursor::new(tar), &mut record, Some(&mut copy));
    match split(Short::new(tar, step)) {
        Ok(split) => {
            assert!(split.assemble() == tar, "the tar does not come back");
            let Summary { bytes, entries, .. } = disassembled.expect("both accept the same");
            assert_eq!(
                (bytes, entries),
                (tar.len() as u64, split.entries.len() as u64)
            );
            assert!(copy == tar);
            check(tar, &record);
            true
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            assert!(disassembled.is_err(), "both refuse the same");
            false
        }
    }
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "[ab](/[ab]){0,3}/?".prop_map(String::into_bytes),
        1 => "(\\./|\\.\\./|/)?[ab](/\\.\\./[ab])?".prop_map(String::into_bytes),
        1 => vec(any::<u8>().prop_filter("no end", |byte| *byte != 0), 0..8),
    ]
}

fn data() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..5),
        vec(any::<u8>(), 500..520),
        (0..3000_usize).prop_map(|length| vec![b'd'; length])
    ]
}

/// An entry of some form, or an extension.
fn part() -> impl Strategy<Value = Vec<u8>> {
    let flag = prop::sample::select(&b"000\x007512346SgDVMAX"[..]);
    prop_oneof![
        6 => (flag.clone(), name(), data()).prop_map(|(flag, name, data)| {
            let data = if b"123456".contains(&flag) { Vec::new() } else { data };
            entry(flag, &name, &data)
        }),
        1 => (flag, name(), 0..2000_u64).prop_map(|(flag, name, size)| Header::gnu(flag, &name, size).block()),
        1 => name().prop_map(|name| gnu(b'L', b"L", &[&name[..], b"\0"].concat())),
        1 => name().prop_map(|name| pax(b'x', &[("path", &name)])),
        1 => (0..2000_usize).prop_map(|size| pax(b'x', &[("size", size.to_string().as_bytes())])),
        1 => prop::sample::select(&["comment", "path", "size"][..]).prop_map(|key| pax(b'g', &[(key, b"7")])),
        1 => (name(), 0..20_u64, 0..20_usize).prop_map(|(name, offset, length)| {
            let header = Header::gnu(b'S', &name, length as u64)
                .put(386, format!("{offset:011o}\0{length:011o}\0").as_bytes())
                .put(483, b"00000000024\0")
                .block();
            [header, padded(&vec![b's'; length])].concat()
        }),
        1 => (name(), 0..20_usize).prop_map(|(name, length)| {
            let map = format!("1\n3\n{length}\n");
            let data = [padded(map.as_bytes()), vec![b's'; length]].concat();
            let keys = pax(b'x', &[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"40")]);
            [keys, entry(b'0', &name, &data)].concat()
        }),
    ]
}

/// Whole tars and their ends, cut anywhere.
fn tar() -> impl Strategy<Value = Vec<u8>> {
    (
        vec(part(), 0..8),
        prop::sample::select(&[0, 100, 512, 700, 1024, 5000][..]),
        any::<prop::sample::Index>(),
        0..4,
    )
        .prop_map(|(parts, zeros, cut, whole)| {
            let mut tar = parts.concat();
            tar.resize(tar.len() + zeros, 0);
            if whole == 0 {
                tar.truncate(cut.index(tar.len() + 1));
            }
            tar
        })
}

/// Sets bytes, and repairs the checksums of headers that had a right one.
fn mutate(tar: &mut [u8], changes: &[(prop::sample::Index, u8)]) {
    let sum = |block: &[u8]| -> u32 {
        let field = 148..156;
        block
            .iter()
            .enumerate()
            .map(|(at, byte)| {
                if field.contains(&at) {
                    32
                } else {
                    u32::from(*byte)
                }
            })
            .sum()
    };
    let text = |block: &[u8]| format!("{:06o}\0 ", sum(block));
    for (at, byte) in changes {
        if tar.is_empty() {
            return;
        }
        let at = at.index(tar.len());
        let block = at / 512 * 512;
        let is_header = tar
            .get(block..block + 512)
            .is_some_and(|block| block[148..156] == *text(block).as_bytes());
        tar[at] = *byte;
        if is_header {
            let text = text(&tar[block..block + 512]);
            tar[block + 148..block + 156].copy_from_slice(text.as_bytes());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, rng_seed: proptest::test_runner::RngSeed::Fixed(2), ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in vec(any::<u8>(), 0..3000), step in 1..900_usize) {
        refused_or_given_back(&bytes, step);
    }

    #[test]
    fn any_bytes_behind_a_tar(parts in vec(part(), 0..4), bytes in vec(any::<u8>(), 0..2000)) {
        let tar = [parts.concat(), END.to_vec(), bytes].concat();
        refused_or_given_back(&tar, 700);
    }

    #[test]
    fn made_tars(tar in tar(), step in 1..900_usize) {
        refused_or_given_back(&tar, step);
    }

    #[test]
    fn mutated_tars(mut tar in tar(), changes in vec((any::<prop::sample::Index>(), prop_oneof![any::<u8>(), prop::sample::select(&b"\0 01239gxLKS/\x80\xff"[..])]), 1..6)) {
        mutate(&mut tar, &changes);
        refused_or_given_back(&tar, 300);
    }

    #[test]
    fn any_text_as_a_record(text in vec(prop_oneof![any::<u8>(), prop::sample::select(&b"{}[]\":,\\ntype12payload\n "[..])], 0..300)) {
        let mut reader = lith_tarsplit::RecordReader::new(&text[..]);
        while let Ok(Some(_)) = reader.next_item() {}
        let front = [&b"{\"type\":2,\"payload\":\""[..], &text].concat();
        let mut reader = lith_tarsplit::RecordReader::new(&front[..]);
        while let Ok(Some(_)) = reader.next_item() {}
    }
}

#[test]
fn most_made_tars_are_accepted() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut accepted = 0;
    for step in 1..=200 {
        let tar = tar().new_tree(&mut runner).expect("a tar").current();
        accepted += usize::from(refused_or_given_back(&tar, step));
    }
    assert!(accepted >= 60, "only {accepted} of 200");
}
