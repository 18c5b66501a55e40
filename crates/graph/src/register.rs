//! The second half of registering a layer: its place in the graph.

use std::fs::{self, File};
use std::io::Read;

use lith_drivers::{CacheId, Parent, Placed};
use lith_store::{ChainId, DiffId, Intent, LayerId, LayerRecord, Published, RetainError, Session};

use crate::stage::{Applied, StagedBody};
use crate::{Event, Graph, Observer, RegisterError, StagedLayer, record};

/// What a layer is to be registered as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// Its key in the graph. Loaded layers have their chain ID.
    pub id: LayerId,
    /// The layer below. It must be registered.
    pub parent: Option<LayerId>,
    /// What the digest of the uncompressed tar must be, where that is known.
    pub diff_id: Option<DiffId>,
    /// The layer's JSON, kept byte for byte.
    pub json: Option<Vec<u8>>,
}

impl Descriptor {
    /// Describes the layer with digest `diff` on top of `parent`, under its chain ID.
    pub fn chain(parent: Option<&ChainId>, diff: &DiffId) -> Self {
        Self {
            id: LayerId::from(&ChainId::of(parent, diff)),
            parent: parent.map(LayerId::from),
            diff_id: Some(*diff),
            json: None,
        }
    }
}

/// What came of a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// The layer's key.
    pub id: LayerId,
    /// False when it was there already, so that nothing was written.
    pub new: bool,
    /// The digest of its uncompressed tar.
    pub diff_id: Option<DiffId>,
    /// Bytes of regular files, as docker counts; `None` when nobody has counted them.
    pub size: Option<u64>,
    /// Bytes of the uncompressed tar.
    pub tar_size: u64,
}

impl Registered {
    fn of(record: &LayerRecord, new: bool) -> Self {
        Self {
            id: record.id,
            new,
            diff_id: record.diff_id,
            size: record.size,
            tar_size: record.tar_size,
        }
    }
}

/// The tar of the empty layer of the field: two zero blocks.
const EMPTY_TAR: [u8; 1024] = [0; 1024];

impl Graph {
    /// Registers a layer: reads it in one pass, then publishes it, held by `session`.
    ///
    /// A layer that is there already is success, and its data is not read. Without data the
    /// layer is empty. On return the layer survives a kill of any process; its files reach
    /// the disk later, as the machine sees fit, and are checked after a crash.
    ///
    /// # Errors
    /// Whatever goes wrong, neither driver, staging nor index keep anything of it.
    pub fn register(
        &self,
        session: &Session,
        descriptor: &Descriptor,
        transport: Option<&mut (dyn Read + Send)>,
        observer: &dyn Observer,
    ) -> Result<Registered, RegisterError> {
        if let Some(there) = self.retain_known(session, descriptor, observer)? {
            return Ok(there);
        }
        self.retain_parent(session, descriptor)?;
        check_json(descriptor)?;
        let mut empty = EMPTY_TAR.as_slice();
        let transport = transport.unwrap_or(&mut empty);
        let staged = self.stage(session, transport, descriptor.diff_id.as_ref(), observer)?;
        self.publish(session, staged, descriptor)
    }

    /// Gives a staged layer its place in the graph, held by `session`.
    ///
    /// When another process was faster, its layer stands and this one is discarded.
    ///
    /// # Errors
    /// As [`Graph::register`].
    pub fn publish(
        &self,
        session: &Session,
        mut staged: StagedLayer,
        descriptor: &Descriptor,
    ) -> Result<Registered, RegisterError> {
        if let Some(expected) = descriptor
            .diff_id
            .filter(|expected| *expected != staged.diff_id)
        {
            return Err(RegisterError::DiffIdMismatch {
                expected,
                actual: staged.diff_id,
            });
        }
        if let Some(there) = self.retain_known(session, descriptor, &())? {
            return Ok(there);
        }
        check_json(descriptor)?;
        let parent = self.retain_parent(session, descriptor)?;
        let applied = self.applied(&mut staged, parent.as_ref())?;
        let cache = CacheId::random();
        let record = LayerRecord {
            parent: descriptor.parent,
            diff_id: Some(staged.diff_id),
            size: Some(applied.size),
            tar_size: staged.tar_size,
            has_record: applied.has_record,
            ..LayerRecord::new(descriptor.id, cache.as_str())
        };
        if let Some(json) = &descriptor.json {
            let path = record::json_path(&staged.folder);
            fs::write(&path, json).map_err(RegisterError::io("write", path))?;
        }
        self.place(session, &staged, applied, &record, &cache, parent.as_ref())
    }

