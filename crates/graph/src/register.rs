//! The second half of registering a layer: its place in the graph.

use std::fs::{self, File};
use std::io::Read;

use lith_drivers::{CacheId, Parent, Placed};
use lith_store::{DiffId, Digest, Intent, LayerLock, LayerRecord, Published, RetainError, Session};

use crate::stage::{Applied, StagedBody};
use crate::{
    Descriptor, Event, Graph, GraphError, Observer, RegisterError, Registered, StagedLayer, record,
};

/// The tar of the empty layer of the field: two zero blocks.
const EMPTY_TAR: [u8; 1024] = [0; 1024];

impl Graph {
    /// Registers a layer: reads it in one pass, then publishes it, held by `session`.
    ///
    /// A layer that is there already is success, and its data is not read; one whose files the
    /// driver has lost, or that was found to be damaged when it was read, is made anew. A layer whose diff ID is known under another chain
    /// is made from that layer, where it proves itself, and its data is not read. Else the
    /// data is read, compressed or not; without data the layer is empty.
    ///
    /// On return the layer survives a kill of any process; its files reach the disk later, as
    /// the machine sees fit ([`Graph::sync_layers`] waits for them), and are checked after a crash. It
    /// belongs to `session`, and is swept when that dies or is [abandoned](Graph::abandon), unless by
    /// then an image has it or it was [kept](Graph::keep); a session that [ends](Session::end) leaves
    /// it to the next prune.
    /// No lock is held while data is read, so it may come from another layer of the graph.
    ///
    /// # Errors
    /// Whatever goes wrong, neither driver, staging nor index keep anything of it.
    /// [`RegisterError::Json`] and [`RegisterError::JsonId`] before data is read,
    /// [`RegisterError::ParentMissing`], [`RegisterError::DiffIdMismatch`]; for bad data as
    /// [`Graph::stage`].
    pub fn register(
        &self,
        session: &Session,
        descriptor: &Descriptor,
        transport: Option<&mut (dyn Read + Send)>,
        observer: &dyn Observer,
    ) -> Result<Registered, RegisterError> {
        descriptor.check()?;
        if let Some(there) = self.retain_known(session, descriptor)? {
            tell_reused(&there, observer);
            return Ok(there);
        }
        self.retain_parent(session, descriptor)?;
        let staged = match self.stage_from_known(session, descriptor, observer)? {
            Some(staged) => staged,
            None => self.stage_data(session, descriptor, transport, observer)?,
        };
        self.publish(session, staged, descriptor)
    }

    /// Stages the data that came with a descriptor; the empty tar where none did.
    fn stage_data(
        &self,
        session: &Session,
        descriptor: &Descriptor,
        transport: Option<&mut (dyn Read + Send)>,
        observer: &dyn Observer,
    ) -> Result<StagedLayer, RegisterError> {
        let mut empty = EMPTY_TAR.as_slice();
        let expected = descriptor.diff_id.as_ref();
        match (transport, expected) {
            (Some(data), _) => self.stage(session, data, expected, observer),
            (None, Some(diff_id)) if *diff_id != DiffId::of_bytes(&EMPTY_TAR) => {
                let (layer, diff_id) = (descriptor.id, *diff_id);
                Err(RegisterError::NoData { layer, diff_id })
            }
            (None, _) => self.stage(session, &mut empty, expected, observer),
        }
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
        expect_diff_id(descriptor.diff_id, &staged)?;
        descriptor.check()?;
        if let Some(there) = self.retain_known(session, descriptor)? {
            return Ok(there);
        }
        let parent = self.retain_parent(session, descriptor)?;
        let applied = self.applied(&mut staged, parent.as_ref())?;
        let lock = self.store().lock_layer(&descriptor.id)?;
        match self.store().layer(&descriptor.id)? {
            // Made by another process in between.
            Some(there) if self.is_whole(&there)? => {
                check_known(descriptor, &there)?;
                self.store().retain(session, &[there.id])?;
                Ok(Registered::of(&there, false))
            }
            Some(damaged) => {
                let staged = (descriptor, &staged, applied);
                self.heal(&lock, session, staged, &damaged)
            }
            None => {
                self.put_leftover_aside(&lock, session, parent.as_ref())?;
                let record = self.record(descriptor, &staged, &applied, parent.as_ref())?;
                self.place(&lock, session, &staged, applied, &record, parent.as_ref())
            }
        }
    }

