//! Writes the outer tar: the same bytes as Go's `archive/tar` gives for the same entries.

use std::io::{self, BufRead, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use lith_store::Digest;
use lith_tarsplit::{EntryHeader, Timestamp};

use crate::WriteError;
use crate::compress::{self, Form, Layer, Written};
use crate::members::read_full;

const BLOCK: usize = 512;

/// How much of what has waited is copied at once.
const SPOOL_BUFFER: usize = 128 << 10;

/// Mode and other attributes of members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) mode: u32,
    /// Seconds since 1970.
    pub(crate) mtime: u64,
    /// Name of user and group; their numbers are 0.
    pub(crate) owner: &'static str,
}

impl Attributes {
    /// A file that nobody need change, of no time and of nobody.
    pub(crate) const FILE: Attributes = Attributes {
        mode: 0o444,
        mtime: 0,
        owner: "",
    };

    const LINK: Attributes = Attributes {
        mode: 0,
        ..Attributes::FILE
    };
}

/// A tar being written. After an error the output is unusable.
pub(crate) struct TarWriter<W> {
    out: W,
    padding: usize,
    written: u64,
    late: Late<W>,
}

/// What becomes of content whose size is known only behind it.
enum Late<W> {
    /// The header is written when the size is known, with the output's own `seek`.
    Patched(fn(&mut W, SeekFrom) -> io::Result<u64>),
    /// It waits in a file without a name in this folder.
    Spooled(PathBuf),
    /// It cannot be written.
    Refused,
}

impl<W: Write> TarWriter<W> {
    pub(crate) fn new(out: W) -> TarWriter<W> {
        TarWriter {
            out,
            padding: 0,
            written: 0,
            late: Late::Refused,
        }
    }

    /// A tar on an output that only goes forward; what has to wait does so in `folder`.
    pub(crate) fn spooled(out: W, folder: &Path) -> TarWriter<W> {
        TarWriter {
            late: Late::Spooled(folder.to_owned()),
            ..TarWriter::new(out)
        }
    }

    /// A tar from where `out` stands to its end.
    pub(crate) fn seekable(out: W) -> TarWriter<W>
    where
        W: Seek,
    {
        TarWriter {
            late: Late::Patched(W::seek),
            ..TarWriter::new(out)
        }
    }

    /// Begins a regular file of `size` bytes; the caller gives exactly as many to the writer.
    pub(crate) fn file(&mut self, path: &str, attributes: Attributes, size: u64) -> io::Result<()> {
        self.begin(&head(b'0', path, attributes, size))
    }

    /// Writes a whole regular file.
    pub(crate) fn whole_file(
        &mut self,
        path: &str,
        attributes: Attributes,
        content: &[u8],
    ) -> io::Result<()> {
        self.file(path, attributes, content.len() as u64)?;
        self.write_all(content)
    }

    /// Writes a folder; `path` ends in a slash.
    pub(crate) fn folder(&mut self, path: &str, attributes: Attributes) -> io::Result<()> {
        self.begin(&head(b'5', path, attributes, 0))
    }

    pub(crate) fn symlink(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.symlink_with(path, target, Attributes::LINK)
    }

    pub(crate) fn symlink_with(
        &mut self,
        path: &str,
        target: &str,
        attributes: Attributes,
    ) -> io::Result<()> {
        self.begin(&EntryHeader {
            link: target.as_bytes(),
            ..head(b'2', path, attributes, 0)
        })
    }

    /// Writes a layer as a regular file, which `path` names when it is known what was written.
    ///
    /// What is written depends on the layer alone, not on the kind of output.
    pub(crate) fn layer(
        &mut self,
        layer: &Layer,
        attributes: Attributes,
        path: &dyn Fn(&Written) -> String,
        content: &mut dyn BufRead,
    ) -> Result<Written, WriteError> {
        let output = |source| WriteError::Output { source };
        if let Some(written) = layer.known() {
            self.file(&path(&written), attributes, written.size)
                .map_err(output)?;
            return compress::write(layer, content, self);
        }
        // Where not even a bound is known, the field alone must do.
        let wide = layer
            .bound()
            .is_some_and(|bound| bound > EntryHeader::MAX_OCTAL);
        let head = |written: &Written| {
            let path = path(written);
            let head = head(b'0', &path, attributes, written.size);
            EntryHeader { wide, ..head }.to_bytes()
        };
        match &self.late {
            Late::Patched(seek) => {
                let seek = *seek;
                self.patched(layer, seek, &head, content)
            }
            Late::Spooled(folder) => {
                let folder = folder.clone();
                self.spool(layer, &folder, &head, content)
            }
            Late::Refused => {
                let reason = "what is written has to be known before, or else be able to wait";
                Err(output(io::Error::new(io::ErrorKind::Unsupported, reason)))
            }
        }
    }