    /// Tree, record, index row, in this order; the intent tells the next process how far it got.
    fn place(
        &self,
        session: &Session,
        staged: &StagedLayer,
        applied: Applied,
        record: &LayerRecord,
        cache: &CacheId,
        parent: Option<&CacheId>,
    ) -> Result<Registered, RegisterError> {
        let intent = session.intend(&Intent::Layer {
            id: record.id,
            cache: cache.to_string(),
        })?;
        let placed = applied.draft.commit(cache, parent)?;
        debug_assert_eq!(placed, Placed::New, "a random cache ID was taken");
        let published = self.store().publish_layer(session, &staged.folder, record);
        if !matches!(published, Ok(Published::New)) {
            self.driver().remove(cache)?;
        }
        let published = published?;
        intent.done()?;
        match published {
            Published::New => Ok(Registered::of(record, true)),
            Published::AlreadyThere => {
                let there = self.store().layer(&record.id)?;
                Ok(Registered::of(there.as_ref().unwrap_or(record), false))
            }
        }
    }

    /// The draft of a staged layer; made now from the spooled tar where it had to wait.
    fn applied(
        &self,
        staged: &mut StagedLayer,
        parent: Option<&CacheId>,
    ) -> Result<Applied, RegisterError> {
        match staged.take_body() {
            Some(StagedBody::Applied(applied)) => Ok(applied),
            Some(StagedBody::Spooled(path)) => {
                let mut file = File::open(&path).map_err(RegisterError::io("open", &path))?;
                let parent = parent.map_or(Parent::None, Parent::Known);
                let (applied, hashed) = self.apply(
                    &staged.folder,
                    parent,
                    &mut file,
                    &staged.diff_id.to_string(),
                    &(),
                )?;
                if hashed.diff_id != staged.diff_id {
                    return Err(RegisterError::DiffIdMismatch {
                        expected: staged.diff_id,
                        actual: hashed.diff_id,
                    });
                }
                fs::remove_file(&path).map_err(RegisterError::io("remove", path))?;
                Ok(applied)
            }
            None => Err(RegisterError::Unread),
        }
    }

    /// The layer, when it is there already; it is then held by `session`.
    fn retain_known(
        &self,
        session: &Session,
        descriptor: &Descriptor,
        observer: &dyn Observer,
    ) -> Result<Option<Registered>, RegisterError> {
        let Some(record) = self.store().layer(&descriptor.id)? else {
            return Ok(None);
        };
        if let (Some(expected), Some(actual)) = (descriptor.diff_id, record.diff_id)
            && expected != actual
        {
            return Err(RegisterError::DiffIdMismatch { expected, actual });
        }
        match self.store().retain(session, &[record.id]) {
            Ok(()) => {}
            // Removed by another process in between: it is to be made again.
            Err(RetainError::Missing { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let label = record.id.to_string();
        observer.event(&Event::LayerDone {
            label: &label,
            bytes: record.tar_size,
            reused: true,
        });
        Ok(Some(Registered::of(&record, false)))
    }

    /// Holds the parent until the session ends, and gives the driver's ID of it.
    fn retain_parent(
        &self,
        session: &Session,
        descriptor: &Descriptor,
    ) -> Result<Option<CacheId>, RegisterError> {
        let Some(parent) = descriptor.parent else {
            return Ok(None);
        };
        let missing = || RegisterError::ParentMissing {
            layer: descriptor.id,
            parent,
        };
        let record = self.store().layer(&parent)?.ok_or_else(missing)?;
        self.store()
            .retain(session, &[parent])
            .map_err(|error| match error {
                RetainError::Missing { .. } => missing(),
                error => error.into(),
            })?;
        Ok(Some(crate::read::cache_id(&record)?))
    }
}

/// Refuses JSON that later readers could not parse.
fn check_json(descriptor: &Descriptor) -> Result<(), RegisterError> {
    let Some(json) = &descriptor.json else {
        return Ok(());
    };
    match serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(json) {
        Ok(_) => Ok(()),
        Err(source) => Err(RegisterError::Json {
            layer: descriptor.id,
            source,
        }),
    }
}
