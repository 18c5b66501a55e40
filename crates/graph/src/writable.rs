//! Layers that can be written, and the difference between trees as a new layer.
//!
//! Writable layers are the driver's: the index knows nothing of them, so nothing is lost with it.
//! What they stand on stays, because the store asks before it removes a layer
//! ([`Store::set_outside_claims`](lith_store::Store::set_outside_claims)), with the same lock held
//! under which they are made.

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use lith_drivers::{
    CacheId, DiffError, DiffOptions, DiffSummary, DriverError, LayerTree, Mount, MountRequest,
    WritableLayers,
};
use lith_store::{LayerId, Session};

use crate::{Graph, GraphError, Observer, StageDiffError, StagedLayer};

/// How much of a layer's tar is passed on at once.
const BUFFER: usize = 256 << 10;

/// A layer that can be written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Writable {
    /// Its ID.
    pub id: CacheId,
    /// The layer it stands on; none when it stands on nothing, or that layer is not listed.
    pub layer: Option<LayerId>,
    /// The driver's ID of the tree it stands on.
    pub base: Option<CacheId>,
    /// What its maker noted.
    pub label: Vec<u8>,
}

impl Graph {
    /// Makes a writable layer over a layer, or over nothing, with a note of its maker's; returns its
    /// ID.
    ///
    /// From then on the layer below is not removed by anyone. It is there until it is
    /// [discarded](Graph::discard_writable), whatever becomes of this process and the machine;
    /// a kill on the way leaves nothing of it.
    ///
    /// # Errors
    /// [`GraphError::NotFound`]; [`GraphError::NoTree`] when the files of the layer are gone;
    /// [`DriverError::Unsupported`] by a driver that has no such layers.
    pub fn create_writable(
        &self,
        layer: Option<&LayerId>,
        label: &[u8],
    ) -> Result<CacheId, GraphError> {
        let id = CacheId::random();
        layer.map_or(Ok(()), |id| self.prove(id))?;
        // Held until it stands: see above.
        let _lock = layer.map(|id| self.store().lock_layer(id)).transpose()?;
        let base = layer.map(|id| self.known_tree(id)).transpose()?;
        let base = base.as_ref().map(|(_, cache)| cache);
        self.writable()?.create(&id, base, label)?;
        Ok(id)
    }

