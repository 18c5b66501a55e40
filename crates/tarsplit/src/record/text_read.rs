//! Reads a record as text, whoever wrote it.

use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::{FileEntry, Step};
use crate::error::RecordError;
use crate::source::Source;

/// Room for most lines, so that they are parsed where they are.
const BUFFER: usize = 128 << 10;
/// The most a line may have that is not written as every known writer writes a segment.
const LINE_LIMIT: u64 = 16 << 20;
/// How a segment begins in the text of every known writer.
const SEGMENT: &[u8] = br#"{"type":2,"payload":""#;
/// How much text of a long segment is decoded at once: whole groups of four.
const PIECE: usize = 64 << 10;

/// Reads the plain text of a record: JSON objects, usually one a line, in any valid spelling.
///
/// Unknown keys are passed over, the order of entries counts and not their `position`, an empty
/// last segment is as good as none. A record that ends inside an entry is damaged.
pub(crate) struct TextReader<B> {
    source: Source<B>,
    position: u64,
    /// Inside a segment that is too long for the buffer.
    inside: bool,
}

impl<B: Read> TextReader<B> {
    pub(crate) fn new(record: B) -> Self {
        Self {
            source: Source::new(record, BUFFER),
            position: 0,
            inside: false,
        }
    }

    /// Finds the next entry; a segment's bytes replace those in `bytes`.
    pub(crate) fn step(&mut self, bytes: &mut Vec<u8>) -> Result<Step, RecordError> {
        bytes.clear();
        if self.inside {
            self.piece(bytes)?;
            return Ok(Step::Segment { start: false });
        }
        if let Some((item, length)) = self.line(bytes)? {
            self.source.consume(length);
            self.position += 1;
            return Ok(item);
        }
        bytes.clear();
        if !self.skip_space()? {
            return Ok(Step::End);
        }
        if self.at_least(SEGMENT.len())?.starts_with(SEGMENT) {
            self.source.consume(SEGMENT.len());
            self.inside = true;
            self.piece(bytes)?;
            return Ok(Step::Segment { start: true });
        }
        self.any(bytes)
    }

    /// The quick way: a whole line in the buffer, spelled as every known writer spells it.
    fn line(&mut self, bytes: &mut Vec<u8>) -> Result<Option<(Step, usize)>, RecordError> {
        let mut end = self
            .source
            .buffered()
            .iter()
            .position(|byte| *byte == b'\n');
        if end.is_none() {
            let seen = self.source.buffered().len();
            let there = self.at_least(BUFFER)?;
            end = there
                .iter()
                .skip(seen)
                .position(|byte| *byte == b'\n')
                .map(|end| end + seen);
        }
        let Some(end) = end else { return Ok(None) };
        let line = self.source.buffered().get(..end).unwrap_or_default();
        Ok(quick(line, self.position, bytes).map(|step| (step, end + 1)))
    }

    /// The next piece of a long segment.
    fn piece(&mut self, bytes: &mut Vec<u8>) -> Result<(), RecordError> {
        let mut text = Vec::new();
        let mut closed = false;
        while text.len() < PIECE && !closed {
            let (position, offset) = (self.position, self.source.offset());
            let there = self.at_least(1)?;
            if there.is_empty() {
                return Err(RecordError::Torn { position, offset });
            }
            let room = there
                .get(..there.len().min(PIECE - text.len()))
                .unwrap_or_default();
            let plain = room
                .iter()
                .position(|byte| matches!(byte, b'"' | b'\\'))
                .unwrap_or(room.len());
            text.extend_from_slice(room.get(..plain).unwrap_or_default());
            let stop = room.get(plain).copied();
            self.source.consume(plain);
            match stop {
                Some(b'"') => {
                    self.source.consume(1);
                    closed = true;
                }
                Some(_) => text.push(self.escaped()?),
                None => {}
            }
        }
        STANDARD
            .decode_vec(&text, bytes)
            .map_err(|error| self.damaged(format!("its payload is no base64: {error}")))?;
        // Padding in the middle would end the base64, and the text behind it would make another.
        if !closed && text.ends_with(b"=") {
            return Err(self.damaged("its payload is no base64: padding in the middle".into()));
        }
        if closed {
            self.inside = false;
            self.rest()?;
            self.position += 1;
        }
        Ok(())
    }

