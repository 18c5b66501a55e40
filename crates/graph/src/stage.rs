//! The first half of registering a layer: its bytes, while the parent may yet be unknown.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use lith_drivers::{DraftBody, Kept, Parent, Parked, TreeDraft};
use lith_store::{DiffId, Session};
use lith_tarsplit::{Pieces, Splitter};

use crate::hashed::Hashed;
use crate::pipeline;
use crate::{Event, Graph, Metered, Observer, RegisterError, record};

/// A layer that was read and split, hashed and applied, but has no place in the graph yet.
///
/// It holds no descriptor, so that any number of them may wait. Dropping it discards the work.
pub struct StagedLayer {
    /// A folder in the session's staging: what becomes the layer's folder.
    pub(crate) folder: PathBuf,
    /// Behind a lock only so that staged layers can be shared between threads.
    pub(crate) body: Mutex<Option<StagedBody>>,
    pub(crate) diff_id: DiffId,
    pub(crate) tar_size: u64,
}

/// What stands for the layer's files so far.
pub(crate) enum StagedBody {
    /// A draft of the driver, filled.
    Applied(Applied),
    /// The plain tar, for a driver that must know the parent before it can start.
    Spooled(PathBuf),
}

/// A draft that holds the whole layer.
pub(crate) struct Applied {
    pub(crate) draft: Box<dyn Parked>,
    /// Bytes of regular files, as docker counts.
    pub(crate) size: u64,
    /// False when the driver keeps the tar itself.
    pub(crate) has_record: bool,
}

impl StagedLayer {
    /// The digest of the layer's uncompressed tar.
    pub fn diff_id(&self) -> &DiffId {
        &self.diff_id
    }

    /// Bytes of the uncompressed tar.
    pub fn tar_size(&self) -> u64 {
        self.tar_size
    }
}

