//! Trees reach the disk when the machine sees fit; here that is waited for, and taken note of.
//!
//! A layer is published without waiting for its tree: only its metadata is on disk by then. Its row
//! says so, and its record in which boot it was published. Within that boot nothing can be lost. What
//! is not marked after another boot is [in doubt](crate::doubt).

use std::fs;

use lith_drivers::DriverError;
use lith_store::LayerId;

use crate::damage::NOTE;
use crate::stream::chain;
use crate::{Graph, GraphError};

/// As long as no more than this waits to be written on the whole machine, waiting for it costs little.
const LITTLE: u64 = 16 << 20;

impl Graph {
    /// Waits until the trees of all layers that are listed now are on disk, and takes note of that.
    /// Returns how many were not known to be. Layers of another boot are left out: what they lost
    /// is lost.
    ///
    /// # Errors
    /// When the file system reports that something could not be written: the layers are noted as
    /// damaged then, and loading them again makes them anew. [`GraphError::Corrupt`] names a layer for
    /// which that has happened before. When the index cannot be written.
    pub fn sync_layers(&self) -> Result<usize, GraphError> {
        self.sync_layers_by(|| self.driver().sync())
    }

    fn sync_layers_by(
        &self,
        sync: impl FnOnce() -> Result<(), DriverError>,
    ) -> Result<usize, GraphError> {
        // Before the sync begins: what is listed has its tree in place.
        let mut unsynced = self.store().unsynced_layers()?;
        if let Err(error) = sync() {
            let reason = format!("its files may not be on the disk: {}", chain(&error));
            for (layer, _) in &unsynced {
                self.note_damage(layer, &reason);
            }
            return Err(error.into());
        }
        // The kernel reports once that a file could not be written: that a later sync succeeds says
        // nothing of those.
        let noted = unsynced.iter().find(|(layer, _)| self.has_note(layer));
        let noted = noted.map(|(layer, _)| *layer);
        unsynced.retain(|(layer, _)| !self.has_note(layer));
        self.store().mark_synced(&unsynced)?;
        match noted {
            None => Ok(unsynced.len()),
            Some(layer) => Err(GraphError::Corrupt {
                layer,
                reason: self.noted(&layer),
            }),
        }
    }

    /// [`Graph::sync_layers`] where that costs little: the machine has written almost everything by
    /// itself, as it does after half a minute. Else nothing is done, and some later caller does it.
    ///
    /// # Errors
    /// As [`Graph::sync_layers`].
    pub fn sync_layers_if_cheap(&self) -> Result<usize, GraphError> {
        let cheap = || unwritten().is_some_and(|bytes| bytes <= LITTLE);
        if self.store().has_unsynced_layers()? && cheap() {
            return self.sync_layers();
        }
        Ok(0)
    }

    /// What is noted of the damage of a layer.
    fn noted(&self, layer: &LayerId) -> String {
        let note = self.store().root().layer(layer).join(NOTE);
        match fs::read_to_string(note) {
            Ok(reason) => reason.trim().to_owned(),
            Err(error) => format!("what was noted cannot be read: {error}"),
        }
    }
}

/// Bytes that wait to be written to any disk of the machine, as the kernel counts them.
fn unwritten() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let kib = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    Some((kib("Dirty:")? + kib("Writeback:")?) * 1024)
}

#[cfg(test)]
mod tests {
    use std::io;

    use lith_store::{LayerRecord, OpenOptions};

    use super::*;

    #[test]
    fn the_kernel_tells_how_much_is_unwritten() {
        assert!(unwritten().is_some());
    }

    #[test]
    fn what_a_failed_sync_could_not_write_is_never_marked() {
        let folder = tempfile::tempdir().unwrap();
        let options = OpenOptions {
            driver: Some("vfs".to_owned()),
            create: true,
            ..OpenOptions::default()
        };
        let graph = Graph::open_root(&folder.path().join("root"), &options).unwrap();
        let store = graph.store();
        let publish = |digit: &str| {
            let record = LayerRecord::new(digit.repeat(64).parse().unwrap(), digit.repeat(32));
            let session = store.begin().unwrap();
            let staged = session.scratch("layer").unwrap();
            store.publish_layer(&session, &staged, &record).unwrap();
            store.keep_layer(&record.id).unwrap();
            session.end().unwrap();
            record.id
        };
        let synced = |id| store.layer(id).unwrap().unwrap().synced;
        let lost = publish("a");
        let failed = graph.sync_layers_by(|| {
            let source = io::Error::from_raw_os_error(5);
            let (action, path) = ("sync", folder.path().to_owned());
            Err(DriverError::Io {
                action,
                path,
                source,
            })
        });
        assert!(matches!(failed, Err(GraphError::Driver(_))), "{failed:?}");
        let other = publish("b");
        let error = graph.sync_layers().unwrap_err().to_string();
        assert!(
            error.contains(&lost.to_string()) && error.contains("Input/output error"),
            "{error}"
        );
        assert!(synced(&other) && !synced(&lost));
    }
}
