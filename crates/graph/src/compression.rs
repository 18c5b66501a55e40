//! Which compression a stream came in, told by its first bytes, and the way back.
//!
//! Media types and file names lie (engines wrote `tar.gzip` over plain tars for years), so
//! content decides. Every format of the field is read to the very end of its stream: several
//! members or frames in a row are one stream, and what follows the last one must be
//! zero padding, or the stream is damaged.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::marker::PhantomData;

// Named for its features, as the manifest of the workspace says.
use zlib_rs as _;

pub use lith_tarsplit::looks_like_tar;

/// A compression of the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Compression {
    /// Bytes as they are.
    None,
    /// RFC 1952, any number of members.
    Gzip,
    /// RFC 8878, any number of frames, skippable ones included.
    Zstd,
    /// bzip2, any number of streams.
    Bzip2,
    /// xz, any number of streams.
    Xz,
}

impl Compression {
    /// The name that users and other tools know.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Bytes from the start of a stream that [`detect`] wants to see; fewer are fine at its end.
pub const HEAD_LEN: usize = 512;

/// Tells the compression of a stream from its first bytes.
///
/// What can be read as a tar is one: its first entry may be called like the first bytes of a
/// compressed stream.
pub fn detect(head: &[u8]) -> Compression {
    if looks_like_tar(head) {
        return Compression::None;
    }
    // A zstd stream may begin with a skippable frame: magic 0x184D2A50 to 0x184D2A5F.
    let skippable = matches!(head, [first, 0x2a, 0x4d, 0x18, ..] if (0x50..=0x5f).contains(first));
    if head.starts_with(&[0x1f, 0x8b, 0x08]) {
        Compression::Gzip
    } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) || skippable {
        Compression::Zstd
    } else if head.starts_with(b"BZh") {
        Compression::Bzip2
    } else if head.starts_with(&[0xfd, b'7', b'z', b'X', b'Z', 0x00]) {
        Compression::Xz
    } else {
        Compression::None
    }
}

/// Memory that decoding xz may take; its dictionaries may be 4 GiB otherwise.
const XZ_MEMORY: u64 = 256 << 20;

/// Transported bytes read at once.
const TRANSPORT_BUFFER: usize = 128 << 10;

/// Reads `transport` uncompressed, whatever it came in.
///
/// # Errors
/// When the first bytes cannot be read. Damage further on comes out of the reader.
pub fn reader<'a>(
    transport: impl Read + Send + 'a,
) -> io::Result<(Compression, Box<dyn Read + Send + 'a>)> {
    let mut head = Vec::with_capacity(HEAD_LEN);
    let mut transport = transport;
    // A pipe may give one byte at a time: the head must be whole before it is judged.
    (&mut transport)
        .take(HEAD_LEN as u64)
        .read_to_end(&mut head)?;
    let compression = detect(&head);
    let whole = io::Cursor::new(head).chain(transport);
    if compression == Compression::None {
        return Ok((compression, Box::new(whole)));
    }
    let whole = BufReader::with_capacity(TRANSPORT_BUFFER, whole);
    Ok((compression, decoder(compression, whole)?))
}

/// Decodes `transport`, known to be of `compression`.
fn decoder<'a>(
    compression: Compression,
    transport: impl BufRead + Send + 'a,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    Ok(match compression {
        Compression::None => Box::new(transport),
        Compression::Gzip => Box::new(Members::<_, flate2::bufread::GzDecoder<_>>::new(
            transport,
            compression,
        )),
        Compression::Bzip2 => Box::new(Members::<_, bzip2::bufread::BzDecoder<_>>::new(
            transport,
            compression,
        )),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(transport)?),
        Compression::Xz => {
            let flags = liblzma::stream::CONCATENATED;
            let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, flags)
                .map_err(io::Error::other)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(transport, stream))
        }
    })
}

/// A decoder of one gzip member or one bzip2 stream, which leaves what follows unread.
trait Member<T>: Read + Send {
    fn open(source: T) -> Self;
    fn into_source(self) -> T;
}

impl<T: BufRead + Send> Member<T> for flate2::bufread::GzDecoder<T> {
    fn open(source: T) -> Self {
        Self::new(source)
    }
    fn into_source(self) -> T {
        self.into_inner()
    }
}

impl<T: BufRead + Send> Member<T> for bzip2::bufread::BzDecoder<T> {
    fn open(source: T) -> Self {
        Self::new(source)
    }
    fn into_source(self) -> T {
        self.into_inner()
    }
}

/// Members one behind the other, with zero padding allowed after the last.
struct Members<T, M> {
    /// `None` once the stream has ended, well or not.
    member: Option<M>,
    compression: Compression,
    source: PhantomData<fn() -> T>,
}

