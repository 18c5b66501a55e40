//! The binary form says what the text says, and damage to it is met.

use std::fs;
use std::io::{self, Cursor, Read};
use std::path::Path;

use lith_tarsplit::{
    Assembler, BinaryWriter, FileEntry, ReadPieces, RecordError, RecordItem, RecordReader,
    RecordSink, Splitter, TextWriter,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::fixtures::{folder, inflate};
use crate::tars::{END, Short, entry, round_trip};

fn binary(text: &[u8]) -> Vec<u8> {
    RecordReader::new(text)
        .copy_to(BinaryWriter::new(Vec::new()))
        .expect("a record")
}

fn text(binary: &[u8]) -> Vec<u8> {
    RecordReader::binary(binary)
        .copy_to(TextWriter::new(Vec::new()))
        .expect("a record")
}

/// The items of a binary record, those of one segment put together.
fn all(record: impl Read) -> Result<Vec<RecordItem>, RecordError> {
    let mut reader = RecordReader::binary(record);
    let mut items = Vec::new();
    while let Some(item) = reader.next_item()? {
        items.push(item);
    }
    assert_eq!(reader.next_item()?, None, "still the end");
    Ok(items)
}

/// A record with everything in it: a few files, one of them with a long name, and an end.
fn sample() -> Vec<u8> {
    let tar = [
        entry(b'0', b"f", &[b'x'; 700]),
        entry(b'5', b"folder/", b""),
        entry(b'0', b"caf\xe9", b"y"),
        END.to_vec(),
    ]
    .concat();
    round_trip(&tar).record
}

#[test]
fn what_the_reference_writes_comes_back_to_the_byte() {
    let mut count = 0;
    for file in fs::read_dir(folder()).expect("the fixtures") {
        let path = file.expect("a fixture").path();
        let Some(name) = path.to_str().and_then(|path| path.strip_suffix(".tar.gz")) else {
            continue;
        };
        let reference = inflate(Path::new(&format!("{name}.json.gz")));
        let converted = binary(&reference);
        assert!(text(&converted) == reference, "{name}");
        let slowly = RecordReader::binary(Short::new(&converted, count));
        let slowly = slowly.copy_to(TextWriter::new(Vec::new()));
        assert!(slowly.expect("a record") == reference, "{name}, slowly");

        // Splitting to it is the same as converting to it.
        let tar = inflate(&path);
        let split = round_trip(&tar);
        let mut splitter = Splitter::recording(
            ReadPieces::new(&tar[..], 4096),
            BinaryWriter::new(Vec::new()),
        );
        while let Some(entry) = splitter.next_entry().expect("a tar") {
            assert!(entry.metadata().position < 1000);
        }
        let (record, summary) = splitter.finish().expect("a tar");
        assert!(record == binary(&split.record), "{name}");
        assert_eq!(summary, split.summary, "{name}");

        let getter = |file: &FileEntry| {
            let payload = split.payloads.get(&file.position).cloned();
            let payload = payload.ok_or(io::ErrorKind::NotFound)?;
            Ok(Box::new(Cursor::new(payload)) as Box<dyn Read + Send>)
        };
        let mut again = Vec::new();
        Assembler::reading(RecordReader::binary(&record[..]), getter)
            .read_to_end(&mut again)
            .expect("what was split can be assembled");
        assert!(again == tar, "{name}");
        count += 1;
    }
    assert!(count >= 15, "only {count} fixtures");
}

#[test]
fn a_record_that_is_cut_off_is_torn() {
    let record = binary(&sample());
    let whole = all(&record[..]).expect("a record");
    for cut in 0..record.len() {
        match all(&record[..cut]) {
            Err(RecordError::Torn { position, offset }) => {
                assert_eq!(offset, cut as u64);
                assert!(position <= whole.len() as u64, "cut at {cut}: {position}");
            }
            other => panic!("cut at {cut}: {other:?}"),
        }
    }
    // Also when a decoder in front of it finds that out.
    let torn = (&record[..40]).chain(Ends);
    assert!(matches!(
        all(torn),
        Err(RecordError::Torn { offset: 40, .. })
    ));
}

/// As a decoder whose own end is missing.
struct Ends;

impl Read for Ends {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

#[test]
fn a_changed_byte_is_an_error_or_says_something_else() {
    let record = binary(&sample());
    let whole = all(&record[..]).expect("a record");
    let mut refused = 0;
    for at in 0..record.len() {
        for change in 1..=255_u8 {
            let mut changed = record.clone();
            changed[at] ^= change;
            match all(&changed[..]) {
                Ok(items) => assert!(items != whole, "byte {at} by {change:#x}"),
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 255 * 10, "{refused}");
}

#[test]
fn damage_is_named() {
    let magic = &binary(b"")[..8];
    let damaged: [(&[u8], &str); 9] = [
        (b"\x00\x01", "its end names 1 entries, found 0"),
        (b"\x04\x00", "its end names 0 entries, found 0"),
        (b"\x00\x00\x00", "bytes follow its end"),
        (b"\x05a\x00\x00", "its segment has no end"),
        (b"\x05a\x03\x00", "its segment has no end"),
        (b"\x82\x00", "a number is not written as it must be"),
        (&[0xff; 12], "a number is not written as it must be"),
        (
            b"\xfe\xff\xff\xff\x0f",
            "a piece of a segment has 1073741823 bytes, expected at most 65536",
        ),
        (
            b"\xff\xff\xff\xff\xff\x0f",
            "a name has 68719476735 bytes, expected at most 16777216",
        ),
    ];
    for (bytes, expected) in damaged {
        let error = all(&[magic, bytes].concat()[..]).expect_err(expected);
        assert!(
            matches!(error, RecordError::Damaged { .. }) && error.to_string().contains(expected),
            "{error}, expected {expected}"
        );
    }
    for (bytes, expected) in [
        (&sample()[..], "it does not begin as a binary record does"),
        (b"\x89tarrec\x02\0\0", "its version is 2, expected 1"),
    ] {
        let error = all(bytes).expect_err(expected);
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn segments_are_the_same_however_they_come() {
    let data: Vec<u8> = (0..300_000_u32).map(|i| (i * 7 % 251) as u8).collect();
    for length in [0, 1, 65_535, 65_536, 65_537, 131_072, 300_000] {
        let data = &data[..length];
        let mut first = None;
        for step in [1, 511, 65_536, 100_000, 300_000] {
            let mut record = BinaryWriter::new(Vec::new());
            record.begin_segment().expect("memory");
            for piece in data.chunks(step) {
                record.add(piece).expect("memory");
            }
            let record = record.finish().expect("memory takes everything");
            assert!(
                *first.get_or_insert(record.clone()) == record,
                "{length} by {step}"
            );
        }
        let record = first.expect("made above");
        assert!(record.len() <= length + 8 + 4 * (length / 65_536 + 1) + 2);
        let pieces = all(&record[..]).expect("a record");
        let found = pieces.iter().flat_map(|piece| match piece {
            RecordItem::Segment(bytes) => bytes.clone(),
            RecordItem::File(file) => panic!("{file:?}"),
        });
        assert!(found.eq(data.iter().copied()), "{length}");
        assert_eq!(
            text(&record).iter().filter(|byte| **byte == b'\n').count(),
            1
        );
    }
}

fn item() -> impl Strategy<Value = RecordItem> {
    prop_oneof![
        vec(any::<u8>(), 0..2000).prop_map(RecordItem::Segment),
        (60_000..140_000_usize).prop_map(|length| RecordItem::Segment(vec![b's'; length])),
        (
            vec(any::<u8>(), 0..300),
            prop_oneof![0..70_000_u64, 0..=i64::MAX as u64],
            any::<Option<[u8; 8]>>()
        )
            .prop_map(|(name, size, crc)| RecordItem::File(FileEntry {
                position: 0,
                name,
                size,
                crc
            })),
    ]
}

fn written<S: RecordSink>(items: &[RecordItem], mut sink: S) -> S::Written {
    for item in items {
        let added = match item {
            RecordItem::Segment(bytes) => sink.begin_segment().and_then(|()| sink.add(bytes)),
            RecordItem::File(file) => sink.file(&file.name, file.size, file.crc),
        };
        added.expect("memory takes everything");
    }
    sink.finish().expect("memory takes everything")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, rng_seed: proptest::test_runner::RngSeed::Fixed(3), ..ProptestConfig::default() })]

    #[test]
    fn each_form_makes_the_other(items in vec(item(), 0..12), step in 0..900_usize) {
        let as_text = written(&items, TextWriter::new(Vec::new()));
        let as_binary = written(&items, BinaryWriter::new(Vec::new()));
        prop_assert!(binary(&as_text) == as_binary);
        prop_assert!(text(&as_binary) == as_text);
        let slowly = RecordReader::binary(Short::new(&as_binary, step));
        prop_assert!(slowly.copy_to(BinaryWriter::new(Vec::new())).expect("a record") == as_binary);
    }

    #[test]
    fn any_bytes_as_a_record(bytes in vec(prop_oneof![any::<u8>(), 0..20_u8], 0..300)) {
        let record = [&binary(b"")[..8], &bytes].concat();
        if let Ok(items) = all(&record[..]) {
            // Each record is written in one way.
            let again = RecordReader::binary(&record[..]).copy_to(BinaryWriter::new(Vec::new()));
            prop_assert!(all(&again.expect("readable")[..]).expect("readable").len() <= items.len());
        }
    }
}
