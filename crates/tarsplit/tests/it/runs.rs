//! A tar put together in runs, by several readers.

use std::io::{self, Cursor, Read};

use lith_tarsplit::{AssembleError, FileEntry, FileGetter, RecordReader, RunReader, Runs};

use crate::tars::{END, entry, round_trip};

fn tar() -> Vec<u8> {
    let mut tar = Vec::new();
    for number in 0..100_usize {
        let name = format!("folder/{number}");
        tar.extend(entry(
            b'0',
            name.as_bytes(),
            &vec![b'x'; number * 97 % 5000],
        ));
    }
    tar.extend(entry(b'0', b"big", &vec![b'B'; 300_000]));
    tar.extend(END);
    tar
}

#[derive(Clone)]
struct Payloads<'a> {
    of: &'a std::collections::HashMap<u64, Vec<u8>>,
    /// What is to be said of a length, other than the truth.
    off: Option<u64>,
}

impl FileGetter for Payloads<'_> {
    fn open(&mut self, entry: &FileEntry) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(Cursor::new(self.of[&entry.position].clone())))
    }

    fn open_sized(&mut self, entry: &FileEntry) -> io::Result<(Box<dyn Read + Send>, Option<u64>)> {
        Ok((self.open(entry)?, Some(self.off.unwrap_or(entry.size))))
    }
}

#[test]
fn runs_make_the_tar_whoever_reads_them() {
    let split = round_trip(&tar());
    let payloads = Payloads {
        of: &split.payloads,
        off: None,
    };
    for length in [1, 1000, 64 << 10, 10 << 20] {
        let mut runs = Runs::new(RecordReader::new(&split.record[..]));
        let mut readers: Vec<_> = (0..3).map(|_| RunReader::new(payloads.clone())).collect();
        let (mut out, mut count) = (Vec::new(), 0);
        while let Some(run) = runs.next_run(length) {
            let reader = &mut readers[count % 3];
            let before = out.len();
            reader.begin(run);
            reader.read_to_end(&mut out).expect("all is well");
            let added = out.len() - before;
            assert!(
                added > 0 && (added <= length || length < 300_000),
                "{added} of {length}"
            );
            count += 1;
        }
        assert!(out == tar(), "by {length}");
        assert!(runs.next_run(length).is_none());
        assert!(count >= 300_000_usize.div_ceil(length).min(100), "{count}");
    }
}

#[test]
fn damage_comes_behind_what_is_in_front_of_it() {
    let split = round_trip(&tar());
    let payloads = Payloads {
        of: &split.payloads,
        off: None,
    };
    let cut = &split.record[..split.record.len() - 5];
    let mut runs = Runs::new(RecordReader::new(cut));
    let mut reader = RunReader::new(payloads.clone());
    let (mut out, mut failed) = (Vec::new(), None);
    while let Some(run) = runs.next_run(10_000) {
        assert!(failed.is_none(), "nothing comes behind an error");
        reader.begin(run);
        failed = reader.read_to_end(&mut out).err();
    }
    let failed = failed
        .expect("the record is torn")
        .downcast::<AssembleError>();
    assert!(matches!(failed, Ok(AssembleError::Record(_))));
    assert!(out.len() > 300_000 && tar().starts_with(&out));
}

#[test]
fn a_length_that_is_known_is_looked_at_first() {
    let split = round_trip(&tar());
    for (off, expected) in [(0, "found 0"), (1 << 40, "found 1099511627776")] {
        let payloads = Payloads {
            of: &split.payloads,
            off: Some(off),
        };
        let mut assembler = lith_tarsplit::Assembler::new(&split.record[..], payloads);
        let error = assembler.read_to_end(&mut Vec::new()).expect_err("damage");
        assert!(error.to_string().contains(expected), "{error}");
        let error = error.downcast::<AssembleError>();
        assert!(matches!(error, Ok(AssembleError::Length { .. })));
    }
}