    fn patched(
        &mut self,
        layer: &Layer,
        seek: fn(&mut W, SeekFrom) -> io::Result<u64>,
        head: &dyn Fn(&Written) -> Vec<u8>,
        content: &mut dyn BufRead,
    ) -> Result<Written, WriteError> {
        let output = |source| WriteError::Output { source };
        self.pad().map_err(output)?;
        // Its length depends on the layer alone, whatever stands in it.
        let unknown = Written {
            digest: Digest::from_bytes([0; 32]),
            size: 0,
            compression: match layer.form {
                Form::Tar { compression, .. } => compression.kind(),
                Form::Blob(written) => written.compression,
            },
        };
        let placeholder = vec![0; head(&unknown).len()];
        let start = seek(&mut self.out, SeekFrom::Current(0)).map_err(output)?;
        self.write_all(&placeholder).map_err(output)?;
        let written = compress::write(layer, content, self)?;
        let patch = |out: &mut W| {
            let end = seek(out, SeekFrom::Current(0))?;
            seek(out, SeekFrom::Start(start))?;
            out.write_all(&head(&written))?;
            seek(out, SeekFrom::Start(end))
        };
        patch(&mut self.out).map_err(output)?;
        self.set_padding(written.size);
        Ok(written)
    }

    fn spool(
        &mut self,
        layer: &Layer,
        folder: &Path,
        head: &dyn Fn(&Written) -> Vec<u8>,
        content: &mut dyn BufRead,
    ) -> Result<Written, WriteError> {
        let output = |source| WriteError::Output { source };
        let spool = |source| WriteError::Spool {
            folder: folder.to_owned(),
            source,
        };
        let mut file = tempfile::tempfile_in(folder).map_err(spool)?;
        let written = compress::write(layer, content, &mut file).map_err(|error| match error {
            WriteError::Output { source } => spool(source),
            error => error,
        })?;
        file.rewind().map_err(spool)?;
        self.pad().map_err(output)?;
        self.write_all(&head(&written)).map_err(output)?;
        let mut buffer = vec![0; SPOOL_BUFFER];
        loop {
            let read = read_full(&mut file, &mut buffer).map_err(spool)?;
            match buffer.get(..read) {
                Some(bytes) if !bytes.is_empty() => self.write_all(bytes).map_err(output)?,
                _ => break,
            }
        }
        self.set_padding(written.size);
        Ok(written)
    }

    /// Writes the end mark; gives back the output and how many bytes the tar has.
    pub(crate) fn finish(mut self) -> io::Result<(W, u64)> {
        self.pad()?;
        self.write_all(&[0; 2 * BLOCK])?;
        self.out.flush()?;
        Ok((self.out, self.written))
    }

    fn begin(&mut self, head: &EntryHeader<'_>) -> io::Result<()> {
        self.pad()?;
        self.write_all(&head.to_bytes())?;
        self.set_padding(head.size);
        Ok(())
    }

    fn set_padding(&mut self, size: u64) {
        // The remainder is below 512.
        self.padding = (BLOCK - (size % BLOCK as u64) as usize) % BLOCK;
    }

    fn pad(&mut self) -> io::Result<()> {
        let zeros = [0; BLOCK];
        let padding = std::mem::take(&mut self.padding);
        self.write_all(zeros.get(..padding).unwrap_or_default())
    }
}

