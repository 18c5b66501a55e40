//! Layers compressed for transport: equal layers give equal bytes, on any machine.
//!
//! Nothing that depends on time, on the number of processors or on how the content comes in
//! pieces reaches the output.

mod gzip;

use std::fmt;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::str::FromStr;

use lith_graph::compression::Compression;
use lith_store::{DiffId, Digest};
use sha2::{Digest as _, Sha256};

use crate::WriteError;

/// How layers are compressed in what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum LayerCompression {
    /// Not at all.
    None,
    /// As every engine reads it.
    #[default]
    Gzip,
    /// Smaller and faster; engines of the last years read it.
    Zstd {
        /// From 1, the fastest, to 19, the smallest.
        level: u8,
    },
}

/// Levels beyond take more memory than readers can be expected to give.
const ZSTD_LEVELS: std::ops::RangeInclusive<u8> = 1..=19;

/// A text that is no compression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a compression: expected none, gzip, zstd or zstd:LEVEL, from 1 to 19")]
pub struct ParseCompressionError {
    /// What was given.
    pub text: String,
}

impl FromStr for LayerCompression {
    type Err = ParseCompressionError;

    fn from_str(text: &str) -> Result<LayerCompression, ParseCompressionError> {
        let wrong = || ParseCompressionError {
            text: text.chars().take(40).collect(),
        };
        match text {
            "none" => Ok(LayerCompression::None),
            "gzip" => Ok(LayerCompression::Gzip),
            "zstd" => Ok(LayerCompression::ZSTD),
            _ => {
                let level = text.strip_prefix("zstd:").ok_or_else(wrong)?;
                let level = level.parse().map_err(|_| wrong())?;
                match ZSTD_LEVELS.contains(&level) {
                    true => Ok(LayerCompression::Zstd { level }),
                    false => Err(wrong()),
                }
            }
        }
    }
}

impl LayerCompression {
    /// zstd with its own default.
    pub const ZSTD: LayerCompression = LayerCompression::Zstd { level: 3 };

    /// The compression without its level.
    pub fn kind(self) -> Compression {
        match self {
            LayerCompression::None => Compression::None,
            LayerCompression::Gzip => Compression::Gzip,
            LayerCompression::Zstd { .. } => Compression::Zstd,
        }
    }

    /// More bytes than compressing `size` bytes can give: what cannot be compressed grows by
    /// a few bytes for each block.
    pub(crate) fn bound(self, size: u64) -> u64 {
        match self {
            LayerCompression::None => size,
            _ => size.saturating_add(size / 256).saturating_add(1 << 16),
        }
    }
}

impl fmt::Display for LayerCompression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind().fmt(f)
    }
}

/// A layer to be written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layer {
    pub(crate) diff_id: DiffId,
    pub(crate) form: Form,
}

/// What a layer's content is, and what is to become of it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Form {
    /// Its tar, to be compressed.
    Tar {
        /// Bytes of the tar, as announced; none when nobody has counted them.
        size: Option<u64>,
        compression: LayerCompression,
    },
    /// A blob, to be written as it is.
    Blob(Written),
}

impl Layer {
    /// A tar of `size` bytes, to be compressed.
    pub(crate) fn tar(diff_id: DiffId, size: u64, compression: LayerCompression) -> Layer {
        let size = Some(size);
        Layer {
            diff_id,
            form: Form::Tar { size, compression },
        }
    }

    /// What will be written, where that is known before.
    pub(crate) fn known(&self) -> Option<Written> {
        match self.form {
            Form::Blob(written) => Some(written),
            Form::Tar {
                size: Some(size),
                compression: LayerCompression::None,
            } => Some(Written {
                digest: self.diff_id.into(),
                size,
                compression: Compression::None,
            }),
            Form::Tar { .. } => None,
        }
    }

    /// More bytes than what is written can have, where that is known.
    pub(crate) fn bound(&self) -> Option<u64> {
        match self.form {
            Form::Blob(written) => Some(written.size),
            Form::Tar { size, compression } => size.map(|size| compression.bound(size)),
        }
    }
}

/// A layer as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    /// Of the bytes that were written.
    pub(crate) digest: Digest,
    /// How many they are.
    pub(crate) size: u64,
    pub(crate) compression: Compression,
}

/// How much is read at once.
const BUFFER: usize = 128 << 10;

/// Tars up to this size are known to the encoder before it begins, and compressed the better for
/// it. Whoever does not know a tar's size beforehand has to find out whether it is so small:
/// what comes out must not depend on who compresses.
pub(crate) const SMALL: u64 = 256 << 10;

