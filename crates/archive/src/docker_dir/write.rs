//! Writes a docker-dir.

use std::fs;
use std::io::{self, BufRead, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use lith_store::{DiffId, ImageId};

use crate::compress::{self, Layer, Written};
use crate::images::{ArchiveImage, Books};
use crate::oci::write::{Flavour, Outcome, Stage, describe};
use crate::{LayerCompression, WriteError};

/// What the file `version` says.
const VERSION: &str = "Directory Transport Version: 1.1\n";

/// Writes a docker-dir: layers, then one image, then `close`.
///
/// The folder appears whole when the writer is closed, or not at all; a writer that is dropped
/// leaves nothing. May be used from several threads, which compress layers side by side.
pub struct DockerDirWriter {
    books: Books,
    compression: LayerCompression,
    place: PathBuf,
    stage: Stage,
}

impl DockerDirWriter {
    /// Begins to write the folder `place`. Its manifest knows no zstd, so that becomes gzip.
    ///
    /// # Errors
    /// When it is there and not empty, or when the folder above it cannot be written to.
    pub fn create(place: &Path, compression: LayerCompression) -> Result<Self, WriteError> {
        check_place(place)?;
        Ok(DockerDirWriter {
            books: Books::new(),
            compression: known(compression),
            place: place.to_owned(),
            stage: Stage::beside(place, "")?,
        })
    }

    /// True when the layer was added already.
    ///
    /// # Errors
    /// When the writer is broken.
    pub fn has_layer(&self, diff_id: &DiffId) -> Result<bool, WriteError> {
        self.books.has_layer(diff_id)
    }

    /// Adds a layer, a tar of exactly `size` bytes; false when it was there already, and
    /// nothing was read.
    ///
    /// The content is not hashed here; whoever gives it answers for it.
    ///
    /// # Errors
    /// Content that is shorter or longer than announced, or that cannot be read; a folder that
    /// cannot be written. The writer is unusable afterwards.
    pub fn add_layer(
        &self,
        diff_id: &DiffId,
        size: u64,
        content: &mut dyn Read,
    ) -> Result<bool, WriteError> {
        let layer = Layer::tar(*diff_id, size, self.compression);
        self.add(layer, &mut compress::buffered(content))
            .map(|(new, _)| new)
    }

    /// As `add_layer`, of any form; gives what was written, now or before, too.
    pub(crate) fn add(
        &self,
        layer: Layer,
        content: &mut dyn BufRead,
    ) -> Result<(bool, Written), WriteError> {
        self.books
            .add_layer(&layer.diff_id, || self.stage.layer(&layer, content))
    }

    /// Adds the image, all of whose layers have been added. Its names are not written: the
    /// format has none.
    ///
    /// # Errors
    /// A config that cannot be used, a layer that is not there. The writer stays usable.
    pub fn add_image(&self, image: &ArchiveImage) -> Result<ImageId, WriteError> {
        self.books.add_image(image)
    }

    /// Completes the folder: now it appears.
    ///
    /// # Errors
    /// When not exactly one image was added, or the folder cannot be written.
    pub fn close(self) -> Result<(), WriteError> {
        self.close_with().map(drop)
    }

    /// As `close`, and says what was made.
    pub(crate) fn close_with(self) -> Result<Outcome, WriteError> {
        let contents = self.books.close()?;
        let [added] = &contents.images[..] else {
            return Err(WriteError::OneImage {
                images: contents.images.len(),
            });
        };
        let (mut stage, place) = (self.stage, self.place);
        let mut outcome = Outcome::default();
        let images = describe(&contents, Flavour::Docker, &mut stage, &mut outcome)?;
        for image in &images {
            stage.file("manifest.json", &image.manifest)?;
            stage.file("version", VERSION.as_bytes())?;
            let signatures = &added.image.signatures;
            if image.as_it_came {
                for (name, bytes) in signatures {
                    stage.file(name, bytes)?;
                }
            } else if !signatures.is_empty() {
                outcome.warnings.push(format!(
                    "{} signatures are left out: they are of another manifest",
                    signatures.len()
                ));
            }
        }
        outcome.bytes = stage.bytes();
        let failed = |source| WriteError::Folder {
            action: "make",
            path: place.clone(),
            source,
        };
        if let Ok(there) = fs::metadata(&place) {
            let mode = fs::Permissions::from_mode(there.permissions().mode() & 0o7777);
            fs::set_permissions(stage.path(), mode).map_err(failed)?;
        }
        // Renaming replaces an empty folder, and fails with any other.
        match stage.put(|from| fs::rename(from, &place)) {
            Ok(()) => Ok(outcome),
            Err((_, error)) => Err(failed(error)),
        }
    }
}

/// What the manifest can say.
fn known(compression: LayerCompression) -> LayerCompression {
    match compression {
        LayerCompression::Zstd { .. } => LayerCompression::Gzip,
        known => known,
    }
}

fn check_place(place: &Path) -> Result<(), WriteError> {
    match fs::read_dir(place) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(WriteError::NotEmpty {
                path: place.to_owned(),
            }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(WriteError::Folder {
            action: "read the folder",
            path: place.to_owned(),
            source,
        }),
    }
}
