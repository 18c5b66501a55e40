//! A root file system as an image.

use std::io::Read;

use lith_graph::{Descriptor, Graph, Observer};
use lith_store::EventKind;

use super::config::{self, Origin};
use super::{BuildError, BuildOptions, BuiltImage, publish};
use crate::within;

/// Makes an image of one layer of a tar, compressed or not, which holds a root file system.
///
/// The layer comes back bit for bit. `subject` is where the tar came from, for the history.
///
/// # Errors
/// [`BuildError::Empty`], [`BuildError::Register`] for a tar that is refused; nothing is kept then.
pub fn import(
    graph: &Graph,
    tar: &mut (dyn Read + Send),
    subject: &str,
    options: &BuildOptions,
    observer: &dyn Observer,
) -> Result<BuiltImage, BuildError> {
    let created = options.created()?;
    within::session(graph, |session| {
        let staged = graph.stage(session, tar, None, observer)?;
        if staged.tar_size() == 0 {
            return Err(BuildError::Empty);
        }
        let diff_id = *staged.diff_id();
        let descriptor = Descriptor::chain(None, &diff_id);
        let layer = graph.publish(session, staged, &descriptor)?;
        let comment = format!("Imported from {subject}");
        let origin = Origin {
            created: &created,
            created_by: "lith import",
            comment: Some(&comment),
        };
        let config = config::alone(&diff_id, &origin, options);
        let config = config.map_err(|source| BuildError::Config { source })?;
        let image = (config, vec![layer.id], None);
        let id = publish(graph, session, image, (options, EventKind::Load))?;
        Ok(BuiltImage {
            id,
            names: options.names.clone(),
            layer: layer.id,
            diff_id,
            size: layer.size.unwrap_or(0),
            sockets: 0,
        })
    })
}
