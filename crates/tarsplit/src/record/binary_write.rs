//! Writes the binary form of a record.

use std::io::{self, Write};

use super::{MAGIC, NAME_LIMIT, PIECE, RecordSink, kind};

/// How much is gathered before it is written.
const FLUSH: usize = 64 << 10;

/// Writes a record in its binary form. A segment may be of any length.
///
/// The form is meant to be compressed: it has no checksum, and names stand where the headers in
/// front of them have them too.
#[derive(Debug)]
pub struct BinaryWriter<W> {
    out: W,
    bytes: Vec<u8>,
    /// The last bytes of the current segment.
    piece: Option<Vec<u8>>,
    /// Room for the next one.
    spare: Vec<u8>,
    position: u64,
}

impl<W: Write> BinaryWriter<W> {
    /// Writes to `out`, in large pieces.
    pub fn new(out: W) -> Self {
        let mut bytes = Vec::with_capacity(FLUSH * 2);
        bytes.extend_from_slice(&MAGIC);
        Self {
            out,
            bytes,
            piece: None,
            spare: Vec::new(),
            position: 0,
        }
    }

    fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    fn head(&mut self, kind: u64, length: usize) {
        self.number((length as u64) << 2 | kind);
    }

    fn segment(&mut self, kind: u64, piece: &[u8]) -> io::Result<()> {
        self.head(kind, piece.len());
        self.bytes.extend_from_slice(piece);
        self.write_when(FLUSH)
    }

    fn write_when(&mut self, length: usize) -> io::Result<()> {
        if self.bytes.len() > length {
            self.out.write_all(&self.bytes)?;
            self.bytes.clear();
        }
        Ok(())
    }
}

impl<W: Write> RecordSink for BinaryWriter<W> {
    type Written = W;

    fn position(&self) -> u64 {
        self.position
    }

    fn add(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let mut piece = match self.piece.take() {
            Some(piece) => piece,
            None => std::mem::take(&mut self.spare),
        };
        // The last piece stays, for it is not known yet whether the segment goes on.
        while bytes.len() > PIECE - piece.len() {
            let (front, rest) = bytes.split_at(PIECE - piece.len());
            piece.extend_from_slice(front);
            self.segment(kind::MORE, &piece)?;
            piece.clear();
            bytes = rest;
        }
        piece.extend_from_slice(bytes);
        self.piece = Some(piece);
        Ok(())
    }

    fn begin_segment(&mut self) -> io::Result<()> {
        self.end_segment()?;
        self.piece = Some(std::mem::take(&mut self.spare));
        Ok(())
    }

    fn end_segment(&mut self) -> io::Result<()> {
        let Some(mut piece) = self.piece.take() else {
            return Ok(());
        };
        self.segment(kind::SEGMENT, &piece)?;
        self.position += 1;
        piece.clear();
        self.spare = piece;
        Ok(())
    }

    fn file(&mut self, name: &[u8], size: u64, crc: Option<[u8; 8]>) -> io::Result<()> {
        self.end_segment()?;
        if name.len() > NAME_LIMIT {
            let text = format!("a name longer than {NAME_LIMIT} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        self.head(kind::FILE, name.len() << 1 | usize::from(crc.is_some()));
        self.bytes.extend_from_slice(name);
        self.number(size);
        self.bytes
            .extend_from_slice(crc.as_ref().map_or(&[], <[u8; 8]>::as_slice));
        self.position += 1;
        self.write_when(FLUSH)
    }

    fn finish(mut self) -> io::Result<W> {
        self.end_segment()?;
        self.head(kind::END, 0);
        self.number(self.position);
        self.write_when(0)?;
        self.out.flush()?;
        Ok(self.out)
    }
}
