//! Reassembly says what is not what it was.

use std::io::{self, Cursor, Read};

use lith_tarsplit::{AssembleError, Assembler, FileEntry, RecordError, assemble};

use crate::tars::{END, entry, round_trip};

fn tar() -> Vec<u8> {
    [
        entry(b'0', b"etc/hello", b"hello\n"),
        entry(b'0', b"big", &vec![b'B'; 300_000]),
        END.to_vec(),
    ]
    .concat()
}

fn with(record: &[u8], hello: Option<&[u8]>) -> Result<u64, AssembleError> {
    let getter = |file: &FileEntry| -> io::Result<Box<dyn Read + Send>> {
        Ok(match &file.name[..] {
            b"big" => Box::new(io::repeat(b'B').take(300_000)),
            _ => Box::new(Cursor::new(hello.ok_or(io::ErrorKind::NotFound)?.to_vec())),
        })
    };
    assemble(record, getter, io::sink())
}

#[test]
fn payloads_that_changed() {
    let record = round_trip(&tar()).record;
    assert_eq!(
        with(&record, Some(b"hello\n")).expect("all is well"),
        tar().len() as u64
    );
    let say = |hello| with(&record, hello).expect_err("damage").to_string();
    assert_eq!(
        say(Some(b"hellO\n")),
        "\"etc/hello\" (position 1 of the record) has changed: expected checksum 614c3eeee2d81000, found 617a3eeee2d81000"
    );
    assert_eq!(
        say(Some(b"hello")),
        "\"etc/hello\" (position 1 of the record) has changed: expected 6 bytes, found 5"
    );
    assert_eq!(
        say(Some(b"hello\n\n")),
        "\"etc/hello\" (position 1 of the record) has changed: expected 6 bytes, found more than 6"
    );
    assert_eq!(
        say(None),
        "cannot open \"etc/hello\" (position 1 of the record)"
    );
}

#[test]
fn records_that_changed() {
    let record = round_trip(&tar()).record;
    let cut = &record[..record.len() - 5];
    assert!(matches!(
        with(cut, Some(b"hello\n")),
        Err(AssembleError::Record(RecordError::Torn { .. }))
    ));
    let text = String::from_utf8(record).expect("plain text");
    let line = text.lines().nth(1).expect("the file");
    let bare = text.replace(
        line,
        r#"{"type":1,"name":"etc/hello","size":6,"payload":null,"position":1}"#,
    );
    let error = with(bare.as_bytes(), Some(b"hello\n")).expect_err("nothing vouches for it");
    assert!(matches!(error, AssembleError::NoChecksum { size: 6, .. }));
}

#[test]
fn a_pulled_stream_ends_with_the_error_and_stays_there() {
    let record = round_trip(&tar()).record;
    let getter =
        |_: &FileEntry| Ok(Box::new(Cursor::new(b"hellO\n".to_vec())) as Box<dyn Read + Send>);
    let mut assembler = Assembler::new(&record[..], getter);
    let mut out = Vec::new();
    let error = assembler.read_to_end(&mut out).expect_err("damage");
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    let error = error
        .downcast::<AssembleError>()
        .expect("the crate's own error");
    assert!(matches!(error, AssembleError::Checksum { position: 1, .. }));
    assert_eq!(out[..512], tar()[..512]);
    assert_eq!(&out[512..], b"hellO\n");
    assert!(assembler.read(&mut [0; 10]).is_err());
    assert!(assembler.read(&mut [0; 10]).is_err());
}

#[test]
fn any_buffer_gives_the_same_stream() {
    let split = round_trip(&tar());
    for size in [1, 7, 511, 513, 100_000, 1 << 20] {
        let getter = |file: &FileEntry| {
            Ok(
                Box::new(Cursor::new(split.payloads[&file.position].clone()))
                    as Box<dyn Read + Send>,
            )
        };
        let mut assembler = Assembler::new(&split.record[..], getter);
        let (mut out, mut buffer) = (Vec::new(), vec![0; size]);
        loop {
            let length = assembler.read(&mut buffer).expect("all is well");
            if length == 0 {
                break;
            }
            out.extend_from_slice(&buffer[..length]);
        }
        assert!(out == tar(), "by {size}");
        assert_eq!(assembler.read(&mut buffer).expect("still the end"), 0);
    }
}