    /// Returns all writable layers, sorted by ID.
    ///
    /// # Errors
    /// When the driver or the index cannot be read.
    pub fn writable_layers(&self) -> Result<Vec<Writable>, GraphError> {
        let Some(driver) = self.driver().writable() else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for id in driver.list()? {
            match self.writable_layer(&id) {
                Ok(layer) => found.push(layer),
                // Discarded meanwhile.
                Err(GraphError::Driver(DriverError::MissingWritable { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Returns what is known of a writable layer.
    ///
    /// # Errors
    /// [`DriverError::MissingWritable`].
    pub fn writable_layer(&self, id: &CacheId) -> Result<Writable, GraphError> {
        let found = self.writable()?.get(id)?;
        let layer = match &found.parent {
            Some(base) => self
                .store()
                .layers_by_cache(base.as_str())?
                .first()
                .copied(),
            None => None,
        };
        Ok(Writable {
            id: found.id,
            layer,
            base: found.parent,
            label: found.label,
        })
    }

    /// Finds a writable layer by its ID or a unique beginning of it, of four characters or more;
    /// `None` when none fits.
    ///
    /// # Errors
    /// [`GraphError::AmbiguousWritable`].
    pub fn find_writable(&self, id_or_prefix: &str) -> Result<Option<CacheId>, GraphError> {
        const SHORTEST: usize = 4;
        let Some(driver) = self.driver().writable() else {
            return Ok(None);
        };
        let mut candidates = driver.list()?;
        if let Some(exact) = candidates.iter().find(|id| id.as_str() == id_or_prefix) {
            return Ok(Some(exact.clone()));
        }
        candidates
            .retain(|id| id_or_prefix.len() >= SHORTEST && id.as_str().starts_with(id_or_prefix));
        match candidates.as_slice() {
            [] => Ok(None),
            [only] => Ok(Some(only.clone())),
            _ => Err(GraphError::AmbiguousWritable {
                prefix: id_or_prefix.to_owned(),
                candidates,
            }),
        }
    }

    /// Mounts a writable layer to be written; it can be mounted at one place at a time. What is
    /// written stays when the mount ends.
    ///
    /// # Errors
    /// [`DriverError::Busy`] when it is mounted already; [`DriverError::MissingWritable`]; and
    /// whatever the kernel refuses.
    pub fn mount_writable(&self, id: &CacheId, target: &Path) -> Result<Mount, GraphError> {
        self.prove_below(id)?;
        let request = MountRequest::writable(id, target);
        Ok(self.driver().mount(&request)?)
    }

    /// Replaces the note of a writable layer's maker.
    ///
    /// # Errors
    /// [`DriverError::MissingWritable`].
    pub fn relabel_writable(&self, id: &CacheId, label: &[u8]) -> Result<(), GraphError> {
        Ok(self.writable()?.relabel(id, label)?)
    }

    /// Removes a writable layer with everything that was written. One that is not there is fine.
    ///
    /// # Errors
    /// [`DriverError::Busy`] while it is mounted.
    pub fn discard_writable(&self, id: &CacheId) -> Result<(), GraphError> {
        Ok(self.writable()?.remove(id)?)
    }

    /// Opens the files of a layer together with those of the layers below that show.
    ///
    /// That nobody deletes the layer meanwhile is the caller's business: see [`Graph::retain`].
    ///
    /// # Errors
    /// [`GraphError::NotFound`]; [`GraphError::NoTree`]; [`DriverError::Unsupported`] by a driver that
    /// keeps no trees.
    pub fn tree(&self, id: &LayerId) -> Result<LayerTree, GraphError> {
        self.prove(id)?;
        let cache = self.known_tree(id)?.1;
        Ok(self.driver().tree(&cache)?)
    }

    /// Reads what the writable layer stands on and may have lost in a crash.
    fn prove_below(&self, id: &CacheId) -> Result<(), GraphError> {
        match self.writable_layer(id)?.layer {
            Some(layer) => self.prove(&layer),
            None => Ok(()),
        }
    }

    /// Opens the files of a writable layer, as they are now, and those of the layers below that show.
    ///
    /// # Errors
    /// [`DriverError::MissingWritable`].
    pub fn tree_of_writable(&self, id: &CacheId) -> Result<LayerTree, GraphError> {
        self.prove_below(id)?;
        Ok(self.writable()?.tree(id)?)
    }

    /// Opens the files that a writable layer was made over; `None` when it stands on nothing.
    ///
    /// # Errors
    /// [`DriverError::MissingWritable`]; [`DriverError::Missing`] when they are gone.
    pub fn tree_below_writable(&self, id: &CacheId) -> Result<Option<LayerTree>, GraphError> {
        self.prove_below(id)?;
        let base = self.writable()?.get(id)?.parent;
        Ok(base.map(|base| self.driver().tree(&base)).transpose()?)
    }

    /// Stages what turns `old`, or nothing, into `new` as a layer, to be
    /// [published](Graph::publish) like any other: with its record, so that it comes back bit for bit
    /// from then on.
    ///
    /// # Errors
    /// As [`lith_drivers::diff`] and [`Graph::stage`].
    pub fn stage_diff(
        &self,
        session: &Session,
        (new, old): (&LayerTree, Option<&LayerTree>),
        options: &DiffOptions,
        observer: &dyn Observer,
    ) -> Result<(StagedLayer, DiffSummary), StageDiffError> {
        let (mut reader, writer) = io::pipe().map_err(|source| StageDiffError::Pipe { source })?;
        let (written, staged) = thread::scope(|scope| {
            let writing = scope.spawn(move || -> Result<DiffSummary, DiffError> {
                let mut out = BufWriter::with_capacity(BUFFER, writer);
                let done = lith_drivers::diff(new, old, options, &mut out)?;
                let flushed = out.flush();
                flushed.map_err(|source| DiffError::Output { source })?;
                Ok(done)
            });
            let staged = self.stage(session, &mut reader, None, observer);
            // Where that failed early, the writer must not wait for ever.
            drop(reader);
            let written = writing.join().unwrap_or_else(|_| {
                let source = io::Error::other("the writing thread failed");
                Err(DiffError::Output { source })
            });
            (written, staged)
        });
        match (written, staged) {
            (Ok(summary), Ok(staged)) => Ok((staged, summary)),
            // Nobody read on: why is what counts.
            (Ok(_) | Err(DiffError::Output { .. }), Err(error)) => Err(error.into()),
            // What was staged ends somewhere, and is dropped.
            (Err(error), _) => Err(error.into()),
        }
    }

    /// Whether a writable layer stands on this tree of the driver.
    pub(crate) fn has_writable_on(&self, cache: &str) -> Result<bool, GraphError> {
        match (self.driver().writable(), cache.parse()) {
            (Some(writable), Ok(cache)) => Ok(!writable.standing_on(&cache)?.is_empty()),
            _ => Ok(false),
        }
    }

    fn writable(&self) -> Result<&dyn WritableLayers, GraphError> {
        self.driver().writable().ok_or_else(|| {
            let unsupported = DriverError::Unsupported {
                driver: self.driver().info().name.clone(),
                what: "layers that can be written".to_owned(),
            };
            unsupported.into()
        })
    }

    /// Has the store ask the driver before it removes a layer.
    pub(crate) fn claim_for_writable_layers(&self) {
        let driver = self.shared_driver();
        self.store().set_outside_claims(Arc::new(move |layer| {
            let (Some(writable), Ok(cache)) = (driver.writable(), layer.cache.parse()) else {
                return Ok(Vec::new());
            };
            let standing = writable.standing_on(&cache).map_err(io::Error::other)?;
            let word = |id: &CacheId| format!("writable layer {id}");
            Ok(standing.iter().map(word).collect())
        }));
    }
}
