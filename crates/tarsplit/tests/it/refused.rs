//! What is refused, and what the error says; one test for each class of bug that other readers had.

use lith_tarsplit::{EXTENSION_LIMIT, Kind, SplitError};

use crate::accepted::payload_with_zero_checksum;
use crate::tars::{END, Header, entry, gnu, padded, pax, round_trip, split};

/// Splits what must be refused.
fn refused(tar: &[u8]) -> SplitError {
    match split(tar) {
        Err(error) => error,
        Ok(split) => panic!("accepted: {:?}", split.entries),
    }
}

#[test]
fn errors_name_entry_offset_name_and_reason() {
    let tar = [
        entry(b'0', b"a", b"abc"),
        entry(b'0', b"b\n\xff", b"").split_at(512).0.to_vec(),
    ]
    .concat();
    let mut bad = tar.clone();
    bad.extend(
        Header::new(b'0', b"c", 0)
            .put(124, b"12x45678901\0")
            .block(),
    );
    let error = refused(&bad).to_string();
    assert_eq!(error, "tar entry 2 at byte 1536: its size is not a number");

    let mut bad = tar.clone();
    bad.extend(pax(b'x', &[("mtime", b"soon")]));
    bad.extend(entry(b'0', b"d\n\xff", b""));
    let error = refused(&bad).to_string();
    assert_eq!(
        error,
        r#"tar entry 2 at byte 2560 ("d\n\xff"): its pax mtime is not a time"#
    );

    let mut bad = tar;
    bad.extend(Header::new(b'0', b"e", 9_000_000_000).block());
    bad.extend(b"only this");
    let error = refused(&bad).to_string();
    let expected = r#"tar entry 2 at byte 1536 ("e"): the tar ends inside the file: expected 9000000000 bytes, found 9"#;
    assert_eq!(error, expected);
}

#[test]
fn no_tar_and_cut_tars() {
    assert!(matches!(
        refused(&[b'x'; 600]),
        SplitError::Header {
            entry: 0,
            offset: 0,
            ..
        }
    ));
    assert!(matches!(
        refused(b"hello"),
        SplitError::Truncated {
            what: "header",
            expected: 512,
            found: 5,
            ..
        }
    ));
    let tar = entry(b'0', b"f", &[b'x'; 600]);
    for length in [511, 513, 1111] {
        assert!(
            matches!(refused(&tar[..length]), SplitError::Truncated { .. }),
            "{length}"
        );
    }
    let hidden = [tar.clone(), vec![0; 512], tar.clone(), END.to_vec()].concat();
    assert!(matches!(
        refused(&hidden),
        SplitError::Header { entry: 1, .. }
    ));
    let junk = [tar, vec![0; 512], b"J".to_vec()].concat();
    assert!(matches!(refused(&junk), SplitError::Truncated { .. }));
}

#[test]
fn sizes_that_are_none() {
    let negative = [0xff; 12];
    assert!(matches!(
        refused(&Header::gnu(b'0', b"f", 0).put(124, &negative).block()),
        SplitError::Header { .. }
    ));
    // Not even when an extension replaces it.
    let tar = [
        pax(b'x', &[("size", b"3")]),
        Header::gnu(b'0', b"f", 0).put(124, &negative).block(),
    ]
    .concat();
    assert!(matches!(refused(&tar), SplitError::Header { .. }));
    for size in [&b"-1"[..], b"1e3", b"9223372036854775808", b" 1"] {
        let tar = [pax(b'x', &[("size", size)]), entry(b'0', b"f", b"")].concat();
        assert!(
            matches!(refused(&tar), SplitError::Header { .. }),
            "{size:?}"
        );
    }
    let link = [pax(b'x', &[("size", b"-1")]), entry(b'2', b"f", b"")].concat();
    assert_eq!(round_trip(&link).entries[0].stored, 0);
    // The largest there is: refused when the bytes are not there, at no cost before.
    let tar = [
        pax(b'x', &[("size", b"9223372036854775807")]),
        entry(b'0', b"f", b""),
    ]
    .concat();
    assert!(matches!(
        refused(&tar),
        SplitError::Truncated {
            expected: 9_223_372_036_854_775_807,
            ..
        }
    ));
}

