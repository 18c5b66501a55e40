//! Images that are made here: of what was written over another, or of a root file system.

mod change;
mod commit;
mod config;
mod error;
mod import;

pub use change::{Change, ParseChangeError};
pub use commit::commit;
pub use error::BuildError;
pub use import::import;

use lith_graph::Graph;
use lith_store::{EventKind, ImageId, ImageRecord, LayerId, Reference, Session};
use serde::Serialize;

use crate::config as facts;

/// What is to be said of an image that is made here.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct BuildOptions {
    /// The names it gets.
    pub names: Vec<Reference>,
    /// What the step of its history says.
    pub message: Option<String>,
    /// Who made it.
    pub author: Option<String>,
    /// What is to be changed in its config, in this order.
    pub changes: Vec<Change>,
    /// Seconds since 1970 at which it counts as made, for images that are to come out the same
    /// whenever they are made: files that are newer count as changed then, too. Else: now.
    pub epoch: Option<i64>,
}

/// An image that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BuiltImage {
    /// The digest of its config.
    pub id: ImageId,
    /// Its names.
    #[serde(serialize_with = "crate::load::familiar")]
    pub names: Vec<Reference>,
    /// Its new layer.
    #[serde(serialize_with = "crate::ids::one")]
    pub layer: LayerId,
    /// The digest of that layer's tar.
    pub diff_id: lith_store::DiffId,
    /// Bytes of files in that layer.
    pub size: u64,
    /// Sockets that were left out: no tar can hold them.
    pub sockets: u64,
}

impl BuildOptions {
    /// When the image counts as made.
    fn created(&self) -> Result<String, BuildError> {
        let Some(epoch) = self.epoch else {
            return Ok(jiff::Timestamp::now().to_string());
        };
        let time = jiff::Timestamp::from_second(epoch);
        let time = time.map_err(|_| BuildError::Epoch { epoch })?;
        Ok(time.to_string())
    }
}

/// Publishes an image whose layers are there, held by `session`.
fn publish(
    graph: &Graph,
    session: &Session,
    (config, layers, parent): (Vec<u8>, Vec<LayerId>, Option<ImageId>),
    (options, kind): (&BuildOptions, EventKind),
) -> Result<ImageId, BuildError> {
    let id = ImageId::of_bytes(&config);
    let found = facts::parse(&config).map_err(|source| BuildError::Config { source })?;
    let mut size: u64 = 0;
    for layer in &layers {
        let record = graph.store().layer(layer)?;
        size = size.saturating_add(record.and_then(|record| record.size).unwrap_or(0));
    }
    let record = ImageRecord {
        id,
        config,
        manifest: None,
        layers,
        parent,
        created: found.created,
        architecture: found.architecture,
        os: found.os,
        variant: found.variant,
        size,
        extra: Default::default(),
        index: None,
    };
    let store = graph.store();
    store.publish_image_as(session, &record, &options.names)?;
    crate::events::record(graph, kind, [(&id, options.names.as_slice())]);
    Ok(id)
}
