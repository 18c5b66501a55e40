//! Which images are mounted where.

use std::path::PathBuf;

use lith_drivers::{CacheId, DriverError, MountInfo};
use lith_graph::{Graph, GraphError};
use lith_store::{EventKind, ImageId, LayerId};

use crate::writable::Label;

/// A place where an image of the store shows as a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MountedImage {
    /// Where.
    pub target: PathBuf,
    /// The layer whose tree shows; none when it is no longer listed.
    pub layer: Option<LayerId>,
    /// The image; none when it is gone, or when several could be it.
    pub image: Option<ImageId>,
    /// The images that could be it.
    pub candidates: Vec<ImageId>,
    /// The writable layer, where it is one that shows.
    pub writable: Option<CacheId>,
    /// Whether it cannot be written to.
    pub read_only: bool,
    /// Whether something else was mounted on top of it.
    pub covered: bool,
}

/// Lists the mounts of this store that this process can see, the oldest first.
///
/// The image of a mount is the one that the last mount of this place was of, if that is its
/// top layer. Else it is the only image with that top layer; with several, nobody knows.
///
/// # Errors
/// When the kernel's table or the index cannot be read.
pub fn mounts(graph: &Graph) -> Result<Vec<MountedImage>, GraphError> {
    let mut found = Vec::new();
    for mount in graph.driver().mounts()? {
        if mount.writable {
            found.extend(written(graph, mount)?);
            continue;
        }
        let layer = graph
            .store()
            .layers_by_cache(mount.layer.as_str())?
            .first()
            .copied();
        let mut mounted = MountedImage {
            layer,
            image: None,
            candidates: Vec::new(),
            writable: None,
            read_only: mount.read_only,
            covered: mount.covered,
            target: mount.target,
        };
        if let Some(layer) = layer {
            mounted.candidates = candidates(graph, &layer, &mounted.target.to_string_lossy())?;
        }
        if let [only] = mounted.candidates.as_slice() {
            mounted.image = Some(*only);
        }
        found.push(mounted);
    }
    Ok(found)
}

/// The mount of a writable layer; none when that is gone.
fn written(graph: &Graph, mount: MountInfo) -> Result<Option<MountedImage>, GraphError> {
    let layer = match graph.writable_layer(&mount.layer) {
        Err(GraphError::Driver(DriverError::MissingWritable { .. })) => return Ok(None),
        layer => layer?,
    };
    let mut image = Label::read(&layer).ok().map(|label| label.image);
    if let Some(id) = image
        && graph.store().image(&id)?.is_none()
    {
        image = None;
    }
    Ok(Some(MountedImage {
        target: mount.target,
        layer: layer.layer,
        image,
        candidates: image.into_iter().collect(),
        writable: Some(mount.layer),
        read_only: mount.read_only,
        covered: mount.covered,
    }))
}

fn candidates(graph: &Graph, layer: &LayerId, target: &str) -> Result<Vec<ImageId>, GraphError> {
    let store = graph.store();
    let is_top = |image: &ImageId| -> Result<bool, GraphError> {
        Ok(store.layers_of_image(image)?.last() == Some(layer))
    };
    let told = store
        .last_event(EventKind::Mount, target)?
        .and_then(|event| event.image);
    if let Some(told) = told
        && is_top(&told)?
    {
        return Ok(vec![told]);
    }
    let mut images = Vec::new();
    for image in store.images_using(layer)? {
        if is_top(&image)? {
            images.push(image);
        }
    }
    Ok(images)
}

/// Where one of these mounts may show one of the images.
pub(crate) fn places(mounts: &[MountedImage], images: &[&ImageId]) -> Vec<PathBuf> {
    mounts
        .iter()
        .filter(|mount| images.iter().any(|image| mount.candidates.contains(image)))
        .map(|mount| mount.target.clone())
        .collect()
}
