//! Events of images.

use lith_graph::Graph;
use lith_store::{EventKind, ImageId, Reference};

/// Takes note of what was done with images, all in one step, with the first of the names of each.
/// It is done by now, whether that can be written down or not.
pub(crate) fn record<'a>(
    graph: &Graph,
    kind: EventKind,
    images: impl IntoIterator<Item = (&'a ImageId, &'a [Reference])>,
) {
    let images = images.into_iter();
    let named: Vec<(&ImageId, Option<String>)> = images
        .map(|(id, names)| (id, names.first().map(Reference::to_string)))
        .collect();
    let events: Vec<_> = named
        .iter()
        .map(|(id, name)| (kind, Some(*id), name.as_deref()))
        .collect();
    if let Err(error) = graph.store().record_events(&events) {
        tracing::warn!(%error, "cannot record events");
    }
}