/// Writes a part of the current file.
impl<W: Write> Write for TarWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// What stands before a member's content.
fn head<'a>(kind: u8, path: &'a str, attributes: Attributes, size: u64) -> EntryHeader<'a> {
    let Attributes { mode, mtime, owner } = attributes;
    // Later than any header can say is as late as it can.
    let mtime = mtime.min(EntryHeader::MAX_OCTAL);
    EntryHeader {
        mode,
        owner,
        mtime: Timestamp {
            seconds: i64::try_from(mtime).unwrap_or(i64::MAX),
            nanos: 0,
        },
        size,
        wide: size > EntryHeader::MAX_OCTAL,
        ..EntryHeader::new(kind, path.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::LayerCompression;

    /// A size that was not known when room was kept for the header.
    #[test]
    fn large_sizes_fit_into_the_field_alone() {
        let size = (8 << 30) + 5;
        let bytes = EntryHeader {
            wide: false,
            ..head(b'0', "a", Attributes::FILE, size)
        }
        .to_bytes();
        assert_eq!(bytes.len(), BLOCK);
        let mut archive = tar::Archive::new(&bytes[..]);
        let entry = archive.entries().unwrap().next().unwrap().unwrap();
        assert_eq!(entry.size(), size);
    }

    /// Another reader agrees on sizes and names beyond the header's fields.
    #[test]
    fn extensions_are_read_by_others() {
        let long = format!("{}/{}", "d".repeat(90), "f".repeat(90));
        let size = (8 << 30) + 5;
        let mut writer = TarWriter::new(Vec::new());
        writer.whole_file(&long, Attributes::FILE, b"x").unwrap();
        writer.symlink("link", &"t".repeat(150)).unwrap();
        writer.file("large", Attributes::FILE, size).unwrap();
        let (bytes, written) = writer.finish().unwrap();
        assert_eq!(written, bytes.len() as u64);
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

    /// What waits in a file and what is patched give the same tar, also behind other bytes.
    #[test]
    fn layers_are_written_alike_on_every_output() {
        let content = vec![5; 100_000];
        let diff_id = lith_store::DiffId::of_bytes(&content);
        let layer = |compression| Layer::tar(diff_id, content.len() as u64, compression);
        fn fill<W: Write>(mut tar: TarWriter<W>, layer: &Layer, content: &[u8]) -> (W, u64) {
            let path = |written: &Written| format!("blobs/{}", written.digest.hex());
            tar.whole_file("first", Attributes::FILE, b"x").unwrap();
            tar.layer(layer, Attributes::FILE, &path, &mut &content[..])
                .unwrap();
            tar.whole_file("last", Attributes::FILE, b"y").unwrap();
            tar.finish().unwrap()
        }
        let folder = tempfile::tempdir().unwrap();
        for compression in [
            LayerCompression::None,
            LayerCompression::Gzip,
            LayerCompression::Zstd { level: 1 },
        ] {
            let layer = layer(compression);
            let spooled = || TarWriter::spooled(Vec::new(), folder.path());
            // Knowing the size beforehand or not makes no difference.
            let size = None;
            let form = Form::Tar { size, compression };
            let uncounted = Layer { form, ..layer };
            let (uncounted_spooled, _) = fill(spooled(), &uncounted, &content);
            let seekable = TarWriter::seekable(io::Cursor::new(Vec::new()));
            let (uncounted_patched, _) = fill(seekable, &uncounted, &content);
            assert!(uncounted_patched.into_inner() == uncounted_spooled);
            let (spooled, size) = fill(spooled(), &layer, &content);
            assert_eq!(size, spooled.len() as u64);
            let zstd = matches!(compression, LayerCompression::Zstd { .. });
            assert!(zstd || uncounted_spooled == spooled, "{compression}");
            let mut before = io::Cursor::new(b"before".to_vec());
            before.seek(SeekFrom::End(0)).unwrap();
            let (patched, size) = fill(TarWriter::seekable(before), &layer, &content);
            assert_eq!(size, spooled.len() as u64);
            assert!(patched.into_inner()[6..] == spooled, "{compression}");
            let mut names = Vec::new();
            for entry in tar::Archive::new(&spooled[..]).entries().unwrap() {
                let mut entry = entry.unwrap();
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).unwrap();
                let name = entry.path().unwrap().display().to_string();
                if let Some(hex) = name.strip_prefix("blobs/") {
                    assert_eq!(Digest::of(&bytes).hex(), hex);
                }
                names.push(name);
            }
            assert_eq!(names.len(), 3);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    /// The room that is kept for a header does not depend on what will stand there.
    #[test]
    fn wide_headers_have_one_length() {
        let length = |size| {
            let head = head(b'0', "a", Attributes::FILE, size);
            EntryHeader { wide: true, ..head }.to_bytes().len()
        };
        assert_eq!(length(0), 3 * BLOCK);
        assert_eq!(length(u64::MAX), 3 * BLOCK);
    }
}
