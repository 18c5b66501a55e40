//! Records for reassembly from an extracted tree.

use std::collections::HashMap;
use std::io::{self, Cursor, Read};

use lith_tarsplit::{
    FileEntry, Kind, RecordItem, SplitError, assemble, clean_path, disassemble,
    disassemble_seekable,
};

use crate::tars::{END, Header, Short, entry, files, gnu, items, padded, pax, segments, split};

/// What extracting leaves of a tar in a plain tree: the last entry of a name, no files below files.
pub(crate) fn tree(tar: &[u8]) -> HashMap<Vec<u8>, Vec<u8>> {
    let mut tree: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
    let split = split(tar).expect("accepted");
    for metadata in &split.entries {
        let key = clean_path(&metadata.path);
        let key = key.strip_prefix(b"/").unwrap_or(&key).to_vec();
        let is_folder = matches!(metadata.kind, Kind::Directory | Kind::DumpDirectory);
        if matches!(metadata.kind, Kind::GlobalHeader | Kind::VolumeLabel) {
            continue;
        }
        let below = [&key[..], b"/"].concat();
        tree.retain(|name, _| *name != key && (is_folder || !name.starts_with(&below)));
        tree.retain(|name, _| !key.starts_with(&[&name[..], b"/"].concat()));
        let payload = split
            .payloads
            .get(&metadata.position)
            .cloned()
            .unwrap_or_default();
        // What is of no known type is extracted as a file.
        if !matches!(metadata.kind, Kind::Regular | Kind::Other(_)) {
            continue;
        }
        let content = match &metadata.sparse {
            None => payload,
            Some(_) if metadata.size > 1 << 24 => continue,
            Some(sparse) => {
                let mut content = vec![0; metadata.size as usize];
                let mut data = payload
                    .get(sparse.data_start as usize..)
                    .unwrap_or_default();
                for (offset, length) in &sparse.runs {
                    let (run, rest) = data.split_at(*length as usize);
                    content[*offset as usize..][..run.len()].copy_from_slice(run);
                    data = rest;
                }
                content
            }
        };
        tree.insert(key, content);
    }
    tree
}

/// Checks the record of a tar: it and the tree make the tar again, and no two entries have one path.
pub(crate) fn check(tar: &[u8], record: &[u8]) {
    let tree = tree(tar);
    let getter = |file: &FileEntry| {
        let key = clean_path(&file.name);
        let content = tree.get(key.strip_prefix(b"/").unwrap_or(&key)).cloned();
        Ok(Box::new(Cursor::new(content.ok_or(io::ErrorKind::NotFound)?)) as Box<dyn Read + Send>)
    };
    let mut again = Vec::new();
    assemble(record, getter, &mut again).unwrap_or_else(|error| panic!("{error}"));
    assert!(again == tar, "the tar does not come back");
    let mut names: Vec<Vec<u8>> = items(record)
        .into_iter()
        .filter_map(|item| match item {
            RecordItem::File(file) => Some(clean_path(&file.name)),
            RecordItem::Segment(_) => None,
        })
        .collect();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count, "two entries for one path");
}

/// Disassembles in both ways.
fn record(tar: &[u8]) -> Vec<u8> {
    let (mut seekable, mut streamed) = (Vec::new(), Vec::new());
    let (mut copy, mut second_copy) = (Vec::new(), Vec::new());
    let summary =
        disassemble_seekable(Cursor::new(tar), &mut seekable, Some(&mut copy)).expect("accepted");
    disassemble(Short::new(tar, 1), &mut streamed, Some(&mut second_copy)).expect("accepted");
    assert_eq!(summary.bytes, tar.len() as u64);
    assert!(seekable == streamed && copy == tar && second_copy == tar);
    check(tar, &seekable);
    seekable
}

#[test]
fn plain_tars_are_recorded_as_ever() {
    let tar = [
        entry(b'5', b"d/", b""),
        entry(b'0', b"d/f", b"abc"),
        entry(b'0', b"./g", &[b'x'; 70_000]),
        Header::new(b'1', b"h", 0).put(157, b"d/f").block(),
        Header::new(b'2', b"s", 0).put(157, b"d").block(),
        entry(b'7', b"contiguous", b"abc"),
        gnu(b'A', b"vendor", b"abc"),
        END.to_vec(),
        b"junk".to_vec(),
    ]
    .concat();
    let mut disassembled = Vec::new();
    disassemble(&tar[..], &mut disassembled, None).expect("accepted");
    assert!(disassembled == split(&tar[..]).expect("accepted").record);
    assert_eq!(record(b""), b"");
}

#[test]
fn of_duplicates_the_last_is_in_the_tree() {
    let tar = [
        entry(b'0', b"f", b"1"),
        entry(b'5', b"d", b""),
        entry(b'0', b"./f", &[b'2'; 2_500_000]),
        entry(b'5', b"d/", b""),
        entry(b'0', b"d/../f", b"3"),
        entry(b'0', b"/g", b"4"),
        entry(b'0', b"g", b"5"),
        entry(b'0', b"l", b"6"),
        Header::new(b'2', b"l", 0).put(157, b"g").block(),
        END.to_vec(),
    ]
    .concat();
    let record = record(&tar);
    let expected = [
        ("d/", 0, false),
        ("d/../f", 0, false),
        ("g", 1, true),
        ("l", 0, false),
    ];
    assert_eq!(
        files(&record),
        expected.map(|(name, size, crc)| (name.into(), size, crc))
    );
    assert!(segments(&record).iter().all(|length| *length <= 1 << 20));
}