    /// A base64 character that is written as an escape: `\/`, or `\u002b`.
    fn escaped(&mut self) -> Result<u8, RecordError> {
        let escape = self.at_least(6)?;
        let (length, byte) = match escape {
            [b'\\', b'/', ..] => (2, Some(b'/')),
            [b'\\', b'u', b'0', b'0', high, low, ..] => {
                let digits = [*high, *low];
                (
                    6,
                    std::str::from_utf8(&digits)
                        .ok()
                        .and_then(|digits| u8::from_str_radix(digits, 16).ok()),
                )
            }
            _ => (0, None),
        };
        self.source.consume(length);
        byte.ok_or_else(|| self.damaged("its payload is no base64".into()))
    }

    /// What is left of an object whose segment was read.
    fn rest(&mut self) -> Result<(), RecordError> {
        #[derive(Deserialize)]
        struct Rest {
            #[serde(default)]
            position: Option<i64>,
        }
        let rest: Rest = self.object(br#"{"":0"#)?;
        let _ = rest.position;
        Ok(())
    }

    /// The general way: any valid JSON.
    fn any(&mut self, bytes: &mut Vec<u8>) -> Result<Step, RecordError> {
        let line: Line = self.object(b"")?;
        let position = self.position;
        let payload = line.payload.as_deref().map(|text| STANDARD.decode(text));
        let payload = payload
            .transpose()
            .map_err(|error| self.damaged(format!("its payload is no base64: {error}")))?;
        let step = match line.kind {
            Some(2) => {
                bytes.extend_from_slice(&payload.unwrap_or_default());
                Step::Segment { start: true }
            }
            Some(1) => {
                let raw = line.name_raw.as_deref().unwrap_or_default();
                let raw = STANDARD
                    .decode(raw)
                    .map_err(|error| self.damaged(format!("its name_raw is no base64: {error}")))?;
                let name = if raw.is_empty() {
                    line.name.unwrap_or_default().into_bytes()
                } else {
                    raw
                };
                let size = u64::try_from(line.size.unwrap_or(0))
                    .map_err(|_| self.damaged("its size is negative".into()))?;
                let crc = payload
                    .filter(|crc| !crc.is_empty())
                    .map(|crc| <[u8; 8]>::try_from(crc.as_slice()));
                let crc = crc
                    .transpose()
                    .map_err(|_| self.damaged("its checksum has not 8 bytes".into()))?;
                Step::File(FileEntry {
                    position,
                    name,
                    size,
                    crc,
                })
            }
            Some(kind) => return Err(self.damaged(format!("its type is {kind}, expected 1 or 2"))),
            None => return Err(self.damaged("it has no type".into())),
        };
        self.position += 1;
        Ok(step)
    }

    /// Reads one JSON object with `front` put in front of it.
    fn object<T: for<'a> Deserialize<'a>>(&mut self, front: &[u8]) -> Result<T, RecordError> {
        let position = self.position;
        let mut limited = (&mut self.source).take(LINE_LIMIT);
        let mut json = serde_json::Deserializer::from_reader(front.chain(&mut limited));
        let result = T::deserialize(&mut json);
        drop(json);
        let full = limited.limit() == 0;
        result.map_err(|error| {
            let offset = self.source.offset();
            match error.classify() {
                serde_json::error::Category::Eof if full => {
                    self.damaged(format!("longer than {LINE_LIMIT} bytes"))
                }
                serde_json::error::Category::Eof => RecordError::Torn { position, offset },
                serde_json::error::Category::Io => RecordError::Io {
                    offset,
                    source: error.into(),
                },
                _ => self.damaged(error.to_string()),
            }
        })
    }

    /// Passes over white space. Returns whether anything is left.
    fn skip_space(&mut self) -> Result<bool, RecordError> {
        loop {
            let there = self.at_least(1)?;
            if there.is_empty() {
                return Ok(false);
            }
            let space = there
                .iter()
                .take_while(|byte| byte.is_ascii_whitespace())
                .count();
            let more = space < there.len();
            self.source.consume(space);
            if more {
                return Ok(true);
            }
        }
    }

    fn at_least(&mut self, length: usize) -> Result<&[u8], RecordError> {
        let offset = self.source.offset();
        self.source
            .ensure(length)
            .map_err(|source| RecordError::Io { offset, source })
    }

    fn damaged(&self, reason: String) -> RecordError {
        RecordError::Damaged {
            position: self.position,
            offset: self.source.offset(),
            reason,
        }
    }
}

/// One object. What is `null` is as good as missing.
#[derive(Deserialize)]
struct Line {
    #[serde(rename = "type")]
    kind: Option<i64>,
    name: Option<String>,
    name_raw: Option<String>,
    size: Option<i64>,
    payload: Option<String>,
}

/// Parses a line that is spelled in the usual way; `None` when it is not.
fn quick(line: &[u8], position: u64, bytes: &mut Vec<u8>) -> Option<Step> {
    let line = line.strip_suffix(b"}")?;
    if let Some(rest) = line.strip_prefix(SEGMENT) {
        let (text, rest) = until_quote(rest)?;
        rest.strip_prefix(br#","position":"#).and_then(digits)?;
        STANDARD.decode_vec(text, bytes).ok()?;
        return Some(Step::Segment { start: true });
    }
    let mut rest = line.strip_prefix(br#"{"type":1"#)?;
    let mut name = Vec::new();
    if let Some(after) = rest.strip_prefix(br#","name":""#) {
        let (text, after) = until_quote(after)?;
        // A name with an escape goes the general way.
        if text.contains(&b'\\')
            || text.iter().any(|byte| *byte < b' ')
            || std::str::from_utf8(text).is_err()
        {
            return None;
        }
        name.extend_from_slice(text);
        rest = after;
    } else if let Some(after) = rest.strip_prefix(br#","name_raw":""#) {
        let (text, after) = until_quote(after)?;
        STANDARD.decode_vec(text, &mut name).ok()?;
        rest = after;
    }
    let mut size = 0;
    if let Some(after) = rest.strip_prefix(br#","size":"#) {
        let end = after.iter().position(|byte| *byte == b',')?;
        size = digits(after.get(..end)?)?;
        rest = after.get(end..)?;
    }
    let mut crc = None;
    let rest = if let Some(after) = rest.strip_prefix(br#","payload":null"#) {
        after
    } else {
        let (text, after) = until_quote(rest.strip_prefix(br#","payload":""#)?)?;
        // The decoder wants room for what twelve characters can hold at most.
        let mut sum = [0; 9];
        let length = STANDARD.decode_slice(text, &mut sum).ok()?;
        crc = Some(<[u8; 8]>::try_from(sum.get(..length)?).ok()?);
        after
    };
    rest.strip_prefix(br#","position":"#).and_then(digits)?;
    Some(Step::File(FileEntry {
        position,
        name,
        size,
        crc,
    }))
}

/// Splits at the quote that ends a string, which has no quote inside.
fn until_quote(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|byte| *byte == b'"')?;
    Some((text.get(..end)?, text.get(end + 1..)?))
}

/// A number without sign, in the spelling of JSON.
fn digits(text: &[u8]) -> Option<u64> {
    let plain = !text.is_empty()
        && text.iter().all(u8::is_ascii_digit)
        && (text.len() == 1 || text[0] != b'0');
    let value: i64 = plain
        .then(|| std::str::from_utf8(text).ok()?.parse().ok())
        .flatten()?;
    u64::try_from(value).ok()
}