impl StagedLayer {
    pub(crate) fn take_body(&mut self) -> Option<StagedBody> {
        self.body
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl StagedLayer {
    /// Gives back what was taken.
    pub(crate) fn put_body(&mut self, body: Option<StagedBody>) {
        *self.body.get_mut().unwrap_or_else(PoisonError::into_inner) = body;
    }
}

impl Drop for StagedLayer {
    fn drop(&mut self) {
        self.take_body();
        // Published: the folder is gone. Otherwise the session's end sweeps what stays here.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Graph {
    /// Reads a layer in one pass: hashed, split into record and files, applied to a draft.
    ///
    /// `transport` may be compressed; its content decides. The parent need not be known yet,
    /// so layers can be staged in any order, and before a manifest tells what they are.
    /// A driver that cannot start without the parent gets the plain tar spooled to staging.
    ///
    /// # Errors
    /// [`RegisterError::DiffIdMismatch`] when `expected` is given and another digest came out;
    /// [`RegisterError::Split`] and [`RegisterError::Apply`] for a tar that is refused; nothing
    /// is kept then.
    pub fn stage(
        &self,
        session: &Session,
        transport: &mut (dyn Read + Send),
        expected: Option<&DiffId>,
        observer: &dyn Observer,
    ) -> Result<StagedLayer, RegisterError> {
        let folder = session.scratch("layer")?;
        let label = expected.map_or_else(|| "layer".to_owned(), DiffId::to_string);
        observer.event(&Event::LayerStart {
            label: &label,
            total: None,
        });
        let staged = self.stage_into(&folder, transport, &label, observer);
        let (body, hashed) = staged.inspect_err(|_| {
            // The session's end would do it too; sooner gives back the space at once.
            let _ = fs::remove_dir_all(&folder);
        })?;
        let staged = StagedLayer {
            folder,
            body: Mutex::new(Some(body)),
            diff_id: hashed.diff_id,
            tar_size: hashed.bytes,
        };
        if let Some(expected) = expected.filter(|expected| **expected != staged.diff_id) {
            return Err(RegisterError::DiffIdMismatch {
                expected: *expected,
                actual: staged.diff_id,
            });
        }
        observer.event(&Event::LayerDone {
            label: &label,
            bytes: hashed.bytes,
            reused: false,
        });
        Ok(staged)
    }

    fn stage_into(
        &self,
        folder: &Path,
        transport: &mut (dyn Read + Send),
        label: &str,
        observer: &dyn Observer,
    ) -> Result<(StagedBody, Hashed), RegisterError> {
        if self.driver().info().stand_alone {
            let (applied, hashed) =
                self.apply(folder, Parent::Later, transport, label, observer)?;
            return Ok((StagedBody::Applied(applied), hashed));
        }
        let path = folder.join("spooled.tar");
        let (spooled, hashed) = pipeline::hashed(transport, |feed| {
            spool(&path, &mut Metered::new(feed, label, observer))
        })
        .map_err(RegisterError::io("start reading into", folder))?;
        spooled?;
        let hashed = hashed.ok_or(RegisterError::Unread)?;
        Ok((StagedBody::Spooled(path), hashed))
    }

    /// Fills a new draft from `transport`, and the record into `folder`.
    pub(crate) fn apply(
        &self,
        folder: &Path,
        parent: Parent<'_>,
        transport: &mut (dyn Read + Send),
        label: &str,
        observer: &dyn Observer,
    ) -> Result<(Applied, Hashed), RegisterError> {
        let mut draft = self.driver().prepare(parent)?;
        let (filled, hashed) = pipeline::hashed(transport, |feed| {
            let feed = Metered::new(feed, label, observer);
            fill(feed, draft.body(), folder)
        })
        .map_err(RegisterError::io("start reading into", folder))?;
        let filled = filled?;
        // The digest covers what was read, the record what was split: they must be the same.
        let hashed = hashed
            .filter(|h| h.bytes == filled.tar_size)
            .ok_or(RegisterError::Unread)?;
        if filled.skipped_xattrs > 0 {
            let count = filled.skipped_xattrs;
            let message = format!(
                "{label}: {count} extended attributes are not in the tree, since the file system \
                 cannot hold them; the layer's own bytes keep them"
            );
            observer.event(&Event::Warning { message: &message });
        }
        let Filled {
            size, has_record, ..
        } = filled;
        Ok((
            Applied {
                // It may wait long, among many, for the layer below.
                draft: draft.park()?,
                size,
                has_record,
            },
            hashed,
        ))
    }
}

/// What a draft was filled with.
struct Filled {
    tar_size: u64,
    size: u64,
    has_record: bool,
    skipped_xattrs: u64,
}

fn fill(
    mut feed: impl Read + Pieces,
    body: DraftBody<'_>,
    folder: &Path,
) -> Result<Filled, RegisterError> {
    match body {
        DraftBody::Tree(tree) => split(feed, tree, folder),
        DraftBody::Stream(sink) => {
            let bytes = io::copy(&mut feed, sink)
                .map_err(RegisterError::io("pass a layer to the driver from", folder))?;
            Ok(Filled {
                tar_size: bytes,
                size: bytes,
                has_record: false,
                skipped_xattrs: 0,
            })
        }
    }
}

/// Splits a tar into the record in `folder` and the files of `tree`.
fn split(feed: impl Pieces, tree: &mut TreeDraft, folder: &Path) -> Result<Filled, RegisterError> {
    let record =
        record::create(folder).map_err(RegisterError::io("create", record::record_path(folder)))?;
    let mut kept = Kept::new(&record::kept_path(folder));
    let mut splitter = Splitter::recording(feed, record);
    while let Some(mut entry) = splitter.next_entry()? {
        let (metadata, payload) = entry.into_parts();
        tree.apply(metadata, payload, &mut kept)?;
    }
    let applied = tree.finish()?;
    let (record, summary) = splitter.finish()?;
    record::finish(record).map_err(RegisterError::io("write", record::record_path(folder)))?;
    Ok(Filled {
        tar_size: summary.bytes,
        size: applied.size,
        has_record: true,
        skipped_xattrs: applied.skipped_xattrs,
    })
}

fn spool(path: &Path, feed: &mut impl Read) -> Result<(), RegisterError> {
    let mut file = File::create_new(path).map_err(RegisterError::io("create", path))?;
    io::copy(feed, &mut file).map_err(RegisterError::io("spool a layer to", path))?;
    Ok(())
}