#[test]
fn files_that_others_displace() {
    let tar = [
        entry(b'0', b"f", b"1"),
        entry(b'0', b"f/below", b"2"),
        entry(b'0', b"late/below", b"3"),
        entry(b'0', b"late", b"4"),
        entry(b'0', b"d/x/y", b"5"),
        Header::new(b'2', b"d", 0).put(157, b"e").block(),
        entry(b'0', b"fine", b"6"),
        END.to_vec(),
    ]
    .concat();
    let with_payload: Vec<_> = files(&record(&tar))
        .into_iter()
        .filter(|file| file.1 > 0)
        .collect();
    assert_eq!(with_payload, [("fine".into(), 1, true)]);
}

#[test]
fn what_is_no_plain_file_in_a_tree() {
    let long = [&[b'n'; 256][..], b"/f"].concat();
    let tar = [
        gnu(b'D', b"dump/", b"Yfile\0\0"),
        gnu(b'M', b"part", b"abc"),
        gnu(b'V', b"volume", b"abc"),
        entry(b'0', b"folder/", b"abc"),
        entry(b'0', b"", b"abc"),
        entry(b'0', b"a/../../up", b"abc"),
        pax(b'x', &[("path", &long)]),
        entry(b'0', b"short", b"abc"),
        [
            Header::gnu(b'S', b"sparse", 3)
                .put(386, b"00000000010\x0000000000003\0")
                .put(483, b"00000000020\0")
                .block(),
            padded(b"abc"),
        ]
        .concat(),
        [
            Header::gnu(b'S', b"dense", 3)
                .put(386, b"00000000000\x0000000000003\0")
                .put(483, b"00000000003\0")
                .block(),
            padded(b"abc"),
        ]
        .concat(),
        END.to_vec(),
    ]
    .concat();
    let with_payload: Vec<_> = files(&record(&tar))
        .into_iter()
        .filter(|file| file.1 > 0)
        .collect();
    assert_eq!(with_payload, [("dense".into(), 3, true)]);
}

#[test]
fn names_that_readers_dispute() {
    let file = || entry(b'0', b"f", b"abc");
    let prefix = Header::gnu(b'0', b"f", 3).put(345, b"pre").block();
    for front in [
        pax(b'g', &[("path", b"everything")]),
        [gnu(b'L', b"L", b"gnu\0"), pax(b'x', &[("path", b"pax")])].concat(),
        gnu(b'L', b"L", b"\0"),
        pax(b'x', &[("path", b"")]),
        [
            pax(b'x', &[("path", b"lost")]),
            pax(b'g', &[("comment", b"hi")]),
        ]
        .concat(),
        pax(
            b'x',
            &[("GNU.sparse.major", b"2"), ("GNU.sparse.name", b"other")],
        ),
        [prefix, padded(b"abc")].concat(),
    ] {
        let tar = [
            entry(b'0', b"first", b"1"),
            front,
            file(),
            entry(b'0', b"last", b"2"),
            END.to_vec(),
        ]
        .concat();
        assert!(files(&record(&tar)).iter().all(|(_, size, _)| *size == 0));
    }
}

#[test]
fn a_cut_archive_has_its_last_file_in_the_record() {
    let tar = [entry(b'0', b"f", b"abc"), entry(b'0', b"g", &[b'x'; 600])].concat();
    let cut = &tar[..tar.len() - 1];
    assert_eq!(
        files(&record(cut)),
        [("f".into(), 3, true), ("g".into(), 0, false)]
    );
    assert_eq!(
        files(&record(&tar)),
        [("f".into(), 3, true), ("g".into(), 600, true)]
    );
}

#[test]
fn a_refused_tar_is_not_copied() {
    let tar = [entry(b'0', b"f", b"abc"), vec![b'x'; 512]].concat();
    let mut copy = Vec::new();
    let error = disassemble(&tar[..], io::sink(), Some(&mut copy)).expect_err("refused");
    assert!(matches!(
        error,
        SplitError::Header {
            entry: 1,
            offset: 1024,
            ..
        }
    ));
    assert!(copy.is_empty());
}

#[test]
fn a_copy_that_fails_is_called_one() {
    struct Full;
    impl io::Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let tar = [entry(b'0', b"f", b"abc"), END.to_vec()].concat();
    let error = disassemble(&tar[..], io::sink(), Some(&mut Full)).expect_err("full");
    assert!(
        matches!(error, SplitError::Copy { source } if source.kind() == io::ErrorKind::StorageFull)
    );
    let error = disassemble(&tar[..], Full, None).expect_err("full");
    assert!(matches!(error, SplitError::Record { .. }));
}