    /// Describes a new layer, and puts its JSON where the record will be.
    pub(crate) fn record(
        &self,
        descriptor: &Descriptor,
        staged: &StagedLayer,
        applied: &Applied,
        parent: Option<&CacheId>,
    ) -> Result<LayerRecord, RegisterError> {
        let mut record = LayerRecord {
            parent: descriptor.parent,
            parent_cache: parent.map(ToString::to_string),
            diff_id: Some(staged.diff_id),
            size: Some(applied.size),
            tar_size: staged.tar_size,
            has_record: applied.has_record,
            ..LayerRecord::new(descriptor.id, self.free_cache_id()?.as_str())
        };
        if let Some(json) = &descriptor.json {
            let digest = Digest::of(json).to_string();
            record
                .extra
                .insert(record::JSON_DIGEST.to_owned(), digest.into());
            let path = record::json_path(&staged.folder);
            self.store().effects().write_new(&path, json)?;
        }
        Ok(record)
    }

    /// An ID that the driver has nothing under: what it has there without an entry in the graph
    /// is not this layer.
    fn free_cache_id(&self) -> Result<CacheId, RegisterError> {
        loop {
            let cache = CacheId::random();
            if !self.driver().exists(&cache)? {
                return Ok(cache);
            }
        }
    }

    /// Tree, record, index row, in this order; the intent tells the next process how far it got.
    fn place(
        &self,
        lock: &LayerLock,
        session: &Session,
        staged: &StagedLayer,
        applied: Applied,
        record: &LayerRecord,
        parent: Option<&CacheId>,
    ) -> Result<Registered, RegisterError> {
        let cache = crate::read::cache_id(record)?;
        let intent = session.intend(&Intent::Layer {
            id: record.id,
            cache: record.cache.clone(),
        })?;
        let published = match applied.draft.commit(&cache, parent) {
            Ok(Placed::New) => self.publish_placed(lock, session, staged, record),
            Ok(Placed::AlreadyThere) => Err(RegisterError::Leftover {
                layer: record.id,
                cache: record.cache.clone(),
            }),
            Err(error) => Err(error.into()),
        };
        if !matches!(published, Ok(Published::New)) {
            // Where that fails, the intent stays, and whoever finds it removes the tree.
            self.driver().remove(&cache)?;
        }
        intent.done()?;
        match published? {
            Published::New => Ok(Registered::of(record, true)),
            Published::AlreadyThere => {
                let there = self.known(&record.id)?;
                Ok(Registered::of(&there, false))
            }
        }
    }

    /// Record and index row of a layer whose tree is in its place.
    fn publish_placed(
        &self,
        lock: &LayerLock,
        session: &Session,
        staged: &StagedLayer,
        record: &LayerRecord,
    ) -> Result<Published, RegisterError> {
        let mut record = record.clone();
        if record.boot.is_none() {
            // Nobody could tell later whether the machine has gone down since.
            self.driver().sync()?;
            record.synced = true;
        }
        let store = self.store();
        Ok(store.publish_layer_locked(lock, session, &staged.folder, &record)?)
    }

    /// The draft of a staged layer; made now from the spooled tar where it had to wait.
    pub(crate) fn applied(
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

    /// The layer, when it is there with its files; it is then held by `session`.
    fn retain_known(
        &self,
        session: &Session,
        descriptor: &Descriptor,
    ) -> Result<Option<Registered>, RegisterError> {
        let Some(record) = self.listed(&descriptor.id)? else {
            return Ok(None);
        };
        check_known(descriptor, &record)?;
        if !self.proves_whole(&record)? {
            return Ok(None);
        }
        match self.store().retain(session, &[record.id]) {
            Ok(()) => Ok(Some(Registered::of(&record, false))),
            // Removed by another process in between: it is to be made again.
            Err(RetainError::Missing { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
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
        match self.retain(session, &[parent]) {
            Ok(()) => {}
            Err(GraphError::Retain(RetainError::Missing { .. })) => return Err(missing()),
            Err(error) => return Err(error.into()),
        }
        self.prove(&parent)?;
        // It is held: what is listed now stays.
        let record = self.listed(&parent)?.ok_or_else(missing)?;
        Ok(Some(crate::read::cache_id(&record)?))
    }
}

/// Tells that nothing had to be read.
fn tell_reused(there: &Registered, observer: &dyn Observer) {
    observer.event(&Event::LayerDone {
        label: &there.id.to_string(),
        bytes: there.tar_size,
        reused: true,
    });
}

/// Refuses content that is not what was promised.
pub(crate) fn expect_diff_id(
    expected: Option<DiffId>,
    staged: &StagedLayer,
) -> Result<(), RegisterError> {
    match expected {
        Some(expected) if expected != staged.diff_id => Err(RegisterError::DiffIdMismatch {
            expected,
            actual: staged.diff_id,
        }),
        _ => Ok(()),
    }
}

/// Refuses a descriptor of other content than the layer that is there.
pub(crate) fn check_known(
    descriptor: &Descriptor,
    there: &LayerRecord,
) -> Result<(), RegisterError> {
    match (descriptor.diff_id, there.diff_id) {
        (Some(expected), Some(actual)) if expected != actual => {
            Err(RegisterError::DiffIdMismatch { expected, actual })
        }
        _ => Ok(()),
    }
}
