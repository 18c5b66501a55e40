//! Writes an OCI layout as a folder: a new one that appears whole, or one that is there and
//! used by others meanwhile.

use std::fs::{self, File};
use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};

use lith_store::{DiffId, Digest, ImageId};
use rustix::fs::{CWD, FlockOperation, RenameFlags};
use serde::Deserialize;

use super::edit;
use super::layout::{self, Blobs, LAYOUT, Outcome};
use super::stage::{self, Stage, failed};
use crate::compress::{self, Layer, Written};
use crate::images::{ArchiveImage, ArchiveIndex, Books};
use crate::oci::{Descriptor, MAX_DOCUMENT};
use crate::{LayerCompression, WriteError, json};

/// Where blobs lie in a layout.
const BLOBS: &str = "blobs/sha256/";

/// Writes an oci-dir: layers, then images, then `close`.
///
/// A new folder appears whole when the writer is closed, or not at all. One that holds an OCI
/// layout gets the images added, all at once: an entry of the same name is replaced, other
/// entries and all blobs stay, and several writers may add to one layout at the same time. A
/// writer that is dropped leaves nothing.
///
/// May be used from several threads, which compress layers side by side.
pub struct OciDirWriter {
    books: Books,
    compression: LayerCompression,
    place: PathBuf,
    stage: Stage,
    /// The folder was there when the work began.
    existing: bool,
}

impl OciDirWriter {
    /// Begins to write to the folder `place`.
    ///
    /// # Errors
    /// When it is there and neither empty nor an OCI layout, or when it or the folder above it
    /// cannot be written to.
    pub fn create(place: &Path, compression: LayerCompression) -> Result<Self, WriteError> {
        let existing = check_place(place)?;
        let stage = if existing {
            let _lock = lock(place)?;
            Stage::sweep(place).map_err(failed("clear away old work in", place))?;
            Stage::new(place, BLOBS)?
        } else {
            Stage::beside(place, BLOBS)?
        };
        Ok(OciDirWriter {
            books: Books::new(),
            compression,
            place: place.to_owned(),
            stage,
            existing,
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

    /// Adds an image, all of whose layers have been added.
    ///
    /// An image that was added before gets the further names.
    ///
    /// # Errors
    /// A config that cannot be used, a layer that is not there, a name that another image
    /// has, a name without a tag. The writer stays usable.
    pub fn add_image(&self, image: &ArchiveImage) -> Result<ImageId, WriteError> {
        self.books.add_image(image)
    }

    /// Adds an image for several platforms, all of whose images have been added.
    ///
    /// Its index is written as it is where all its images are written with the manifests that it
    /// lists, and else anew.
    ///
    /// # Errors
    /// An image that is not there, a name that another image has, a name without a tag. The
    /// writer stays usable.
    pub fn add_index(&self, index: &ArchiveIndex) -> Result<(), WriteError> {
        self.books.add_index(index)
    }

    /// Completes the folder: now it appears, or its images do.
    ///
    /// # Errors
    /// Whatever goes wrong, a new folder is not there, and one that was there is as before.
    pub fn close(self) -> Result<(), WriteError> {
        self.close_with().map(drop)
    }

    /// As `close`, and says what was made.
    pub(crate) fn close_with(self) -> Result<Outcome, WriteError> {
        let contents = self.books.close()?;
        let mut outcome = Outcome::default();
        let (mut stage, place) = (self.stage, self.place);
        let images = layout::write(&contents, &mut stage, &mut outcome)?;
        let entries = layout::entries(&images);
        outcome.bytes = stage.bytes();
        if !self.existing {
            stage.file("oci-layout", LAYOUT.as_bytes())?;
            stage.file("index.json", layout::index(entries.clone()).as_bytes())?;
            outcome.bytes = stage.bytes();
            let rename = |from: &Path| {
                let flags = RenameFlags::NOREPLACE;
                Ok(rustix::fs::renameat_with(CWD, from, CWD, &place, flags)?)
            };
            stage = match stage.put(rename) {
                Ok(()) => return Ok(outcome),
                // Somebody else has made it meanwhile.
                Err((stage, error)) if error.kind() == io::ErrorKind::AlreadyExists => *stage,
                Err((_, error)) => return Err(failed("make", &place)(error)),
            };
            check_place(&place)?;
        }
        merge(&stage, &place, &entries, &mut outcome)?;
        Ok(outcome)
    }
}

impl Blobs for Stage {
    fn document(&mut self, digest: &Digest, bytes: &[u8]) -> Result<(), WriteError> {
        Stage::document(self, digest, bytes)
    }
}

/// True when `place` is an empty folder or an OCI layout, false when it is not there.
fn check_place(place: &Path) -> Result<bool, WriteError> {
    let wrong = |reason: &'static str| WriteError::NotALayout {
        path: place.to_owned(),
        reason,
    };
    let entries = match fs::read_dir(place) {
        Ok(entries) => entries,
        // A link that leads nowhere is not there either, but nothing can be put in its place.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match place.symlink_metadata() {
                Err(_) => Ok(false),
                Ok(_) => Err(wrong("it is a symbolic link that leads nowhere")),
            };
        }
        Err(error) => return Err(failed("read the folder", place)(error)),
    };
    let mut empty = true;
    for entry in entries {
        let entry = entry.map_err(failed("read the folder", place))?;
        empty &= stage::is_stage(&entry.file_name());
    }
    if empty {
        return Ok(true);
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Layout {
        image_layout_version: String,
    }
    let Some(layout) = read(&place.join("oci-layout"))? else {
        return Err(wrong("it is not empty and has no file oci-layout"));
    };
    match json::parse_object::<Layout>(&layout) {
        Ok(layout) if layout.image_layout_version == "1.0.0" => Ok(true),
        Ok(_) => Err(wrong("its version is not 1.0.0")),
        Err(_) => Err(wrong("its file oci-layout cannot be read")),
    }
}

/// Reads a document, when there is one.
fn read(path: &Path) -> Result<Option<Vec<u8>>, WriteError> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file
            .take(MAX_DOCUMENT + 1)
            .read_to_end(&mut bytes)
            .map(|_| Some(bytes))
            .map_err(failed("read", path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path)(error)),
    }
}