/// CVE-2025-62518, CVE-2026-33055: the pax size rules, in the framing as in the metadata.
#[test]
fn a_pax_size_counts_for_the_framing() {
    let inner = entry(b'0', b"smuggled", b"evil");
    for claimed in [0, 3, 100_000] {
        let size = inner.len().to_string();
        let tar = [
            pax(b'x', &[("size", size.as_bytes())]),
            Header::new(b'0', b"outer", claimed).block(),
            inner.clone(),
            entry(b'0', b"last", b"x"),
            END.to_vec(),
        ]
        .concat();
        let split = round_trip(&tar);
        let names: Vec<&[u8]> = split.entries.iter().map(|entry| &entry.path[..]).collect();
        assert_eq!(names, [&b"outer"[..], b"last"]);
        assert_eq!(split.payloads[&split.entries[0].position], inner);
    }
}

/// GHSA-3cv2-h65g-fgmm and the mixed pax and GNU desync: an extension's size is its own.
#[test]
fn a_pax_size_does_not_count_for_extensions() {
    let extensions: [Vec<u8>; 4] = [
        pax(b'x', &[("comment", b"hi")]),
        pax(b'g', &[("comment", b"hi")]),
        gnu(b'L', b"././@LongLink", b"renamed\0"),
        gnu(b'K', b"././@LongLink", b"linked\0"),
    ];
    for (index, extension) in extensions.into_iter().enumerate() {
        let tar = [
            pax(b'x', &[("size", b"1024")]),
            extension,
            entry(b'0', b"f", b"abc"),
            entry(b'0', b"g", b""),
        ];
        // Only the two GNU ones leave the pax header in force, and then it is too much for the file.
        let tar = [tar.concat(), END.to_vec()].concat();
        let split = round_trip(&tar);
        let files: Vec<_> = split
            .entries
            .iter()
            .filter(|entry| entry.kind == Kind::Regular)
            .collect();
        let sizes: Vec<u64> = files.iter().map(|entry| entry.stored).collect();
        assert_eq!(
            sizes,
            if index < 2 { vec![3, 0] } else { vec![1024] },
            "extension {index}"
        );
    }
}

/// CVE-2026-32766: a malformed record is no reason to go on without it.
#[test]
fn malformed_pax_records() {
    for data in [
        &b"20 path=x\n"[..],
        b"path=x\n",
        b"5 x\n\n",
        b"10 path=x\n\0",
        b"11 path=x\0\n\n",
        b"000000000005 k=\n",
    ] {
        for flag in [b'x', b'g'] {
            let tar = [
                entry(flag, b"h", data),
                entry(b'0', b"f", b"abc"),
                END.to_vec(),
            ]
            .concat();
            assert!(
                matches!(
                    refused(&tar),
                    SplitError::Header {
                        entry: 0,
                        offset: 0,
                        ..
                    }
                ),
                "{data:?}"
            );
        }
    }
}

