//! Work in a session of its own.

use lith_graph::Graph;
use lith_store::{Session, StoreError};

/// Does work in a session, and undoes what it began when it fails.
pub(crate) fn session<T, E: From<StoreError>>(
    graph: &Graph,
    work: impl FnOnce(&Session) -> Result<T, E>,
) -> Result<T, E> {
    let session = graph.store().begin()?;
    match work(&session) {
        Ok(done) => {
            // All stands: whoever opens the store next clears away what stays of the work.
            if let Err(error) = session.end() {
                tracing::warn!(%error, "cannot end the session");
            }
            Ok(done)
        }
        Err(error) => {
            if let Err(error) = graph.abandon(session) {
                tracing::warn!(%error, "left to whoever opens the store next");
            }
            Err(error)
        }
    }
}
