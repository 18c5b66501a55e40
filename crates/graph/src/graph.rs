//! The graph itself: a store, a driver, and what is done when they are opened.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use lith_drivers::{Driver, DriverError, DriverOptions};
use lith_store::{LayerId, LayerRecord, OpenOptions, Session, Store, StoreError};

use crate::{GraphError, driver};

/// A store of layers and the driver that turns them into directories.
///
/// Cheap to clone; clones and other processes may work on one root at the same time.
#[derive(Clone)]
pub struct Graph {
    pub(crate) store: Store,
    pub(crate) driver: Arc<dyn Driver>,
    /// Whether layers were in doubt when somebody first asked.
    pub(crate) doubts: Arc<OnceLock<bool>>,
    /// The driver is not the store's yet: what goes wrong with its trees says nothing of the layers.
    pub(crate) on_trial: bool,
}

impl Graph {
    /// Opens the root at `root`, and makes it where the options allow.
    ///
    /// A new root is made for the driver that the options name (a plugin by its path), or else for
    /// the best one that works there. Where the options have ID maps, owners are shifted by them when layers are
    /// applied; they are fixed when the root is made.
    ///
    /// # Errors
    /// A root made for another driver, another kind of ownership, with other ID maps or by a newer lith, and whatever the system refuses.
    pub fn open_root(root: &Path, options: &OpenOptions) -> Result<Self, GraphError> {
        let (kind, options) = driver::choose(root, options)?;
        let store = Store::open(root, &options)?;
        let kind = match kind {
            Some(kind) => kind,
            None => driver::of_store(&store)?,
        };
        let (ownership, maps) = (store.ownership(), store.id_maps());
        let driver = driver::open(&kind, store.root().path(), ownership, maps)?;
        Self::open(store, driver)
    }

    /// Joins a store and a driver, and finishes or undoes what dead processes left half-done.
    ///
    /// Costs the same however many layers there are: unfinished work is found by its
    /// intents in staging. Only the first open after a boot compares all layers with all trees.
    ///
    /// # Errors
    /// When what was left behind cannot be cleaned up.
    pub fn open(store: Store, driver: Box<dyn Driver>) -> Result<Self, GraphError> {
        let graph = Self {
            store,
            driver: driver.into(),
            doubts: Arc::default(),
            on_trial: false,
        };
        graph.claim_for_writable_layers();
        graph.recover()?;
        if graph.store.needs_scan() {
            graph.compare_driver()?;
        }
        Ok(graph)
    }

    /// Where layers and images are kept.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What makes directories of them.
    pub fn driver(&self) -> &dyn Driver {
        &*self.driver
    }

    /// Whether the files of some layer are in doubt after a crash. None come to be within a boot.
    pub(crate) fn has_doubts(&self) -> Result<bool, GraphError> {
        if let Some(doubts) = self.doubts.get() {
            return Ok(*doubts);
        }
        let doubts = self.store.has_doubtful_layers()?;
        Ok(*self.doubts.get_or_init(|| doubts))
    }

    pub(crate) fn shared_driver(&self) -> Arc<dyn Driver> {
        Arc::clone(&self.driver)
    }

    /// Returns how a driver is opened that is to keep owners as this store does.
    ///
    /// # Errors
    /// When the store's ID maps are none.
    pub fn driver_options(&self) -> Result<DriverOptions, GraphError> {
        driver::driver_options(self.store.ownership(), self.store.id_maps())
    }

