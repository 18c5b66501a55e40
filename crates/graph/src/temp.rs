//! A layer's exact bytes in a file that nobody else sees.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use lith_store::LayerId;

use crate::{Damage, Event, Graph, Metered, Observer, SpoolError};

/// The exact bytes of a layer, checked and spooled to disk, to be read at will.
///
/// The file has no name: it takes space in the root's staging until this is dropped or its
/// process dies, and is nowhere to be found. The layer is not held any more.
#[derive(Debug)]
pub struct TempLayerArchive {
    file: File,
    len: u64,
}

impl Graph {
    /// Spools the exact bytes of a layer to a nameless file in staging.
    ///
    /// The observer hears how far it is, and may stop it. All checks of
    /// [`Graph::tar_layer`] were passed when this returns.
    ///
    /// # Errors
    /// [`SpoolError::Damaged`] names layer and file; [`SpoolError::Cancelled`] when the observer
    /// asked for that. Nothing is left of it then.
    pub fn temp_layer_archive(
        &self,
        id: &LayerId,
        observer: &dyn Observer,
    ) -> Result<TempLayerArchive, SpoolError> {
        let stream = self.tar_layer(id)?;
        let len = stream.len();
        let place = self.store().root().staging();
        let failed = |action| {
            let path = place.clone();
            move |source| SpoolError::Io {
                action,
                path,
                source,
            }
        };
        let mut file = tempfile::tempfile_in(&place).map_err(failed("make a file in"))?;
        let label = id.to_string();
        observer.event(&Event::LayerStart {
            label: &label,
            total: Some(len),
        });
        let mut source = Metered::new(stream, &label, observer);
        io::copy(&mut source, &mut file).map_err(|error| {
            if observer.cancelled() {
                return SpoolError::Cancelled { layer: *id };
            }
            match error.downcast::<Damage>() {
                Ok(damage) => SpoolError::Damaged(damage),
                Err(error) => failed("write to a file in")(error),
            }
        })?;
        file.rewind().map_err(failed("read a file in"))?;
        observer.event(&Event::LayerDone {
            label: &label,
            bytes: len,
            reused: false,
        });
        Ok(TempLayerArchive { file, len })
    }
}

impl TempLayerArchive {
    /// Returns how many bytes the layer's tar has.
    #[allow(clippy::len_without_is_empty)] // No tar that was registered is empty in any useful sense.
    pub fn len(&self) -> u64 {
        self.len
    }
}

impl Read for TempLayerArchive {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.file.read(buf)
    }
}

impl Seek for TempLayerArchive {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}