/// Takes the folder for a short time: other writers of lith wait.
fn lock(place: &Path) -> Result<File, WriteError> {
    let folder = File::open(place).map_err(failed("open", place))?;
    rustix::fs::flock(&folder, FlockOperation::LockExclusive)
        .map_err(io::Error::from)
        .map_err(failed("lock", place))?;
    Ok(folder)
}

/// Adds what the stage holds to the layout at `place`.
///
/// Everything is on disk before the index is replaced, so that whatever happens to the machine,
/// the layout is the old one or the new one.
fn merge(
    stage: &Stage,
    place: &Path,
    entries: &[Descriptor],
    outcome: &mut Outcome,
) -> Result<(), WriteError> {
    sync_blobs(stage)?;
    let folder = lock(place)?;
    let path = place.join("index.json");
    let index = match read(&path)? {
        Some(old) => {
            let edited = edit::add(&old, entries).map_err(|source| WriteError::Document {
                path: path.clone(),
                source,
            })?;
            let moved = edited.moved.iter();
            outcome
                .warnings
                .extend(moved.map(|name| format!("{name} named another image in the layout")));
            edited.index
        }
        None => layout::index(entries.to_vec()),
    };
    if index.len() as u64 > MAX_DOCUMENT {
        let size = index.len() as u64;
        let source = crate::oci::DocumentError::TooLarge { size };
        return Err(WriteError::Document { path, source });
    }
    outcome.bytes += index.len() as u64;
    let mut undo = Undo::default();
    undo.folder(&place.join("blobs"))?;
    let blobs = place.join(BLOBS);
    undo.folder(&blobs)?;
    for entry in fs::read_dir(stage.blobs()).map_err(failed("read", stage.path()))? {
        let entry = entry.map_err(failed("read", stage.path()))?;
        undo.move_in(&entry.path(), &blobs.join(entry.file_name()))?;
    }
    let layout = place.join("oci-layout");
    if !layout.exists() {
        write_synced(&stage.path().join("oci-layout"), LAYOUT.as_bytes())?;
        undo.move_in(&stage.path().join("oci-layout"), &layout)?;
    }
    let new = stage.path().join("index.json");
    write_synced(&new, index.as_bytes())?;
    File::open(&blobs)
        .and_then(|blobs| blobs.sync_all())
        .map_err(failed("sync", &blobs))?;
    fs::rename(&new, &path).map_err(failed("replace", &path))?;
    undo.keep();
    // The new index stands by now; a file system that cannot sync a folder is no reason to fail.
    if let Err(error) = folder.sync_all() {
        tracing::warn!(%error, folder = %place.display(), "cannot sync a folder");
    }
    Ok(())
}

fn sync_blobs(stage: &Stage) -> Result<(), WriteError> {
    let blobs = stage.blobs();
    for entry in fs::read_dir(&blobs).map_err(failed("read", &blobs))? {
        let path = entry.map_err(failed("read", &blobs))?.path();
        File::open(&path)
            .and_then(|file| file.sync_all())
            .map_err(failed("sync", &path))?;
    }
    Ok(())
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    fs::write(path, bytes).map_err(failed("write", path))?;
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(failed("sync", path))
}

/// What has been put into a layout so far, taken out again when dropped.
#[derive(Default)]
struct Undo(Vec<PathBuf>);

impl Undo {
    /// Makes a folder unless it is there. A link is none: blobs would end up elsewhere.
    fn folder(&mut self, path: &Path) -> Result<(), WriteError> {
        match fs::create_dir(path) {
            Ok(()) => {
                self.0.push(path.to_owned());
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let there = path.symlink_metadata().map_err(failed("read", path))?;
                match there.is_dir() {
                    true => Ok(()),
                    false => Err(failed("use as a folder", path)(error)),
                }
            }
            Err(error) => Err(failed("make", path)(error)),
        }
    }

    /// Moves a file in; one of the same digest that is there is replaced by its equal.
    fn move_in(&mut self, from: &Path, to: &Path) -> Result<(), WriteError> {
        let new = to.symlink_metadata().is_err();
        fs::rename(from, to).map_err(failed("make", to))?;
        if new {
            self.0.push(to.to_owned());
        }
        Ok(())
    }

    fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        for path in self.0.iter().rev() {
            // Folders go only when they are empty, as they were.
            let undone = match path.is_dir() {
                true => fs::remove_dir(path),
                false => fs::remove_file(path),
            };
            if let Err(error) = undone {
                tracing::warn!(%error, path = %path.display(), "cannot be taken back");
            }
        }
    }
}