#[test]
fn extensions_are_bounded() {
    let limit = EXTENSION_LIMIT as usize;
    let longest = |flag, data: usize| {
        [
            gnu(flag, b"h", &vec![b'n'; data]),
            entry(b'0', b"f", b""),
            END.to_vec(),
        ]
        .concat()
    };
    for flag in [b'L', b'K'] {
        round_trip(&longest(flag, limit));
        assert!(matches!(
            refused(&longest(flag, limit + 1)),
            SplitError::TooLong {
                limit: EXTENSION_LIMIT,
                ..
            }
        ));
    }
    // However much it claims, and though nothing is there.
    for flag in [b'x', b'g', b'L', b'K'] {
        let tar = Header::gnu(flag, b"h", 0)
            .put(124, b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff")
            .block();
        assert!(matches!(refused(&tar), SplitError::TooLong { .. }));
    }
}

/// CVE-2025-58183: a pax 1.0 map of any size.
#[test]
fn a_sparse_map_in_the_payload_is_bounded() {
    let header = pax(
        b'x',
        &[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.realsize", b"9"),
        ],
    );
    let mut map = b"400000\n".to_vec();
    map.extend(b"0\n0\n".repeat(400_000));
    let tar = [
        header.clone(),
        entry(b'0', b"f", &padded(&map)),
        END.to_vec(),
    ]
    .concat();
    assert!(matches!(
        refused(&tar),
        SplitError::TooLong {
            what: "a sparse map",
            ..
        }
    ));
    // A map that never ends.
    for data in [
        vec![b'1'; 2 << 20],
        vec![b'\n'; 2 << 20],
        b"3\n1\n".to_vec(),
        vec![],
    ] {
        let tar = [header.clone(), entry(b'0', b"f", &data), END.to_vec()].concat();
        refused(&tar);
    }
}

/// CVE-2026-32288: extension blocks of an old GNU sparse header without end.
#[test]
fn sparse_extension_blocks_are_bounded() {
    let header = Header::gnu(b'S', b"f", 0)
        .put(482, b"\x01")
        .put(483, b"00000000000\0")
        .block();
    let mut block = vec![0; 512];
    block[504] = 1;
    let tar = [header.clone(), block.repeat(2049)].concat();
    assert!(matches!(
        refused(&tar),
        SplitError::TooLong {
            what: "a sparse map",
            ..
        }
    ));
    assert!(matches!(
        refused(&[header, block].concat()),
        SplitError::Truncated {
            what: "sparse map",
            ..
        }
    ));
}

#[test]
fn sparse_maps_that_do_not_fit() {
    let pax_sparse = |map: &[u8], blocks: &[u8], size: &[u8]| {
        let records = [
            ("GNU.sparse.map", map),
            ("GNU.sparse.numblocks", blocks),
            ("GNU.sparse.size", size),
        ];
        [
            pax(b'x', &records),
            entry(b'0', b"f", b"0123456789"),
            END.to_vec(),
        ]
        .concat()
    };
    round_trip(&pax_sparse(b"5,10", b"1", b"20"));
    for (map, blocks, size) in [
        (&b"5,9"[..], &b"1"[..], &b"20"[..]),
        (b"5,11", b"1", b"20"),
        (b"15,10", b"1", b"20"),
        (b"5,5,4,5", b"2", b"20"),
        (b"5,10", b"2", b"20"),
        (b"5", b"1", b"20"),
        (b"5,x", b"1", b"20"),
        (b"-5,10", b"1", b"20"),
        (b"9223372036854775807,10", b"1", b"20"),
        (b"5,10", b"1", b"-20"),
        (b"5,10", b"1", b"x"),
        (b"5,10", b"", b"20"),
    ] {
        assert!(
            matches!(
                refused(&pax_sparse(map, blocks, size)),
                SplitError::Header { .. }
            ),
            "{map:?}"
        );
    }
    let ustar = Header::new(b'S', b"f", 10)
        .put(483, b"00000000012\0")
        .block();
    assert!(matches!(refused(&ustar), SplitError::Header { .. }));
    let folder = [
        pax(
            b'x',
            &[("GNU.sparse.map", b"0,0"), ("GNU.sparse.numblocks", b"1")],
        ),
        entry(b'5', b"d", b""),
    ];
    assert!(matches!(
        refused(&folder.concat()),
        SplitError::Header { .. }
    ));
}

/// The one thing that the format can not say.
#[test]
fn a_sparse_map_made_to_look_like_a_link_before_a_payload_with_no_checksum() {
    let data = payload_with_zero_checksum(b"x");
    let header = Header::gnu(b'S', b"f", data.len() as u64)
        .put(386, b"00000000000\x0000000000011\0")
        .put(482, b"\x01")
        .put(483, b"00000000011\0")
        .block();
    let link = |flag| Header::new(flag, b"", 0).block();
    let tar =
        |extension: Vec<u8>| [header.clone(), extension, padded(&data), END.to_vec()].concat();
    round_trip(&tar(link(b'0')));
    assert!(matches!(
        refused(&tar(link(b'1'))),
        SplitError::Header { .. }
    ));
}

#[test]
fn nothing_goes_on_after_an_error() {
    let tar = [
        entry(b'0', b"f", b"abc"),
        vec![b'x'; 512],
        entry(b'0', b"g", b"abc"),
    ]
    .concat();
    let mut splitter = lith_tarsplit::Splitter::new(&tar[..], Vec::new());
    assert!(splitter.next_entry().expect("the first is fine").is_some());
    assert!(splitter.next_entry().is_err());
    assert!(matches!(splitter.next_entry(), Err(SplitError::Unfinished)));
    assert!(matches!(splitter.finish(), Err(SplitError::Unfinished)));
    let splitter = lith_tarsplit::Splitter::new(&tar[..], Vec::new());
    assert!(matches!(splitter.finish(), Err(SplitError::Unfinished)));
}
