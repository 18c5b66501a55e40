//! Many layers get their places together.

use lith_store::Session;

use crate::{Descriptor, Graph, PublishError, Registered, StagedLayer};

impl Graph {
    /// Gives staged layers their places in the graph, held by `session`; parents come before
    /// their children.
    ///
    /// # Errors
    /// As [`Graph::publish`], for the first that fails; those before it stand.
    pub fn publish_all(
        &self,
        session: &Session,
        layers: Vec<(StagedLayer, Descriptor)>,
    ) -> Result<Vec<Registered>, PublishError> {
        let mut registered = Vec::with_capacity(layers.len());
        for (index, (staged, descriptor)) in layers.into_iter().enumerate() {
            let layer = self.publish(session, staged, &descriptor);
            registered.push(layer.map_err(|source| PublishError { index, source })?);
        }
        Ok(registered)
    }
}