/// Writes a layer to `out`, compressed as it says.
///
/// The content is not hashed: whoever gives it answers for its diff ID, which is the digest of
/// what is written without compression, and for the digest of a blob.
///
/// # Errors
/// Content that is shorter or longer than announced or cannot be read, an `out` that refuses.
pub(crate) fn write(
    layer: &Layer,
    content: &mut dyn BufRead,
    out: &mut dyn Write,
) -> Result<Written, WriteError> {
    let (announced, compression) = match layer.form {
        Form::Tar { size, compression } => (size, compression),
        Form::Blob(written) => (Some(written.size), LayerCompression::None),
    };
    let content = &mut Content {
        source: content,
        name: &layer.diff_id,
        size: announced,
        done: 0,
    };
    let (digest, size) = match compression {
        LayerCompression::None => {
            copy(content, out)?;
            (Digest::from(layer.diff_id), content.done)
        }
        LayerCompression::Gzip => {
            let mut out = Hashed::new(out);
            gzip::write(content, &mut out)?;
            out.finish()
        }
        LayerCompression::Zstd { level } => {
            let mut out = Hashed::new(out);
            zstd(content, level, &mut out)?;
            out.finish()
        }
    };
    content.end()?;
    Ok(match layer.form {
        Form::Blob(written) => written,
        Form::Tar { .. } => Written {
            digest,
            size,
            compression: compression.kind(),
        },
    })
}

fn output(source: io::Error) -> WriteError {
    WriteError::Output { source }
}

/// Content of others, read in pieces of a good size.
pub(crate) fn buffered(content: &mut dyn Read) -> impl BufRead {
    BufReader::with_capacity(BUFFER, content)
}

/// Writes the pieces that the content comes in, as they are.
fn copy(content: &mut Content<'_>, out: &mut dyn Write) -> Result<(), WriteError> {
    while let piece @ [_, ..] = content.piece()? {
        out.write_all(piece).map_err(output)?;
        let length = piece.len();
        content.consume(length);
    }
    Ok(())
}

fn zstd(content: &mut Content<'_>, level: u8, out: &mut dyn Write) -> Result<(), WriteError> {
    let mut encoder = zstd::Encoder::new(out, i32::from(level)).map_err(output)?;
    let known = content.size.filter(|size| *size <= SMALL);
    encoder.set_pledged_src_size(known).map_err(output)?;
    encoder.include_checksum(true).map_err(output)?;
    copy(content, &mut encoder)?;
    // What was announced is checked first: the encoder would tell of it, and not as clearly.
    content.end()?;
    encoder.finish().map_err(output).map(drop)
}

/// A layer's bytes, held to the length that was announced.
struct Content<'a> {
    source: &'a mut dyn BufRead,
    name: &'a DiffId,
    size: Option<u64>,
    done: u64,
}

impl Content<'_> {
    /// What is there of the content; empty only at its end.
    fn piece(&mut self) -> Result<&[u8], WriteError> {
        let name = self.name;
        let unreadable = |source| WriteError::Content {
            name: name.to_string(),
            source,
        };
        let length = loop {
            match self.source.fill_buf() {
                Ok(piece) => break piece.len(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(unreadable(error)),
            }
        };
        match self.size {
            Some(size) if self.done + length as u64 > size => {
                Err(self.length(size, size.saturating_add(1)))
            }
            // It is there already; a loop cannot give it out.
            _ => self.source.fill_buf().map_err(unreadable),
        }
    }

    fn consume(&mut self, length: usize) {
        self.source.consume(length);
        self.done += length as u64;
    }

    /// Fills `buffer` as far as the content goes; what is returned is empty only at its end.
    fn read<'b>(&mut self, buffer: &'b mut [u8]) -> Result<&'b [u8], WriteError> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.source.read(rest) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => {
                    let name = self.name.to_string();
                    return Err(WriteError::Content { name, source });
                }
            }
        }
        self.done += filled as u64;
        match self.size {
            Some(size) if self.done > size => return Err(self.length(size, size.saturating_add(1))),
            _ => {}
        }
        Ok(buffer.get(..filled).unwrap_or_default())
    }

    /// Checks that nothing is missing.
    fn end(&self) -> Result<(), WriteError> {
        match self.size {
            Some(size) if self.done != size => Err(self.length(size, self.done)),
            _ => Ok(()),
        }
    }

    fn length(&self, announced: u64, actual: u64) -> WriteError {
        WriteError::Length {
            name: self.name.to_string(),
            announced,
            actual,
        }
    }
}

/// Hashes and counts what is written.
struct Hashed<'a> {
    out: &'a mut dyn Write,
    hash: Sha256,
    size: u64,
}

impl<'a> Hashed<'a> {
    fn new(out: &'a mut dyn Write) -> Hashed<'a> {
        Hashed {
            out,
            hash: Sha256::new(),
            size: 0,
        }
    }

    fn finish(self) -> (Digest, u64) {
        (Digest::from_bytes(self.hash.finalize().into()), self.size)
    }
}

impl Write for Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write_all(bytes)?;
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lith_graph::compression;

