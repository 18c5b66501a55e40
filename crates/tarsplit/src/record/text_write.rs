//! Writes the record as the reference writes it, to the byte.

use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::RecordSink;

/// How much text is gathered before it is written.
const FLUSH: usize = 64 << 10;
/// How much is encoded at once: whole groups of three.
const PIECE: usize = 24 << 10;

/// Writes the lines of a record. A segment may be of any length: it goes out as it comes in.
#[derive(Debug)]
pub struct TextWriter<W> {
    out: W,
    text: Vec<u8>,
    position: u64,
    /// Inside a segment: the bytes that do not make a group of three yet.
    segment: Option<Carry>,
}

#[derive(Clone, Copy, Default, Debug)]
struct Carry {
    bytes: [u8; 2],
    length: usize,
}

impl<W: Write> TextWriter<W> {
    /// Writes to `out`, in large pieces.
    pub fn new(out: W) -> Self {
        Self {
            out,
            text: Vec::with_capacity(FLUSH * 2),
            position: 0,
            segment: None,
        }
    }

    fn open_segment(&mut self) -> Carry {
        self.text.extend_from_slice(br#"{"type":2,"payload":""#);
        Carry::default()
    }

    fn end_line(&mut self) -> io::Result<()> {
        self.text.extend_from_slice(br#","position":"#);
        decimal(self.position, &mut self.text);
        self.text.extend_from_slice(b"}\n");
        self.position += 1;
        self.write_when(FLUSH)
    }

    fn encode(&mut self, bytes: &[u8]) {
        let start = self.text.len();
        self.text.resize(start + bytes.len().div_ceil(3) * 4, 0);
        let space = self.text.get_mut(start..).unwrap_or_default();
        STANDARD
            .encode_slice(bytes, space)
            .expect("four characters for three bytes are enough");
    }

    fn write_when(&mut self, length: usize) -> io::Result<()> {
        if self.text.len() > length {
            self.out.write_all(&self.text)?;
            self.text.clear();
        }
        Ok(())
    }
}

impl<W: Write> RecordSink for TextWriter<W> {
    type Written = W;

    fn position(&self) -> u64 {
        self.position
    }

    fn add(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let mut carry = match self.segment.take() {
            Some(carry) => carry,
            None => self.open_segment(),
        };
        while carry.length > 0 {
            let Some((byte, rest)) = bytes.split_first() else {
                break;
            };
            bytes = rest;
            if let [first, second] = carry.bytes[..carry.length] {
                self.encode(&[first, second, *byte]);
                carry.length = 0;
            } else {
                carry.bytes[1] = *byte;
                carry.length = 2;
            }
        }
        let whole = bytes.len() - bytes.len() % 3;
        let (groups, rest) = bytes.split_at(whole);
        for piece in groups.chunks(PIECE) {
            self.encode(piece);
            self.write_when(FLUSH)?;
        }
        if let Some(space) = carry
            .bytes
            .get_mut(..rest.len())
            .filter(|_| !rest.is_empty())
        {
            space.copy_from_slice(rest);
            carry.length = rest.len();
        }
        self.segment = Some(carry);
        Ok(())
    }

    fn begin_segment(&mut self) -> io::Result<()> {
        self.end_segment()?;
        self.segment = Some(self.open_segment());
        Ok(())
    }

    fn end_segment(&mut self) -> io::Result<()> {
        let Some(carry) = self.segment.take() else {
            return Ok(());
        };
        self.encode(&carry.bytes[..carry.length]);
        self.text.push(b'"');
        self.end_line()
    }

    fn file(&mut self, name: &[u8], size: u64, crc: Option<[u8; 8]>) -> io::Result<()> {
        self.end_segment()?;
        self.text.extend_from_slice(br#"{"type":1"#);
        match std::str::from_utf8(name) {
            Ok("") => {}
            Ok(name) => {
                self.text.extend_from_slice(br#","name":""#);
                escape(name, &mut self.text);
                self.text.push(b'"');
            }
            Err(_) => {
                self.text.extend_from_slice(br#","name_raw":""#);
                self.encode(name);
                self.text.push(b'"');
            }
        }
        if size > 0 {
            self.text.extend_from_slice(br#","size":"#);
            decimal(size, &mut self.text);
        }
        match crc {
            Some(crc) => {
                self.text.extend_from_slice(br#","payload":""#);
                self.encode(&crc);
                self.text.push(b'"');
            }
            None => self.text.extend_from_slice(br#","payload":null"#),
        }
        self.end_line()
    }

    fn finish(mut self) -> io::Result<W> {
        self.end_segment()?;
        self.write_when(0)?;
        self.out.flush()?;
        Ok(self.out)
    }
}

/// Escapes as Go's JSON encoder does: for HTML too, and the two line ends that JavaScript has more.
fn escape(name: &str, text: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = name.as_bytes();
    let mut plain = 0;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let (width, escaped): (usize, &[u8]) = match byte {
            b'"' => (1, br#"\""#),
            b'\\' => (1, br"\\"),
            b'\n' => (1, br"\n"),
            b'\r' => (1, br"\r"),
            b'\t' => (1, br"\t"),
            0..0x20 | b'<' | b'>' | b'&' => {
                let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
                (1, &[b'\\', b'u', b'0', b'0', digits[0], digits[1]])
            }
            0xe2 if bytes.get(at..at + 3) == Some("\u{2028}".as_bytes()) => (3, br"\u2028"),
            0xe2 if bytes.get(at..at + 3) == Some("\u{2029}".as_bytes()) => (3, br"\u2029"),
            _ => {
                at += 1;
                continue;
            }
        };
        text.extend_from_slice(bytes.get(plain..at).unwrap_or_default());
        text.extend_from_slice(escaped);
        at += width;
        plain = at;
    }
    text.extend_from_slice(bytes.get(plain..).unwrap_or_default());
}

/// A number in digits.
fn decimal(mut value: u64, text: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    while start > 0 {
        start -= 1;
        digits[start] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    text.extend_from_slice(&digits[start..]);
}

#[cfg(test)]
mod tests {
    use super::super::RecordSink as _;
    use super::TextWriter;

    fn text(write: impl FnOnce(&mut TextWriter<Vec<u8>>) -> std::io::Result<()>) -> String {
        let mut writer = TextWriter::new(Vec::new());
        write(&mut writer).expect("memory takes everything");
        String::from_utf8(writer.finish().expect("memory takes everything")).expect("text")
    }

    #[test]
    fn names_are_escaped_as_go_does() {
        let name = "a\"b\\c<d>e&f\u{2028}g\u{2029}h\u{e9}\u{1}\u{8}\u{c}\n\r\t\u{7f}\u{202a}/";
        assert_eq!(
            text(|record| record.file(name.as_bytes(), u64::MAX, Some([0xff; 8]))),
            concat!(
                r#"{"type":1,"name":"a\"b\\c\u003cd\u003ee\u0026f\u2028g\u2029h"#,
                "\u{e9}",
                r"\u0001\u0008\u000c\n\r\t",
                "\u{7f}\u{202a}/",
                r#"","size":18446744073709551615,"payload":"//////////8=","position":0}"#,
                "\n"
            )
        );
        assert_eq!(
            text(|record| record.file(b"caf\xe9.txt", 7, None)),
            "{\"type\":1,\"name_raw\":\"Y2Fm6S50eHQ=\",\"size\":7,\"payload\":null,\"position\":0}\n"
        );
        assert_eq!(
            text(|record| record.file(b"", 0, None)),
            "{\"type\":1,\"payload\":null,\"position\":0}\n"
        );
    }

    #[test]
    fn segments_are_the_same_however_they_come() {
        use base64::Engine as _;
        let data: Vec<u8> = (0..100_000_u32).map(|i| (i * 7 % 251) as u8).collect();
        for length in [1, 2, 3, 4, 5, 512, 100_000] {
            let data = &data[..length];
            let encoded = base64::engine::general_purpose::STANDARD.encode(data);
            let expected = format!("{{\"type\":2,\"payload\":\"{encoded}\",\"position\":0}}\n");
            for step in [1, 2, 3, 5, 7, 511, 65_536] {
                let found =
                    text(|record| data.chunks(step).try_for_each(|piece| record.add(piece)));
                assert!(found == expected, "{length} bytes by {step}");
            }
        }
        assert_eq!(text(|record| record.add(b"")), "");
    }
}
