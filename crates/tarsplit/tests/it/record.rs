//! Reading records, whoever wrote them and whatever became of them.

use lith_tarsplit::{FileEntry, RecordError, RecordItem, RecordReader};

use crate::tars::{END, Short, entry, items, round_trip};

fn all(record: &[u8]) -> Result<Vec<RecordItem>, RecordError> {
    let mut reader = RecordReader::new(record);
    let mut items = Vec::new();
    while let Some(item) = reader.next_item()? {
        items.push(item);
    }
    Ok(items)
}

fn file(position: u64, name: &[u8], size: u64, crc: Option<[u8; 8]>) -> RecordItem {
    RecordItem::File(FileEntry {
        position,
        name: name.to_vec(),
        size,
        crc,
    })
}

#[test]
fn any_valid_json() {
    let crc = Some(*b"ABCDEFGH");
    for text in [
        r#"{"type":1,"name":"a/ü\u00e9","size":7,"payload":"QUJDREVGR0g=","position":0}"#,
        r#"{"position":99,"payload":"QUJDREVGR0g=","size":7,"name":"a\/\u00fcé","type":1}"#,
        " {\n\t\"type\" : 1 , \"name\" : \"a/üé\", \"more\": {\"x\": [1, null, {}]},\r\n \"size\" : 7, \"payload\": \"QUJD\\u0052EVGR0g=\", \"name_raw\": null }  \n\n",
        r#"{"type":1,"name":"ignored","name_raw":"YS/DvMOp","size":7,"payload":"QUJDREVGR0g="}"#,
    ] {
        assert_eq!(
            all(text.as_bytes()).expect(text),
            [file(0, "a/üé".as_bytes(), 7, crc)],
            "{text}"
        );
    }
    let segment = RecordItem::Segment(b"hi?".to_vec());
    for text in [
        r#"{"type":2,"payload":"aGk/","position":0}"#,
        r#"{"type":2,"payload":"aGk\/","position":0,"x":[]}"#,
        r#"{"payload":"aGk/","type":2}"#,
        "{\"type\":2,\"payload\":\"aGk/\"}\n",
    ] {
        assert_eq!(
            all(text.as_bytes()).expect(text),
            std::slice::from_ref(&segment),
            "{text}"
        );
    }
    // Positions are counted, for it is the order that rules.
    let text = "{\"type\":1,\"name\":\"a\",\"payload\":null,\"position\":7}{\"type\":1,\"payload\":null,\"position\":7}\n";
    assert_eq!(
        all(text.as_bytes()).expect("two"),
        [file(0, b"a", 0, None), file(1, b"", 0, None)]
    );
    assert_eq!(all(b"").expect("nothing"), []);
    assert_eq!(all(b"\n \n").expect("nothing"), []);
}

#[test]
fn damage_is_named() {
    for text in [
        "{\"type\":1,\"name\":\"a\",\"size\":-1,\"payload\":null}\n",
        "{\"type\":3,\"payload\":null}\n",
        "{\"payload\":null}\n",
        "{\"type\":2,\"payload\":\"****\",\"position\":0}\n",
        "{\"type\":2,\"payload\":\"QQ\",\"position\":0}\n",
        "{\"type\":1,\"payload\":\"QUJD\",\"position\":0}\n",
        "{\"type\":1,\"name_raw\":\"?\",\"payload\":null}\n",
        "{\"type\":1,\"size\":1.5,\"payload\":null}\n",
        "{\"type\":1,\"size\":\"1\",\"payload\":null}\n",
        "{\"type\":1,\"name\":\"\u{ff}\",\"payload\":null}\n",
        "[]\n",
        "hello\n",
        "{\"type\":1,\"payload\":null,}\n",
    ] {
        let text: Vec<u8> = text.chars().map(|char| char as u8).collect();
        assert!(
            matches!(all(&text), Err(RecordError::Damaged { position: 0, .. })),
            "{text:?} {:?}",
            all(&text)
        );
    }
}

#[test]
fn a_torn_last_line_is_damage() {
    let tar = [
        entry(b'0', b"f", &[b'x'; 700]),
        entry(b'0', b"caf\xe9", b"y"),
        END.to_vec(),
    ]
    .concat();
    let record = round_trip(&tar).record;
    let whole = items(&record).len();
    for cut in 0..record.len() {
        let ends = record[..cut].iter().filter(|byte| **byte == b'\n').count();
        let at_end_of_line = cut == 0 || record[cut - 1] == b'\n' || record[cut] == b'\n';
        match all(&record[..cut]) {
            Ok(items) => assert!(at_end_of_line && items.len() < whole + 1, "cut at {cut}"),
            Err(RecordError::Torn { position, offset }) => {
                assert!(!at_end_of_line, "cut at {cut}");
                assert_eq!((position, offset), (ends as u64, cut as u64));
            }
            Err(other) => panic!("cut at {cut}: {other}"),
        }
    }
}

#[test]
fn long_segments_come_in_pieces_and_whole() {
    let junk: Vec<u8> = (0..5_000_000_u32).map(|i| (i * 31 % 253) as u8).collect();
    let mut record = Vec::new();
    {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(&junk);
        record.extend(format!("{{\"type\":2,\"payload\":\"{text}\",\"position\":0}}\n").bytes());
        record.extend(b"{\"type\":1,\"name\":\"a\",\"payload\":null,\"position\":1}\n");
    }
    for step in [1, 500] {
        let source = std::io::BufReader::new(Short::new(&record, step));
        let mut reader = RecordReader::new(source);
        let (mut found, mut last) = (Vec::new(), None);
        while let Some(item) = reader.next_item().expect("readable") {
            match item {
                RecordItem::Segment(piece) => {
                    assert!(piece.len() <= 1 << 20);
                    found.extend(piece);
                }
                RecordItem::File(file) => last = Some(file.position),
            }
        }
        assert!(found == junk && last == Some(1));
    }
    // Torn, or damaged, far behind its start.
    assert!(matches!(
        all(&record[..4_000_000]),
        Err(RecordError::Torn { position: 0, .. })
    ));
    record[3_000_000] = b'=';
    assert!(matches!(
        all(&record),
        Err(RecordError::Damaged { position: 0, .. })
    ));
}
