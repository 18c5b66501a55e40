//! Streams that must come back, and what their entries are.

use lith_tarsplit::{Kind, Sparse, Timestamp};

use crate::tars::{END, Header, entry, files, gnu, padded, pax, round_trip, segments};

#[test]
fn nothing_at_all_and_ends_of_all_lengths() {
    assert_eq!(round_trip(b"").record, b"");
    for length in [1, 100, 511, 512, 513, 1023, 1024, 1025, 10_240] {
        let split = round_trip(&vec![0; length]);
        assert!(split.entries.is_empty());
        let one = [entry(b'0', b"f", b"abc"), vec![0; length]].concat();
        assert_eq!(round_trip(&one).entries.len(), 1);
    }
}

#[test]
fn what_stands_behind_the_end_is_cut_by_the_mebibyte() {
    let mib = 1 << 20;
    for (junk, expected) in [
        (1, vec![1]),
        (mib, vec![mib]),
        (2 * mib + 5, vec![mib, mib, 5]),
    ] {
        let tar = [entry(b'0', b"f", b"abc"), END.to_vec(), vec![b'J'; junk]].concat();
        // What a reader gives as one segment may come in pieces; the lines are what counts.
        let record = round_trip(&tar).record;
        let lines = record
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        let behind: Vec<usize> = lines.skip(3).map(|line| line.len()).collect();
        let text = |length: usize| {
            length.div_ceil(3) * 4 + r#"{"type":2,"payload":"","position":3}"#.len()
        };
        assert_eq!(behind, expected.into_iter().map(text).collect::<Vec<_>>());
    }
}

#[test]
fn an_archive_may_end_inside_padding() {
    let header = Header::new(b'0', b"f", 600).block();
    let data = vec![b'x'; 600];
    for padding in [0, 1, 100, 423] {
        for byte in [0, b'J'] {
            round_trip(&[header.clone(), data.clone(), vec![byte; padding]].concat());
        }
    }
    // Also that of an extension header with nothing behind it.
    let extension = pax(b'x', &[("path", b"p")]);
    for length in [523, 600, 1023, 1024] {
        round_trip(&[entry(b'0', b"f", b"abc"), extension[..length].to_vec()].concat());
    }
}

