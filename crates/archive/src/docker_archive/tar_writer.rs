//! Writes the outer tar: the same bytes as Go's `archive/tar` gives for the same entries.

use std::io::{self, Write};

const BLOCK: usize = 512;

/// Largest size that the octal field holds.
const MAX_OCTAL: u64 = (1 << 33) - 1;

/// A tar being written. After an error the output is unusable.
pub(crate) struct TarWriter<W> {
    out: W,
    padding: usize,
}

impl<W: Write> TarWriter<W> {
    pub(crate) fn new(out: W) -> TarWriter<W> {
        TarWriter { out, padding: 0 }
    }

    /// Begins a regular file of `size` bytes, mode 0444; the caller gives exactly as many
    /// to [`TarWriter::content`].
    pub(crate) fn file(&mut self, path: &str, size: u64) -> io::Result<()> {
        self.begin(path, "", b'0', 0o444, size)
    }

    /// Writes a whole regular file.
    pub(crate) fn whole_file(&mut self, path: &str, content: &[u8]) -> io::Result<()> {
        self.file(path, content.len() as u64)?;
        self.content(content)
    }

    pub(crate) fn symlink(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.begin(path, target, b'2', 0, 0)
    }

    /// Writes a part of the current file.
    pub(crate) fn content(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)
    }

    /// Writes the end mark and gives the output back.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.pad()?;
        self.out.write_all(&[0; 2 * BLOCK])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn begin(&mut self, path: &str, link: &str, kind: u8, mode: u32, size: u64) -> io::Result<()> {
        self.pad()?;
        let mut records = String::new();
        if path.len() > 100 {
            records.push_str(&record("path", path));
        }
        if link.len() > 100 {
            records.push_str(&record("linkpath", link));
        }
        if size > MAX_OCTAL {
            records.push_str(&record("size", &size.to_string()));
        }
        if !records.is_empty() {
            let (folder, base) = path.rsplit_once('/').map_or(("", path), |parts| parts);
            let slash = if folder.is_empty() { "" } else { "/" };
            let name = format!("{folder}{slash}PaxHeaders.0/{base}");
            let pax = header(&name, "", b'x', 0, records.len() as u64, false);
            self.out.write_all(&pax)?;
            self.out.write_all(records.as_bytes())?;
            self.set_padding(records.len() as u64);
            self.pad()?;
        }
        // Readers take the size from the record; Go writes 0 here as well.
        let field = if size > MAX_OCTAL { 0 } else { size };
        self.out
            .write_all(&header(path, link, kind, mode, field, true))?;
        self.set_padding(size);
        Ok(())
    }

    fn set_padding(&mut self, size: u64) {
        // The remainder is below 512.
        self.padding = (BLOCK - (size % BLOCK as u64) as usize) % BLOCK;
    }

    fn pad(&mut self) -> io::Result<()> {
        let zeros = [0; BLOCK];
        let padding = std::mem::take(&mut self.padding);
        self.out.write_all(zeros.get(..padding).unwrap_or_default())
    }
}

/// A header with owner 0:0 and modification time 0.
fn header(path: &str, link: &str, kind: u8, mode: u32, size: u64, devices: bool) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    put(&mut block, 0, 100, path.as_bytes());
    put(&mut block, 100, 8, octal(u64::from(mode), 8).as_bytes());
    put(&mut block, 108, 8, octal(0, 8).as_bytes());
    put(&mut block, 116, 8, octal(0, 8).as_bytes());
    put(&mut block, 124, 12, octal(size, 12).as_bytes());
    put(&mut block, 136, 12, octal(0, 12).as_bytes());
    put(&mut block, 148, 8, b"        ");
    put(&mut block, 156, 1, &[kind]);
    put(&mut block, 157, 100, link.as_bytes());
    put(&mut block, 257, 8, b"ustar\x0000");
    if devices {
        put(&mut block, 329, 8, octal(0, 8).as_bytes());
        put(&mut block, 337, 8, octal(0, 8).as_bytes());
    }
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    put(&mut block, 148, 7, octal(sum, 7).as_bytes());
    block
}

/// Octal digits that fill a field of `width` bytes up to a final zero byte.
fn octal(number: u64, width: usize) -> String {
    format!("{number:0digits$o}\0", digits = width - 1)
}

/// Writes `bytes`, cut to `width`, at `at`.
fn put(block: &mut [u8; BLOCK], at: usize, width: usize, bytes: &[u8]) {
    let field = block.iter_mut().skip(at).take(width);
    for (place, byte) in field.zip(bytes) {
        *place = *byte;
    }
}

/// A pax record; its length counts its own digits.
fn record(key: &str, value: &str) -> String {
    let bare = key.len() + value.len() + 3;
    let mut length = bare + bare.to_string().len();
    length = bare + length.to_string().len();
    format!("{length} {key}={value}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_lengths_count_themselves() {
        assert_eq!(record("path", "abc"), "12 path=abc\n");
        for length in 80..120 {
            let text = record("path", &"x".repeat(length));
            let number = text.split(' ').next().unwrap();
            assert_eq!(number.parse(), Ok(text.len()));
        }
    }

    /// Another reader agrees on sizes and names beyond the header's fields.
    #[test]
    fn extensions_are_read_by_others() {
        let long = format!("{}/{}", "d".repeat(90), "f".repeat(90));
        let size = (8 << 30) + 5;
        let mut writer = TarWriter::new(Vec::new());
        writer.whole_file(&long, b"x").unwrap();
        writer.symlink("link", &"t".repeat(150)).unwrap();
        writer.file("large", size).unwrap();
        let bytes = writer.finish().unwrap();
        let mut archive = tar::Archive::new(&bytes[..]);
        let mut seen = Vec::new();
        for entry in archive.entries().unwrap() {
            // The third one's content is not there.
            let Ok(entry) = entry else { break };
            let link = entry.link_name_bytes().map_or(0, |link| link.len());
            seen.push((entry.path_bytes().len(), link, entry.size()));
        }
        assert_eq!(seen, [(long.len(), 0, 1), (4, 150, 0), (5, 0, size)]);
    }
}
