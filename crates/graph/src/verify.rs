//! Reading a layer to find out whether it is what it should be.

use std::io;

use lith_store::LayerId;

use crate::{Damage, Graph, GraphError, damage, stream};

impl Graph {
    /// Reads all of a layer, as who saves it does: each file against its checksum, the whole against
    /// its diff ID. Returns what is wrong with it, which is noted, so that the next registration of the layer
    /// makes it anew.
    ///
    /// # Errors
    /// [`GraphError::NotFound`]; whatever keeps the layer from being read without saying anything of it,
    /// as too many open files.
    pub fn verify(&self, id: &LayerId) -> Result<Option<Damage>, GraphError> {
        let damaged = |reason: String| Some(Damage { layer: *id, reason });
        let mut stream = match self.tar_layer(id) {
            Ok(stream) => stream,
            Err(error) if error.is_damage() => return Ok(damaged(stream::chain(&error))),
            Err(error) => return Err(error),
        };
        match io::copy(&mut stream, &mut io::sink()) {
            Ok(_) => Ok(None),
            Err(error) if damage::lasts(&error) => Ok(match error.downcast() {
                Ok(damage) => Some(damage),
                Err(error) => damaged(stream::chain(&error)),
            }),
            Err(source) => Err(GraphError::Io {
                action: "read the layer of",
                path: self.store().root().layer(id),
                source,
            }),
        }
    }
}