    /// Gives pieces of odd sizes.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = self.1 * 7 % 10007 + 1;
            let want = buffer.len().min(self.1);
            self.0.read(&mut buffer[..want])
        }
    }

    fn pseudo_random(length: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let byte = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Half of it can be compressed.
            if state & 0x4000 == 0 {
                7
            } else {
                (state >> 24) as u8
            }
        };
        (0..length).map(byte).collect()
    }

    const ALL: [LayerCompression; 3] = [
        LayerCompression::None,
        LayerCompression::Gzip,
        LayerCompression::Zstd { level: 3 },
    ];

    #[test]
    fn what_is_written_is_read_again() {
        for length in [0, 1, 511, 1 << 20, (1 << 20) + 1, (5 << 20) - 3] {
            let content = pseudo_random(length);
            let diff_id = DiffId::of_bytes(&content);
            for compression in ALL {
                let layer = Layer::tar(diff_id, length as u64, compression);
                let mut out = Vec::new();
                let written = write(&layer, &mut &content[..], &mut out).unwrap();
                let context = format!("{compression} of {length}");
                assert_eq!(written.digest, Digest::of(&out), "{context}");
                assert_eq!(written.size, out.len() as u64, "{context}");
                assert!(written.size <= layer.bound().unwrap(), "{context}");
                if length > 0 || compression != LayerCompression::None {
                    assert_eq!(compression::detect(&out), compression.kind(), "{context}");
                }
                let mut back = Vec::new();
                let (_, mut reader) = compression::reader(&out[..]).unwrap();
                reader.read_to_end(&mut back).unwrap();
                assert!(back == content, "{context}");
                // In other pieces: the same.
                let mut again = Vec::new();
                write(&layer, &mut buffered(&mut Pieces(&content, 1)), &mut again).unwrap();
                assert!(again == out, "{context}");
                // As a blob: byte for byte.
                let blob = Layer {
                    diff_id,
                    form: Form::Blob(written),
                };
                let mut passed = Vec::new();
                let same = write(&blob, &mut &out[..], &mut passed).unwrap();
                assert_eq!(same, written, "{context}");
                assert!(passed == out, "{context}");
                assert!(write(&blob, &mut &[1; 9][..], &mut Vec::new()).is_err());
                // Without knowing how much comes: the same, when it is not so little that it
                // has to be known.
                if length as u64 > SMALL {
                    let size = None;
                    let form = Form::Tar { size, compression };
                    let mut unknown = Vec::new();
                    let layer = Layer { diff_id, form };
                    let same = write(&layer, &mut &content[..], &mut unknown).unwrap();
                    assert_eq!(same, written, "{context}");
                    assert!(unknown == out, "{context}");
                }
            }
        }
    }

    #[test]
    fn announced_lengths_are_held() {
        for compression in ALL {
            for (size, actual) in [(99, 100), (101, 100)] {
                let content = [1; 100];
                let layer = Layer::tar(DiffId::of_bytes(&content), size, compression);
                let error = write(&layer, &mut &content[..], &mut Vec::new()).unwrap_err();
                let WriteError::Length { actual: found, .. } = error else {
                    panic!("{error}")
                };
                assert_eq!(found, actual, "{compression}");
            }
        }
    }

    #[test]
    fn failures_are_told_apart() {
        struct Bad;
        impl Read for Bad {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("bad"))
            }
        }
        impl Write for Bad {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::Error::other("bad"))
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let content = pseudo_random(3 << 20);
        for compression in ALL {
            let size = content.len() as u64;
            let layer = Layer::tar(DiffId::of_bytes(&content), size, compression);
            let error = write(&layer, &mut &content[..], &mut Bad).unwrap_err();
            assert!(matches!(error, WriteError::Output { .. }), "{error}");
            let error = write(&layer, &mut buffered(&mut Bad), &mut Vec::new()).unwrap_err();
            assert!(matches!(error, WriteError::Content { .. }), "{error}");
        }
    }

    #[test]
    fn names_and_levels() {
        let parse = |text: &str| text.parse::<LayerCompression>();
        assert_eq!(parse("none"), Ok(LayerCompression::None));
        assert_eq!(parse("gzip"), Ok(LayerCompression::Gzip));
        assert_eq!(parse("zstd"), Ok(LayerCompression::Zstd { level: 3 }));
        assert_eq!(parse("zstd:19"), Ok(LayerCompression::Zstd { level: 19 }));
        for text in [
            "", "GZIP", "zstd:", "zstd:0", "zstd:20", "zstd:x", "gzip:9", "xz",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
