//! Documents by their descriptors: bounded, and exactly what was promised.

use lith_store::Digest;

use crate::LoadError;
use crate::members::{Blob, Contents};
use crate::oci::{Descriptor, Document, DocumentError, Kind, MAX_DOCUMENT};

/// Bytes of all documents that are read.
const MAX_DOCUMENTS: usize = 512 << 20;

/// Where blobs lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Places {
    /// In an OCI layout.
    Layout,
    /// In a docker-dir.
    Dir,
}

impl Places {
    pub(crate) fn blob(self, digest: &Digest) -> String {
        match self {
            Places::Layout => format!("blobs/sha256/{}", digest.hex()),
            Places::Dir => digest.hex(),
        }
    }

    fn manifest(self, digest: &Digest) -> String {
        match self {
            Places::Layout => self.blob(digest),
            Places::Dir => format!("{}.manifest.json", digest.hex()),
        }
    }
}

/// The blobs of a container.
pub(crate) struct Blobs<'a> {
    pub(super) contents: &'a dyn Contents,
    pub(super) places: Places,
    read: usize,
}

impl<'a> Blobs<'a> {
    pub(super) fn new(contents: &'a dyn Contents, places: Places) -> Blobs<'a> {
        Blobs {
            contents,
            places,
            read: 0,
        }
    }

    /// Reads a manifest or an index, which must be of the kind that its descriptor says.
    pub(super) fn manifest(
        &mut self,
        descriptor: &Descriptor,
        wanted_by: &str,
    ) -> Result<(Vec<u8>, Document), LoadError> {
        let path = self.places.manifest(&descriptor.digest);
        let bytes = self.bytes(descriptor, &path, wanted_by)?;
        let document = parse(&bytes, &path)?;
        check_kind(&document, descriptor.media_type.kind(), &path)?;
        Ok((bytes, document))
    }

    /// Reads a config.
    pub(super) fn config(
        &mut self,
        descriptor: &Descriptor,
        wanted_by: &str,
    ) -> Result<Vec<u8>, LoadError> {
        let path = self.places.blob(&descriptor.digest);
        self.bytes(descriptor, &path, wanted_by)
    }

    fn bytes(
        &mut self,
        descriptor: &Descriptor,
        path: &str,
        wanted_by: &str,
    ) -> Result<Vec<u8>, LoadError> {
        if descriptor.size > MAX_DOCUMENT {
            return Err(LoadError::TooLarge {
                member: path.to_owned(),
                size: descriptor.size,
                limit: MAX_DOCUMENT,
            });
        }
        let bytes = match self.contents.document(path.as_bytes(), wanted_by)? {
            Some(document) => document.bytes,
            None => descriptor
                .inline()
                .ok_or_else(|| super::missing(path, wanted_by))?,
        };
        self.read += bytes.len();
        if self.read > MAX_DOCUMENTS {
            return Err(LoadError::TooMany {
                what: "bytes of documents",
                limit: MAX_DOCUMENTS,
            });
        }
        expect(&Blob::of(&bytes), descriptor, path)?;
        Ok(bytes)
    }
}

/// Compares what was found with what a descriptor says.
pub(super) fn expect(found: &Blob, descriptor: &Descriptor, path: &str) -> Result<(), LoadError> {
    found
        .check(&promised(descriptor))
        .map_err(|source| LoadError::Blob {
            member: path.to_owned(),
            source,
        })
}

/// What a descriptor says of its bytes.
pub(super) fn promised(descriptor: &Descriptor) -> Blob {
    Blob {
        digest: descriptor.digest,
        size: descriptor.size,
    }
}

/// Reads a manifest or an index.
pub(super) fn parse(bytes: &[u8], path: &str) -> Result<Document, LoadError> {
    Document::parse(bytes).map_err(|source: DocumentError| LoadError::Manifest {
        member: path.to_owned(),
        source,
    })
}

/// What one tool takes for an index and another for a manifest shows them different images.
fn check_kind(document: &Document, said: Kind, path: &str) -> Result<(), LoadError> {
    let (expected, found) = match (document, said) {
        (Document::Manifest(_), Kind::Index) => ("an index", "a manifest"),
        (Document::Index(_), Kind::Manifest) => ("a manifest", "an index"),
        _ => return Ok(()),
    };
    Err(LoadError::OtherKind {
        member: path.to_owned(),
        expected,
        found,
    })
}