impl<T: BufRead + Send, M: Member<T>> Members<T, M> {
    fn new(source: T, compression: Compression) -> Self {
        Self {
            member: Some(M::open(source)),
            compression,
            source: PhantomData,
        }
    }

    /// Goes on to the member behind the one that has ended, if there is one.
    fn advance(&mut self) -> io::Result<()> {
        let Some(member) = self.member.take() else {
            return Ok(());
        };
        let mut source = member.into_source();
        match source.fill_buf()?.first() {
            None => Ok(()),
            Some(0) => expect_padding(source, self.compression),
            Some(_) => {
                self.member = Some(M::open(source));
                Ok(())
            }
        }
    }
}

impl<T: BufRead + Send, M: Member<T>> Read for Members<T, M> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        while let Some(member) = &mut self.member {
            let read = member.read(buf)?;
            if read > 0 {
                return Ok(read);
            }
            self.advance()?;
        }
        Ok(0)
    }
}

/// Reads zeros to the end of the transport; tape blocks and block devices pad so.
fn expect_padding(mut source: impl BufRead, compression: Compression) -> io::Result<()> {
    loop {
        let chunk = source.fill_buf()?;
        if chunk.is_empty() {
            return Ok(());
        }
        if chunk.iter().any(|&byte| byte != 0) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("bytes that are neither {compression} data nor zeros follow its end"),
            ));
        }
        let read = chunk.len();
        source.consume(read);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(data).unwrap();
        out.finish().unwrap()
    }

    fn bzip2(data: &[u8]) -> Vec<u8> {
        let mut out = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        out.write_all(data).unwrap();
        out.finish().unwrap()
    }

    fn xz(data: &[u8]) -> Vec<u8> {
        let mut out = liblzma::write::XzEncoder::new(Vec::new(), 1);
        out.write_all(data).unwrap();
        out.finish().unwrap()
    }

    fn zstd(data: &[u8]) -> Vec<u8> {
        zstd::encode_all(data, 1).unwrap()
    }

    fn read_back(transport: &[u8]) -> io::Result<(Compression, Vec<u8>)> {
        let (compression, mut reader) = reader(transport)?;
        let mut out = Vec::new();
        reader.read_to_end(&mut out)?;
        Ok((compression, out))
    }

    type Encode = fn(&[u8]) -> Vec<u8>;
    const ENCODERS: [(Compression, Encode); 4] = [
        (Compression::Gzip, gzip),
        (Compression::Bzip2, bzip2),
        (Compression::Xz, xz),
        (Compression::Zstd, zstd),
    ];

    #[test]
    fn several_members_are_one_stream() {
        for (compression, encode) in ENCODERS {
            let whole = [encode(b"one "), encode(b""), encode(b"two")].concat();
            assert_eq!(
                read_back(&whole).unwrap(),
                (compression, b"one two".to_vec())
            );
        }
    }

    #[test]
    fn a_cut_stream_is_an_error() {
        let data: Vec<u8> = (0..5000u32)
            .flat_map(|n| n.wrapping_mul(n).to_le_bytes())
            .collect();
        for (compression, encode) in ENCODERS {
            let whole = encode(&data);
            for cut in [12, whole.len() / 2, whole.len() - 1] {
                assert!(
                    read_back(&whole[..cut]).is_err(),
                    "{compression} cut at {cut}"
                );
            }
        }
    }

    #[test]
    fn zeros_may_follow_gzip_and_nothing_else() {
        let mut padded = gzip(b"data");
        padded.extend([0; 700]);
        assert_eq!(read_back(&padded).unwrap().1, b"data");
        padded.push(b'x');
        assert!(read_back(&padded).is_err());
        let junk = [gzip(b"data"), b"junk".to_vec()].concat();
        assert!(read_back(&junk).is_err());
    }

    #[test]
    fn skippable_frames_are_skipped() {
        let skippable = [0x51, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
        let whole = [&skippable[..], &zstd(b"a"), &skippable[..], &zstd(b"b")].concat();
        assert_eq!(
            read_back(&whole).unwrap(),
            (Compression::Zstd, b"ab".to_vec())
        );
    }

    #[test]
    fn a_tar_whose_first_name_looks_compressed_is_a_tar() {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(1);
        builder
            .append_data(&mut header, "BZh91AY", &b"x"[..])
            .unwrap();
        let whole = builder.into_inner().unwrap();
        assert_eq!(read_back(&whole).unwrap(), (Compression::None, whole));
    }

    #[test]
    fn short_and_plain_streams_pass_unchanged() {
        for data in [&b""[..], b"a", b"\x1f\x8b", b"plain text"] {
            assert_eq!(read_back(data).unwrap(), (Compression::None, data.to_vec()));
        }
    }
}
