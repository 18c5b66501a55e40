//! How layer IDs stand in documents and messages: as digests, like those of images.

use lith_store::LayerId;
use serde::Serializer;

/// The ID with its algorithm.
pub(crate) fn text(id: &LayerId) -> String {
    format!("sha256:{id}")
}

/// For `serialize_with`.
pub(crate) fn one<S: Serializer>(id: &LayerId, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(&text(id))
}

/// For `serialize_with`.
pub(crate) fn list<S: Serializer>(ids: &[LayerId], out: S) -> Result<S::Ok, S::Error> {
    out.collect_seq(ids.iter().map(text))
}
