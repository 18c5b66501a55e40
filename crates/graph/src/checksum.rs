//! The digest of a layer as it was transported, compressed most often.

use lith_store::{BlobId, LayerId, Session};

use crate::{Graph, GraphError};

/// The file in a layer's folder that holds it.
const CHECKSUM: &str = "checksum";

impl Graph {
    /// Notes the digest that a layer had when it was transported; replaces the one before.
    ///
    /// It is on disk when this returns.
    ///
    /// # Errors
    /// [`GraphError::NotFound`] when the layer is not there.
    pub fn set_layer_digest(
        &self,
        session: &Session,
        id: &LayerId,
        digest: &BlobId,
    ) -> Result<(), GraphError> {
        self.set_layer_file(session, id, CHECKSUM, format!("{digest}\n").as_bytes())
    }

    /// Returns the digest that a layer had when it was transported.
    ///
    /// # Errors
    /// [`GraphError::DigestNotSet`] when nobody noted it; [`GraphError::NotFound`] when the layer
    /// is not there; [`GraphError::Corrupt`] when what is stored is no digest.
    pub fn layer_digest(&self, id: &LayerId) -> Result<BlobId, GraphError> {
        self.whole(id)?;
        self.stored_digest(id)?
            .ok_or(GraphError::DigestNotSet { layer: *id })
    }

    pub(crate) fn stored_digest(&self, id: &LayerId) -> Result<Option<BlobId>, GraphError> {
        let Some(bytes) = self.layer_file(id, CHECKSUM)? else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(&bytes);
        match text.trim_end().parse() {
            Ok(digest) => Ok(Some(digest)),
            Err(error) => Err(GraphError::Corrupt {
                layer: *id,
                reason: format!("its file {CHECKSUM} holds no digest: {error}"),
            }),
        }
    }
}
