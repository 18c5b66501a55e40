//! The record is what the reference writes, to the byte.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::tars::{Short, items, round_trip, split};

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

pub(crate) fn inflate(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).expect("a fixture");
    flate2::read::GzDecoder::new(file)
        .read_to_end(&mut bytes)
        .expect("a fixture in gzip");
    bytes
}

/// Without the empty segment that older versions of the reference end with.
fn without_empty_end(record: &[u8]) -> &[u8] {
    let last = record[..record.len() - 1]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |end| end + 1);
    if record[last..].starts_with(br#"{"type":2,"payload":"","#) {
        &record[..last]
    } else {
        record
    }
}

#[test]
fn records_equal_the_reference() {
    let mut count = 0;
    for file in fs::read_dir(folder()).expect("the fixtures") {
        let path = file.expect("a fixture").path();
        let Some(name) = path.to_str().and_then(|path| path.strip_suffix(".tar.gz")) else {
            continue;
        };
        let tar = inflate(&path);
        let reference = inflate(Path::new(&format!("{name}.json.gz")));
        let expected = without_empty_end(&reference);
        assert_ne!(
            expected.len(),
            reference.len(),
            "{name}: the reference ends so"
        );

        let found = round_trip(&tar);
        assert!(
            found.record == expected,
            "{name}:\n{}\n{}",
            String::from_utf8_lossy(&found.record),
            String::from_utf8_lossy(expected)
        );
        let short = split(Short::new(&tar, count)).expect("what can be read can be read slowly");
        assert!(short.record == expected, "{name}, slowly");

        // Both endings say the same.
        assert_eq!(items(&reference).len(), items(expected).len() + 1);
        count += 1;
    }
    assert!(count >= 15, "only {count} fixtures");
}
