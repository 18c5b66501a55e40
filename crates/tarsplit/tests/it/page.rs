//! The page on the format says what the code does.

use lith_tarsplit::{EXTENSION_LIMIT, RecordItem};

use crate::tars::items;

const PAGE: &str = include_str!("../../../../docs/tar-split-record.md");

#[test]
fn the_example_is_a_record() {
    let example = PAGE
        .split("```json\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    let items = items(example.expect("an example").as_bytes());
    assert_eq!(items.len(), 5);
    let names = items.iter().filter_map(|item| match item {
        RecordItem::File(file) => Some((file.position, &file.name[..])),
        RecordItem::Segment(_) => None,
    });
    assert!(names.eq([(1, &b"etc/hello"[..]), (3, b"caf\xe9.txt"), (4, b"etc/")]));
}

#[test]
fn the_limits_are_those_of_the_code() {
    let mib = EXTENSION_LIMIT.to_string();
    let (thousands, rest) = mib.split_at(1);
    let text = format!("| {thousands},{},{} bytes |", &rest[..3], &rest[3..]);
    assert!(PAGE.contains(&format!("| one extension header {text}")));
    assert!(PAGE.contains(&format!("| one sparse map {text}")));
}
