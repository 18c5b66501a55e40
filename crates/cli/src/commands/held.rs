//! An image of a store that nobody removes while its files are used.

use lith_archive::Selection;
use lith_graph::Graph;
use lith_store::{ImageId, LayerId};

/// The image, held until this is dropped.
pub(super) struct Held {
    /// Its topmost layer; none of an image without layers.
    pub(super) top: Option<LayerId>,
    _selection: Selection,
}

impl Held {
    pub(super) fn new(graph: &Graph, image: &ImageId) -> anyhow::Result<Held> {
        let selection = lith_archive::select(graph, &[image.to_string()])?;
        let images = selection.images().iter();
        let top = images.flat_map(|image| &image.record.layers).next_back();
        Ok(Held {
            top: top.copied(),
            _selection: selection,
        })
    }
}
