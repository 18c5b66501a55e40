//! The hash of a stream, made while it passes.

use bytes::Bytes;
use lith_store::DiffId;
use sha2::{Digest as _, Sha256};

/// What a stream turned out to be once it was read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hashed {
    pub(crate) diff_id: DiffId,
    pub(crate) bytes: u64,
}

impl Hashed {
    pub(crate) fn of(stream: &[u8]) -> Self {
        let mut hashing = Hashing::default();
        hashing.add(stream);
        hashing.finish()
    }

    /// Of all chunks that come.
    pub(crate) fn of_chunks(chunks: impl IntoIterator<Item = Bytes>) -> Self {
        let mut hashing = Hashing::default();
        for chunk in chunks {
            hashing.add(&chunk);
        }
        hashing.finish()
    }
}

/// What is known of a stream so far.
#[derive(Default)]
pub(crate) struct Hashing {
    sha: Sha256,
    bytes: u64,
}

impl Hashing {
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.sha.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    pub(crate) fn finish(self) -> Hashed {
        Hashed {
            diff_id: DiffId::from_bytes(self.sha.finalize().into()),
            bytes: self.bytes,
        }
    }
}
