//! Blobs: bytes whose digest and size somebody says.

use std::io::{self, Read};

use lith_graph::{Observer, compression};
use lith_store::{DiffId, Digest};
use sha2::{Digest as _, Sha256};

/// What a blob is, or should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Blob {
    pub(crate) digest: Digest,
    /// In bytes, as transported.
    pub(crate) size: u64,
}

/// A blob that is not what a document says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    /// It is shorter or longer.
    #[error("it has {actual} bytes, expected {expected}")]
    Size {
        /// What the document says.
        expected: u64,
        /// What was found; more than expected may be the first byte too many.
        actual: u64,
    },
    /// It has other bytes.
    #[error("its digest is {actual}, expected {expected}")]
    Digest {
        /// What the document says.
        expected: Digest,
        /// What was found.
        actual: Digest,
    },
}

impl Blob {
    /// What `bytes` are.
    pub(crate) fn of(bytes: &[u8]) -> Blob {
        Blob {
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
        }
    }

    /// Compares what was found with what a document says.
    ///
    /// # Errors
    /// When they differ.
    pub(crate) fn check(&self, expected: &Blob) -> Result<(), BlobError> {
        if self.size != expected.size {
            return Err(BlobError::Size {
                expected: expected.size,
                actual: self.size,
            });
        }
        if self.digest != expected.digest {
            return Err(BlobError::Digest {
                expected: expected.digest,
                actual: self.digest,
            });
        }
        Ok(())
    }
}

/// Counts and hashes what is read through it.
pub(super) struct Measured<R> {
    content: R,
    hash: Sha256,
    size: u64,
}

impl<R: Read> Measured<R> {
    pub(super) fn new(content: R) -> Measured<R> {
        Measured {
            content,
            hash: Sha256::new(),
            size: 0,
        }
    }

    /// Reads to the end, and says what it was.
    pub(super) fn finish(mut self) -> (io::Result<Blob>, R) {
        let drained = io::copy(&mut self, &mut io::sink());
        let blob = drained.map(|_| Blob {
            digest: Digest::from_bytes(self.hash.finalize().into()),
            size: self.size,
        });
        (blob, self.content)
    }
}

impl<R: Read> Read for Measured<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read(buf)?;
        self.hash.update(buf.get(..read).unwrap_or_default());
        self.size += read as u64;
        Ok(read)
    }
}

/// A blob that must be what a document says: the last read fails if it is not.
///
/// Nobody may rely on the bytes before the end was seen.
pub(crate) struct Verified<R> {
    content: Measured<R>,
    expected: Blob,
}

impl<R: Read> Verified<R> {
    pub(crate) fn new(content: R, expected: Blob) -> Verified<R> {
        Verified {
            content: Measured::new(content),
            expected,
        }
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read(buf)?;
        let size = self.content.size;
        let differs = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        if size > self.expected.size {
            // Not a byte more than promised is let through.
            return Err(differs(BlobError::Size {
                expected: self.expected.size,
                actual: size,
            }));
        }
        if read == 0 && !buf.is_empty() {
            let digest = Digest::from_bytes(self.content.hash.clone().finalize().into());
            Blob { digest, size }
                .check(&self.expected)
                .map_err(differs)?;
        }
        Ok(read)
    }
}

/// The diff ID of a layer as transported; none when the work was cancelled.
pub(crate) fn diff_id(
    content: impl Read + Send,
    observer: &dyn Observer,
) -> io::Result<Option<DiffId>> {
    let (_, mut tar) = compression::reader(content)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 128 << 10];
    loop {
        if observer.cancelled() {
            return Ok(None);
        }
        match tar.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(read) => match buffer.get(..read) {
                Some(bytes) if !bytes.is_empty() => hash.update(bytes),
                _ => return Ok(Some(DiffId::from_bytes(hash.finalize().into()))),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], expected: Blob) -> Result<Vec<u8>, BlobError> {
        let mut out = Vec::new();
        match Verified::new(bytes, expected).read_to_end(&mut out) {
            Ok(_) => Ok(out),
            Err(error) => Err(error.into_inner().unwrap().downcast_ref().cloned().unwrap()),
        }
    }

    #[test]
    fn blobs_are_what_was_said() {
        assert_eq!(read(b"abc", Blob::of(b"abc")).unwrap(), b"abc");
        assert_eq!(read(b"", Blob::of(b"")).unwrap(), b"");
        for (bytes, expected) in [(&b"ab"[..], 3), (b"abcd", 3)] {
            let actual = bytes.len() as u64;
            let error = read(bytes, Blob::of(b"abc")).unwrap_err();
            assert_eq!(error, BlobError::Size { expected, actual });
        }
        let error = read(b"abx", Blob::of(b"abc")).unwrap_err();
        assert!(matches!(error, BlobError::Digest { .. }), "{error}");
    }
}