#[test]
fn sizes_of_what_has_no_payload() {
    let tar = [
        entry(b'0', b"f", b"abc"),
        Header::new(b'1', b"hard", 3).put(157, b"f").block(),
        Header::new(b'2', b"sym", 5).put(157, b"f").block(),
        Header::new(b'5', b"dir/", 7).block(),
        Header::new(b'3', b"chr", 9).block(),
        Header::new(b'6', b"fifo", 1).block(),
        Header::new(0, b"old/", 512).put(257, &[0; 8]).block(),
        END.to_vec(),
    ]
    .concat();
    let split = round_trip(&tar);
    let sizes = [
        ("f", 3),
        ("hard", 3),
        ("sym", 5),
        ("dir/", 7),
        ("chr", 9),
        ("fifo", 1),
        ("old/", 512),
    ];
    assert_eq!(
        files(&split.record),
        sizes.map(|(name, size)| (name.into(), size, true))
    );
    assert!(
        String::from_utf8_lossy(&split.record).contains(r#""size":7,"payload":"AAAAAAAAAAA=""#)
    );
    assert!(
        split.entries[1..]
            .iter()
            .all(|entry| entry.size == 0 && entry.stored == 0)
    );
    assert_eq!(split.entries[6].kind, Kind::Directory);
}

#[test]
fn a_payload_with_the_checksum_of_nothing_is_not_nothing() {
    // CRC-64 is linear: any eight bytes can be chosen so that the sum is 0.
    let data = payload_with_zero_checksum(b"not nothing ");
    let tar = [
        entry(b'0', b"f", &data),
        Header::new(b'1', b"h", 20).block(),
        END.to_vec(),
    ]
    .concat();
    let split = round_trip(&tar);
    assert!(
        String::from_utf8_lossy(&split.record)
            .contains(r#""name":"f","size":20,"payload":"AAAAAAAAAAA=""#)
    );
}

/// `front` and eight bytes that make the checksum of all 0.
pub(crate) fn payload_with_zero_checksum(front: &[u8]) -> Vec<u8> {
    let sum = |data: &[u8]| {
        let mut crc = lith_tarsplit::Crc64::new();
        crc.update(data);
        u64::from_be_bytes(crc.finish())
    };
    let with = |tail: u64| [front, &tail.to_le_bytes()].concat();
    // Which bits of the sum each bit of the tail turns over: solve for all of them.
    let base = sum(&with(0));
    let mut rows: Vec<(u64, u64)> = (0..64)
        .map(|bit| (sum(&with(1 << bit)) ^ base, 1 << bit))
        .collect();
    let (mut left, mut tail) = (base, 0);
    for bit in (0..64).rev() {
        let Some(index) = rows.iter().position(|(effect, _)| effect >> bit & 1 == 1) else {
            continue;
        };
        let (effect, change) = rows.swap_remove(index);
        for row in &mut rows {
            if row.0 >> bit & 1 == 1 {
                *row = (row.0 ^ effect, row.1 ^ change);
            }
        }
        if left >> bit & 1 == 1 {
            left ^= effect;
            tail ^= change;
        }
    }
    let data = with(tail);
    assert_eq!(sum(&data), 0);
    data
}

#[test]
fn duplicates_and_global_headers_are_kept_apart_by_position() {
    let global = pax(b'g', &[("comment", b"hi")]);
    let tar = [
        global.clone(),
        entry(b'0', b"f", b"1"),
        global,
        entry(b'0', b"./f", b"22"),
        END.to_vec(),
    ]
    .concat();
    let split = round_trip(&tar);
    let kinds: Vec<Kind> = split.entries.iter().map(|entry| entry.kind).collect();
    assert_eq!(
        kinds,
        [
            Kind::GlobalHeader,
            Kind::Regular,
            Kind::GlobalHeader,
            Kind::Regular
        ]
    );
    // A global header's segment ends before its padding.
    assert_eq!(segments(&split.record)[0], 512 + 14);
    assert_eq!(split.payloads[&split.entries[3].position], b"22");
}

#[test]
fn sparse_files_of_every_form() {
    let data = b"AAAAABBBBB";
    let runs = vec![(0, 5), (1000, 5)];
    let old = Header::gnu(b'S', b"old", 10)
        .put(
            386,
            b"00000000000\x0000000000005\x0000000001750\x0000000000005\0",
        )
        .put(483, b"00000003720\0")
        .block();
    let map = padded(b"2\n0\n5\n1000\n5\n");
    let tar = [
        [old, padded(data)].concat(),
        pax(
            b'x',
            &[
                ("GNU.sparse.size", b"2000"),
                ("GNU.sparse.numblocks", b"2"),
                ("GNU.sparse.offset", b"0"),
                ("GNU.sparse.numbytes", b"5"),
                ("GNU.sparse.offset", b"1000"),
                ("GNU.sparse.numbytes", b"5"),
            ],
        ),
        entry(b'0', b"v00", data),
        pax(
            b'x',
            &[
                ("GNU.sparse.size", b"2000"),
                ("GNU.sparse.numblocks", b"2"),
                ("GNU.sparse.map", b"0,5,1000,5"),
                ("GNU.sparse.name", b"v01"),
            ],
        ),
        entry(b'0', b"GNUSparseFile.1/v01", data),
        pax(
            b'x',
            &[
                ("GNU.sparse.major", b"1"),
                ("GNU.sparse.minor", b"0"),
                ("GNU.sparse.name", b"v10"),
                ("GNU.sparse.realsize", b"2000"),
            ],
        ),
        entry(b'0', b"GNUSparseFile.1/v10", &[map, data.to_vec()].concat()),
        END.to_vec(),
    ]
    .concat();
    let split = round_trip(&tar);
    for (metadata, (name, data_start)) in
        split
            .entries
            .iter()
            .zip([("old", 0), ("v00", 0), ("v01", 0), ("v10", 512)])
    {
        assert_eq!(metadata.path, name.as_bytes());
        assert_eq!(
            metadata.sparse,
            Some(Sparse {
                data_start,
                runs: runs.clone()
            }),
            "{name}"
        );
        assert_eq!(
            (metadata.size, metadata.stored),
            (2000, 10 + data_start),
            "{name}"
        );
        assert_eq!(
            &split.payloads[&metadata.position][data_start as usize..],
            data
        );
    }
}

#[test]
fn an_empty_sparse_file_leaves_its_data_in_the_segment() {
    // As the reference: nothing of a file of size 0 is looked at.
    let header = Header::gnu(b'S', b"f", 3_000_000)
        .put(483, b"00000000000\0")
        .block();
    let tar = [
        header,
        padded(&vec![b'z'; 3_000_000]),
        entry(b'0', b"g", b"1"),
        END.to_vec(),
    ]
    .concat();
    let split = round_trip(&tar);
    assert_eq!(
        files(&split.record),
        [("f".into(), 0, false), ("g".into(), 1, true)]
    );
    assert_eq!(
        split.record.split(|byte| *byte == b'\n').count(),
        6,
        "one segment"
    );
}

#[test]
fn metadata_of_extensions() {
    let tar = [
        pax(
            b'x',
            &[
                ("path", b"long"),
                ("linkpath", b"target"),
                ("uid", b"4000000000"),
                ("gid", b"-1"),
                ("uname", b"root"),
                ("mtime", b"-1.25"),
                ("SCHILY.xattr.user.b", b"\0\xff"),
                ("SCHILY.xattr.user.a", b""),
            ],
        ),
        entry(b'2', b"short", b""),
        gnu(b'K', b"././@LongLink", b"gnu link\0junk"),
        gnu(b'L', b"././@LongLink", b"gnu name\0"),
        Header::gnu(b'1', b"short", 0)
            .put(157, b"l")
            .put(136, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe")
            .block(),
        Header::new(b'3', b"null", 0)
            .put(329, b"0000001\x000000003\0")
            .put(345, b"dev")
            .put(100, b"0106644\0")
            .block(),
        Header::new(b'0', b"s", 0)
            .put(345, b"star")
            .put(476, b"00000000001 00000000002 ")
            .put(508, b"tar\0")
            .block(),
        END.to_vec(),
    ]
    .concat();
    let [a, b, c, d] = &round_trip(&tar).entries[..] else {
        panic!("four entries")
    };
    assert_eq!(
        (&a.path[..], &a.link[..], a.kind),
        (&b"long"[..], &b"target"[..], Kind::Symlink)
    );
    assert_eq!(
        (a.uid, a.gid, &a.uname[..]),
        (4_000_000_000, u64::MAX, &b"root"[..])
    );
    assert_eq!(
        a.mtime,
        Timestamp {
            seconds: -2,
            nanos: 750_000_000
        }
    );
    let attribute = |name: &[u8], value: &[u8]| (name.to_vec(), value.to_vec());
    assert_eq!(
        a.xattrs,
        [attribute(b"user.a", b""), attribute(b"user.b", b"\0\xff")]
    );
    assert_eq!(
        (&b.path[..], &b.link[..], b.kind),
        (&b"gnu name"[..], &b"gnu link"[..], Kind::HardLink)
    );
    assert_eq!(
        b.mtime,
        Timestamp {
            seconds: -2,
            nanos: 0
        }
    );
    assert!(b.xattrs.is_empty(), "extensions do not last");
    assert_eq!(
        (&c.path[..], c.device, c.mode, c.kind),
        (&b"dev/null"[..], (1, 3), 0o6644, Kind::CharDevice)
    );
    assert_eq!(d.path, b"star/s");
}

#[test]
fn all_kinds() {
    let flags = b"0\x00715S2346gDVMAZ~";
    let tar: Vec<u8> = flags
        .iter()
        .enumerate()
        .flat_map(|(index, flag)| {
            let header = Header::gnu(*flag, format!("{index}").as_bytes(), 0);
            if *flag == b'S' {
                header.put(483, b"00000000000\0").block()
            } else {
                header.block()
            }
        })
        .collect();
    let kinds: Vec<Kind> = round_trip(&tar)
        .entries
        .iter()
        .map(|entry| entry.kind)
        .collect();
    use Kind::{
        BlockDevice, CharDevice, Directory, DumpDirectory, Fifo, GlobalHeader, HardLink,
        MultiVolume, Other, Regular, Symlink, VolumeLabel,
    };
    let expected = [
        Regular,
        Regular,
        Regular,
        HardLink,
        Directory,
        Regular,
        Symlink,
        CharDevice,
        BlockDevice,
        Fifo,
        GlobalHeader,
        DumpDirectory,
        VolumeLabel,
        MultiVolume,
        Other(b'A'),
        Other(b'Z'),
        Other(b'~'),
    ];
    assert_eq!(kinds, expected);
}
