//! Images that can be written over: what is noted of the image beside the writable layer.

use std::path::PathBuf;

use lith_drivers::CacheId;
use lith_graph::{Graph, GraphError, Writable};
use lith_store::{ImageId, LayerId};
use serde::{Deserialize, Serialize};

use crate::build::BuildError;
use crate::select::SelectedImage;

/// What is noted beside a writable layer. The config is there too, so that what was written can be
/// committed though the image was removed meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Label {
    pub(crate) image: ImageId,
    pub(crate) created: String,
    /// What it was committed as.
    #[serde(default)]
    pub(crate) committed: Option<ImageId>,
    pub(crate) config: String,
}

impl Label {
    pub(crate) fn read(layer: &Writable) -> Result<Label, BuildError> {
        serde_json::from_slice(&layer.label).map_err(|error| BuildError::Label {
            id: layer.id.clone(),
            reason: error.to_string(),
        })
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        // Texts always become JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// A layer that can be written, over an image.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WritableImage {
    /// Its ID.
    pub id: CacheId,
    /// The image that it was made of, which may be gone; none when it is not known.
    pub image: Option<ImageId>,
    /// The layer it stands on.
    pub layer: Option<LayerId>,
    /// When it was made, RFC 3339.
    pub created: Option<String>,
    /// What it was committed as: what is written into it now is nobody's.
    pub committed: Option<ImageId>,
    /// Where it is mounted.
    pub target: Option<PathBuf>,
    /// Whether it is mounted so that nothing can be written.
    pub frozen: bool,
}

/// Makes a writable layer over an image; returns its ID.
///
/// The layers of the image stay until it is discarded, though the image be removed.
///
/// # Errors
/// As [`Graph::create_writable`]; [`BuildError::Config`] for a config that is no text.
pub fn create_writable(graph: &Graph, image: &SelectedImage) -> Result<CacheId, BuildError> {
    let record = &image.record;
    let config = String::from_utf8(record.config.clone()).map_err(|error| {
        let source = serde::de::Error::custom(error);
        BuildError::Config {
            source: crate::ConfigError::Json(source),
        }
    })?;
    let label = Label {
        image: record.id,
        created: jiff::Timestamp::now().to_string(),
        committed: None,
        config,
    };
    Ok(graph.create_writable(record.layers.last(), &label.to_bytes())?)
}

/// Lists all writable layers, sorted by ID.
///
/// # Errors
/// When the driver, the kernel's table or the index cannot be read.
pub fn writable_images(graph: &Graph) -> Result<Vec<WritableImage>, GraphError> {
    let layers = graph.writable_layers()?;
    if layers.is_empty() {
        return Ok(Vec::new());
    }
    let mounts = graph.driver().mounts()?;
    let describe = |layer: Writable| {
        let label = Label::read(&layer).ok();
        let mut mounts = mounts.iter().filter(|mount| mount.writable);
        let mount = mounts.find(|mount| mount.layer == layer.id);
        WritableImage {
            image: label.as_ref().map(|label| label.image),
            created: label.as_ref().map(|label| label.created.clone()),
            committed: label.and_then(|label| label.committed),
            target: mount.map(|mount| mount.target.clone()),
            frozen: mount.is_some_and(|mount| mount.read_only),
            layer: layer.layer,
            id: layer.id,
        }
    };
    Ok(layers.into_iter().map(describe).collect())
}

/// The IDs of those that were made of one of the images.
pub(crate) fn over_images(all: &[WritableImage], images: &[&ImageId]) -> Vec<String> {
    let is_over = |over: &ImageId| images.contains(&over);
    ids(all, |one| one.image.as_ref().is_some_and(is_over))
}

/// The IDs of those that stand on a layer.
pub(crate) fn on_layer(all: &[WritableImage], layer: &LayerId) -> Vec<String> {
    ids(all, |one| one.layer == Some(*layer))
}

fn ids(all: &[WritableImage], wanted: impl Fn(&WritableImage) -> bool) -> Vec<String> {
    let wanted = all.iter().filter(|one| wanted(one));
    wanted.map(|one| one.id.to_string()).collect()
}
