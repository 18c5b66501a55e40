//! Tar-split records, read by code that shares nothing with lith.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// What a record says, raw bytes joined between entries: how a writer cuts them is its own
/// affair.
#[derive(Debug, PartialEq, Eq, Default)]
pub(crate) struct Record {
    pub(crate) files: Vec<FileLine>,
    /// One more than files: the raw bytes before each of them, and those behind the last.
    /// Kept in base64 pieces as they stand, decoded and joined.
    raw: Vec<Vec<u8>>,
}

/// An entry of the tar.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FileLine {
    /// `name` or `name_raw` as it stands in the record.
    pub(crate) name: Value,
    pub(crate) size: u64,
    pub(crate) checksum: Value,
}

impl Record {
    /// Reads a gzip-compressed record.
    pub(crate) fn open(path: &Path) -> Result<Record> {
        let what = || format!("the record {}", path.display());
        let file = File::open(path).with_context(what)?;
        Record::read(flate2::read::MultiGzDecoder::new(BufReader::new(file))).with_context(what)
    }

    fn read(text: impl Read) -> Result<Record> {
        let mut record = Record::default();
        let mut raw = Vec::new();
        for (index, line) in BufReader::new(text).lines().enumerate() {
            let value: Value = serde_json::from_str(&line?)?;
            let position = value["position"]
                .as_u64()
                .context("a line without a position")?;
            ensure!(
                position == index as u64,
                "line {index} has position {position}"
            );
            match value["type"].as_u64() {
                Some(2) => {
                    let text = value["payload"].as_str().unwrap_or_default();
                    raw.extend(base64(text).with_context(|| format!("line {index}"))?);
                }
                Some(1) => {
                    let named = |key: &str| value.get(key).cloned();
                    record.files.push(FileLine {
                        name: named("name")
                            .or_else(|| named("name_raw"))
                            .unwrap_or_default(),
                        size: value["size"].as_u64().unwrap_or(0),
                        checksum: value["payload"].clone(),
                    });
                    record.raw.push(std::mem::take(&mut raw));
                }
                other => bail!("line {index} has type {other:?}"),
            }
        }
        record.raw.push(raw);
        Ok(record)
    }

    /// Bytes of the tar that the record itself holds.
    pub(crate) fn raw_bytes(&self) -> usize {
        self.raw.iter().map(Vec::len).sum()
    }
}

/// Why two records are not the same, or none.
pub(crate) fn difference(one: &Record, other: &Record) -> Option<String> {
    for (index, (a, b)) in one.files.iter().zip(&other.files).enumerate() {
        if a != b {
            return Some(format!("entry {index}: {a:?} against {b:?}"));
        }
    }
    if one.files.len() != other.files.len() {
        return Some(format!(
            "{} entries against {}",
            one.files.len(),
            other.files.len()
        ));
    }
    let raw = one.raw.iter().zip(&other.raw).position(|(a, b)| a != b)?;
    Some(format!("the raw bytes before entry {raw} differ"))
}

/// The text of a gzip-compressed record, with no empty segment at its end.
pub(crate) fn text(path: &Path) -> Result<String> {
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(File::open(path)?).read_to_string(&mut text)?;
    let end = text
        .trim_end_matches('\n')
        .rfind('\n')
        .map_or(0, |newline| newline + 1);
    // Older versions of the reference end with a segment of no bytes, newer ones do not.
    if text
        .get(end..)
        .is_some_and(|last| last.starts_with(r#"{"type":2,"payload":"","#))
    {
        text.truncate(end);
    }
    Ok(text)
}

/// Standard base64 with padding.
fn base64(text: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut held) = (0_u32, 0_u32);
    for digit in text.bytes().take_while(|digit| *digit != b'=') {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            other => bail!("{:?} is no base64", char::from(other)),
        };
        bits = (bits << 6) | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_may_be_cut_anywhere() {
        let one = r#"{"type":2,"payload":"aGVsbG8=","position":0}
{"type":1,"name":"a","size":3,"payload":"AAAAAAAAAAA=","position":1}
{"type":2,"payload":"eHk=","position":2}
"#;
        let other = r#"{"type":2,"payload":"aGU=","position":0}
{"type":2,"payload":"bGxv","position":1}
{"type":1,"name":"a","size":3,"payload":"AAAAAAAAAAA=","position":2}
{"type":2,"payload":"eHk=","position":3}
{"type":2,"payload":"","position":4}
"#;
        let (one, other) = (Record::read(one.as_bytes()), Record::read(other.as_bytes()));
        let (one, other) = (one.unwrap(), other.unwrap());
        assert_eq!(difference(&one, &other), None);
        assert_eq!(one.raw_bytes(), 7);
    }

    #[test]
    fn other_bytes_and_other_files_are_differences() {
        let base = Record::read(&br#"{"type":2,"payload":"aGU=","position":0}"#[..]).unwrap();
        let bytes = Record::read(&br#"{"type":2,"payload":"aGg=","position":0}"#[..]).unwrap();
        assert!(difference(&base, &bytes).unwrap().contains("raw bytes"));
        let file = Record::read(&br#"{"type":1,"name":"x","payload":null,"position":0}"#[..]);
        assert!(
            difference(&base, &file.unwrap())
                .unwrap()
                .contains("entries")
        );
    }

    #[test]
    fn base64_of_every_length() {
        for (text, bytes) in [
            ("", &b""[..]),
            ("aA==", b"h"),
            ("aGU=", b"he"),
            ("aGVs", b"hel"),
        ] {
            assert_eq!(base64(text).unwrap(), bytes);
        }
        assert!(base64("a-b").is_err());
    }
}
