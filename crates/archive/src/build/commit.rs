//! What was written over an image as an image.

use lith_drivers::{CacheId, DiffOptions};
use lith_graph::{Descriptor, Graph, Observer};
use lith_store::{ChainId, EventKind, LayerId, Session};

use super::config::{self, Origin};
use super::{BuildError, BuildOptions, BuiltImage, publish};
use crate::config as facts;
use crate::{within, writable};

/// Makes an image of a writable layer: the layers of the image that it was made of, and one that
/// holds what was changed since.
///
/// That layer is registered like one that was loaded, so that it comes back bit for bit from then
/// on, and in the same way whenever the same is committed with the same [`BuildOptions::epoch`].
/// The writable layer stays as it is, but is noted as committed: what is written into it from then
/// on is nobody's.
///
/// # Errors
/// [`BuildError::Committed`] the second time; [`BuildError::Diff`] for what no layer can hold. Nothing
/// is kept then.
pub fn commit(
    graph: &Graph,
    id: &CacheId,
    options: &BuildOptions,
    observer: &dyn Observer,
) -> Result<BuiltImage, BuildError> {
    let created = options.created()?;
    let found = graph.writable_layer(id)?;
    let mut label = writable::Label::read(&found)?;
    if let Some(image) = label.committed {
        return Err(BuildError::Committed {
            id: id.clone(),
            image,
        });
    }
    let chain = base(&found, &label)?;
    let built = within::session(graph, |session| {
        let layers = match &found.layer {
            Some(layer) => {
                graph.retain(session, &[*layer])?;
                graph.chain(layer)?
            }
            None => Vec::new(),
        };
        let work = Work {
            graph,
            session,
            options,
            observer,
        };
        work.commit(id, &label, (chain.as_ref(), layers), &created)
    })?;
    label.committed = Some(built.id);
    graph.relabel_writable(id, &label.to_bytes())?;
    Ok(built)
}

/// The chain that a writable layer stands on, as the config of its image says; it must be that of
/// the layer below.
fn base(
    found: &lith_graph::Writable,
    label: &writable::Label,
) -> Result<Option<ChainId>, BuildError> {
    if found.base.is_some() && found.layer.is_none() {
        return Err(BuildError::BaseGone {
            id: found.id.clone(),
        });
    }
    let config = facts::parse(label.config.as_bytes());
    let config = config.map_err(|source| BuildError::Config { source })?;
    let chain = ChainId::chain(&config.diff_ids).last().copied();
    if chain.as_ref().map(LayerId::from) != found.layer {
        return Err(BuildError::OtherBase {
            id: found.id.clone(),
        });
    }
    Ok(chain)
}

struct Work<'a> {
    graph: &'a Graph,
    session: &'a Session,
    options: &'a BuildOptions,
    observer: &'a dyn Observer,
}

impl Work<'_> {
    fn commit(
        &self,
        id: &CacheId,
        label: &writable::Label,
        (chain, mut layers): (Option<&ChainId>, Vec<LayerId>),
        created: &str,
    ) -> Result<BuiltImage, BuildError> {
        let graph = self.graph;
        let mut diff = DiffOptions::default();
        diff.newest = self.options.epoch;
        let new = graph.tree_of_writable(id)?;
        let old = graph.tree_below_writable(id)?;
        let trees = (&new, old.as_ref());
        let (staged, summary) = graph.stage_diff(self.session, trees, &diff, self.observer)?;
        let diff_id = *staged.diff_id();
        let descriptor = Descriptor::chain(chain, &diff_id);
        let layer = graph.publish(self.session, staged, &descriptor)?;
        layers.push(layer.id);
        let origin = Origin {
            created,
            created_by: "lith commit",
            comment: None,
        };
        let config = config::over(label.config.as_bytes(), &diff_id, &origin, self.options);
        let config = config.map_err(|source| BuildError::Config { source })?;
        let parent = Some(label.image);
        let image = (config, layers, parent);
        let id = publish(
            graph,
            self.session,
            image,
            (self.options, EventKind::Commit),
        )?;
        Ok(BuiltImage {
            id,
            names: self.options.names.clone(),
            layer: layer.id,
            diff_id,
            size: layer.size.unwrap_or(0),
            sockets: summary.sockets,
        })
    }
}
