//! The bytes of a layer on their way: what was promised of them, and what they are.

use std::io::{self, Read};

use lith_graph::compression::{self, Compression};

use crate::members::{BlobError, Verified};
use crate::source::SourceBlob;

/// Reads a layer as transported, and remembers how it is compressed.
pub(super) struct Transport<'a, R: Read> {
    content: Content<R>,
    head: Vec<u8>,
    blob: Option<&'a SourceBlob>,
}

enum Content<R: Read> {
    /// Nobody said what it is.
    Any(R),
    Promised(Verified<R>),
}

impl<'a, R: Read> Transport<'a, R> {
    pub(super) fn new(content: R, blob: Option<&'a SourceBlob>) -> Transport<'a, R> {
        Transport {
            content: match blob {
                Some(blob) => Content::Promised(Verified::new(content, blob.expected)),
                None => Content::Any(content),
            },
            head: Vec::with_capacity(compression::HEAD_LEN),
            blob,
        }
    }

    /// Reads what is left, and says what the user should know of the layer `name`.
    ///
    /// A promise that was not kept explains whatever else went wrong.
    pub(super) fn finish(mut self, name: &str) -> Result<Option<String>, BlobError> {
        let Some(blob) = self.blob else {
            return Ok(None);
        };
        if let Err(error) = io::copy(&mut self, &mut io::sink())
            && let Some(error) = error.get_ref().and_then(|error| error.downcast_ref())
        {
            return Err(BlobError::clone(error));
        }
        Ok(mismatch(blob, compression::detect(&self.head), name))
    }
}

/// A warning when a layer is not compressed as its media type says.
pub(crate) fn mismatch(blob: &SourceBlob, found: Compression, name: &str) -> Option<String> {
    let said = blob.media_type.compression()?;
    let shown = |compression| match compression {
        Compression::None => "not compressed".to_owned(),
        other => format!("{other}"),
    };
    (said != found).then(|| {
        format!(
            "layer {name} is {}, but its media type is {}",
            shown(found),
            blob.media_type
        )
    })
}

impl<R: Read> Read for Transport<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.content {
            Content::Any(content) => content.read(buf)?,
            Content::Promised(content) => content.read(buf)?,
        };
        let lacking = compression::HEAD_LEN.saturating_sub(self.head.len());
        let new = buf.get(..read.min(lacking)).unwrap_or_default();
        self.head.extend_from_slice(new);
        Ok(read)
    }
}