    pub(crate) fn recover(&self) -> Result<(), GraphError> {
        for dead in self.store.dead_sessions()? {
            let session = dead.id().clone();
            if !self.finish_migration(&dead) {
                continue;
            }
            match dead.recover(&mut |cache| Ok(self.remove_tree(cache)?)) {
                Ok(done) => tracing::info!(%session, ?done, "swept what a dead process left"),
                // A tree that is still mounted, say: what is listed is right, and whoever
                // opens the store after the unmount sweeps it.
                Err(error @ StoreError::AbandonedTree { .. }) => {
                    tracing::warn!(%session, error = &error as &dyn std::error::Error, "not swept");
                }
                // What is listed can be read, and removed, without it.
                Err(error) if error.is_no_space() => {
                    tracing::warn!(%session, error = &error as &dyn std::error::Error, "not swept");
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Ends a session whose work failed: what it began is undone, and layers that it registered
    /// and that nothing claims are removed.
    ///
    /// # Errors
    /// When that fails too; the next open tries again.
    pub fn abandon(&self, session: Session) -> Result<(), GraphError> {
        session
            .into_dead()
            .recover(&mut |cache| Ok(self.remove_tree(cache)?))?;
        Ok(())
    }

    /// Compares the driver's trees with the layers: a power failure may have lost the word of
    /// what was under way. Trees that belong to nothing go; layers without a tree are told of.
    ///
    /// A tree that another process is about to publish has an intent, which stands until its
    /// layer is listed: so trees are read first, then intents, then layers.
    fn compare_driver(&self) -> Result<(), GraphError> {
        let _alone = self.store.lock_maintenance()?;
        let mut trees: BTreeSet<String> = self
            .driver
            .list()?
            .into_iter()
            .map(|cache| cache.to_string())
            .collect();
        let intents = self.store.intents()?;
        let layers = self.store.layers()?;
        for layer in &layers {
            if !trees.remove(&layer.cache) {
                tracing::warn!(layer = %layer.id, "its files are missing: load it again");
            }
        }
        // One that was being made anew when the machine went down may have lost the new files; of one
        // that could not be written nobody saw what the disk has of it.
        let noted = layers.iter().map(|layer| layer.id);
        let noted: Vec<LayerId> = noted.filter(|id| self.has_note(id)).collect();
        self.store.mark_unsynced(&noted)?;
        if self.sweep_folders(&layers)? > 0 {
            // Each may be that of a layer, and one of the trees may be its. Whoever opens the
            // store next has no more to go by.
            tracing::warn!("layers are damaged: no files are removed");
            return Ok(self.store.scan_done()?);
        }
        for intent in intents {
            for cache in intent.trees() {
                trees.remove(cache);
            }
        }
        for cache in trees {
            if self.has_writable_on(&cache)? {
                // What was written over them is worth more than the space.
                tracing::warn!(%cache, "belongs to no layer, but a writable layer stands on it");
                continue;
            }
            tracing::info!(%cache, "removing files that belong to no layer");
            match self.remove_tree(&cache) {
                // Some still shows them.
                Err(GraphError::Driver(error @ DriverError::Busy { .. })) => {
                    tracing::warn!(%error, "left as they are");
                }
                done => done?,
            }
        }
        self.store.scan_done()?;
        Ok(())
    }

    /// Removes what lies among the layers' folders without ever having been one. Returns how
    /// many are left that are not listed: layers whose description is damaged.
    fn sweep_folders(&self, listed: &[LayerRecord]) -> Result<usize, GraphError> {
        let listed: BTreeSet<String> = listed.iter().map(|layer| layer.id.hex()).collect();
        let mut damaged = 0;
        let session = self.store.begin()?;
        for path in self.folders()? {
            let name = path.file_name().and_then(|name| name.to_str());
            if name.is_some_and(|name| listed.contains(name)) || !self.is_stray(&path)? {
                continue;
            }
            match name.and_then(|name| name.parse().ok()) {
                Some(id) if path.is_dir() => {
                    let lock = self.store.lock_layer(&id)?;
                    if self.sweep_folder(&lock, &session)? {
                        tracing::info!(path = %path.display(), "removed what never was a layer");
                        continue;
                    }
                }
                _ => {}
            }
            tracing::warn!(path = %path.display(), "no layer: left as it is");
            damaged += 1;
        }
        session.end()?;
        Ok(damaged)
    }

    /// Removes a tree that no layer names any more; one that is not there is fine.
    pub(crate) fn remove_tree(&self, cache: &str) -> Result<(), GraphError> {
        match cache.parse() {
            Ok(cache) => Ok(self.driver.remove(&cache)?),
            // The driver cannot have given it, so there is nothing to remove.
            Err(_) => Ok(()),
        }
    }
}
