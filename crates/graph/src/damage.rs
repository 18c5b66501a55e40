//! Damage that was found is noted in the layer's folder, so that the next registration of the
//! layer does not reuse it but makes it anew.

use std::error::Error;
use std::io;

use lith_store::{LayerId, LayerRecord, Session, StoreError};
use rustix::io::Errno;

use crate::{Graph, GraphError, record};

/// The file in a layer's folder that says what was found to be wrong with it.
pub(crate) const NOTE: &str = "damaged";

impl Graph {
    /// Whether a layer can be reused: the driver has its files, its record is there where it
    /// should be, nobody has found it damaged, and it is not in doubt. Nothing is read.
    pub(crate) fn is_whole(&self, layer: &LayerRecord) -> Result<bool, GraphError> {
        let folder = self.store().root().layer(&layer.id);
        Ok(self.has_tree(layer)?
            && (!layer.has_record || record::has_record(&folder))
            && !self.has_note(&layer.id)
            && !layer.is_doubtful())
    }

    /// Whether a layer was found to be damaged, or somebody began to make it anew.
    pub(crate) fn has_note(&self, id: &LayerId) -> bool {
        let note = self.store().root().layer(id).join(NOTE);
        note.symlink_metadata().is_ok()
    }

    /// Takes note of what is wrong with a layer, for whoever does not hold it.
    pub(crate) fn note_damage(&self, layer: &LayerId, reason: &str) {
        match self.store().begin_small() {
            Ok(session) => set(&session, layer, reason),
            Err(error) => unset(layer, &error),
        }
    }
}

/// Takes note that a layer is damaged, where `error` says so. Failing must not hide the error.
pub(crate) fn note(session: &Session, layer: &LayerId, error: &(dyn Error + 'static)) {
    if !lasts(error) {
        return;
    }
    set(session, layer, &crate::stream::chain(error));
}

fn set(session: &Session, layer: &LayerId, reason: &str) {
    let reason = format!("{reason}\n");
    let store = session.store();
    if let Err(error) = store.set_layer_file(session, layer, NOTE, reason.as_bytes()) {
        unset(layer, &error);
    }
}

fn unset(layer: &LayerId, error: &StoreError) {
    tracing::warn!(%layer, %error, "cannot take note of damage");
}

/// Whether an error is there to stay: what the system refuses for want of memory or descriptors,
/// say, tells nothing of the layer.
pub(crate) fn lasts(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let code = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::raw_os_error);
        if let Some(code) = code {
            return matches!(
                Errno::from_raw_os_error(code),
                Errno::NOENT | Errno::NOTDIR | Errno::ISDIR | Errno::LOOP | Errno::NXIO | Errno::IO
            );
        }
        next = error.source();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_lacks_is_no_damage() {
        let of = |errno: Errno| {
            let inner = io::Error::from_raw_os_error(errno.raw_os_error());
            io::Error::other(GraphError::Io {
                action: "open",
                path: "f".into(),
                source: inner,
            })
        };
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::ACCESS] {
            assert!(!lasts(&of(errno)), "{errno}");
        }
        assert!(lasts(&of(Errno::NOENT)));
        assert!(lasts(&io::Error::other("checksum")));
    }
}
