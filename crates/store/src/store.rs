//! The open store.

use std::collections::BTreeSet;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::digest::{ImageId, LayerId};
use crate::effects::Effects;
use crate::error::StoreError;
use crate::idmap::IdMaps;
use crate::index::Index;
use crate::layers::Outside;
use crate::lock::SlotLock;
use crate::ownership::Ownership;
use crate::reference::Reference;
use crate::reserve;
use crate::root::Root;
use crate::session::Session;

/// An open store. Cheap to clone; usable from many threads and many processes at once.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) root: Root,
    pub(crate) driver: String,
    pub(crate) ownership: Ownership,
    pub(crate) id_maps: Option<IdMaps>,
    pub(crate) effects: Arc<Effects>,
    pub(crate) index: Index,
    pub(crate) needs_scan: AtomicBool,
    pub(crate) outside: Outside,
    /// Held shared: nobody replaces the index, or gives the store another driver, while it is in use.
    pub(crate) in_use: File,
}

impl Store {
    pub(crate) fn new(inner: Inner) -> Store {
        Store {
            inner: Arc::new(inner),
        }
    }

    /// Returns where everything lies.
    pub fn root(&self) -> &Root {
        &self.inner.root
    }

    /// Returns the name of the driver that the root was made with.
    pub fn driver(&self) -> &str {
        &self.inner.driver
    }

    /// Returns how owners of files are kept.
    pub fn ownership(&self) -> Ownership {
        self.inner.ownership
    }

    /// Returns the maps that [`Ownership::Mapped`] goes by; others have none.
    pub fn id_maps(&self) -> Option<&IdMaps> {
        self.inner.id_maps.as_ref()
    }

    /// Returns the seam through which everything is written.
    pub fn effects(&self) -> &Arc<Effects> {
        &self.inner.effects
    }

    pub(crate) fn index(&self) -> &Index {
        &self.inner.index
    }

    pub(crate) fn in_use(&self) -> &File {
        &self.inner.in_use
    }

    pub(crate) fn outside(&self) -> &Outside {
        &self.inner.outside
    }

    /// Begins a session.
    ///
    /// # Errors
    /// The file system's.
    pub fn begin(&self) -> Result<Session, StoreError> {
        reserve::keep(self.root());
        Session::begin(self)
    }

    /// Begins a session whose work needs little room: to remove, to hold, to name. On a full disk
    /// it takes what the root has kept aside for it.
    ///
    /// # Errors
    /// The file system's.
    pub fn begin_small(&self) -> Result<Session, StoreError> {
        reserve::spend(self.root());
        Session::begin(self)
    }

    /// Tells whether the driver's trees have to be compared with the layers: the machine has
    /// booted, or the index was rebuilt, since somebody did ([`Store::scan_done`]).
    ///
    /// The index itself was compared with the folders when the store was opened.
    pub fn needs_scan(&self) -> bool {
        self.inner.needs_scan.load(Ordering::Acquire)
    }

    /// Takes note that the driver's trees were compared with the layers.
    ///
    /// # Errors
    /// The index's.
    pub fn scan_done(&self) -> Result<(), StoreError> {
        crate::boot::note_scan(&self.inner.index)?;
        self.inner.needs_scan.store(false, Ordering::Release);
        Ok(())
    }

    /// Waits until nobody else does maintenance of the whole root, a scan for example, and
    /// keeps others from it until the lock is dropped.
    ///
    /// # Errors
    /// The file system's.
    pub fn lock_maintenance(&self) -> Result<MaintenanceLock, StoreError> {
        crate::open::wait_maintenance(self.root()).map(|file| MaintenanceLock { _file: file })
    }

    /// Waits for a layer's lock: exclusive among processes and threads, gone with its
    /// holder. Not reentrant: whoever holds it and asks again waits for ever.
    ///
    /// # Errors
    /// The file system's.
    pub fn lock_layer(&self, id: &LayerId) -> Result<LayerLock, StoreError> {
        let path = self.root().locks().join("layers");
        Ok(LayerLock {
            id: *id,
            _slot: SlotLock::wait(&path, id.as_bytes())?,
        })
    }

    /// Waits for the locks of several layers, which are taken in one go and cost one descriptor.
    ///
    /// # Errors
    /// The file system's.
    pub fn lock_layers(&self, ids: &[LayerId]) -> Result<LayerLocks, StoreError> {
        let path = self.root().locks().join("layers");
        Ok(LayerLocks {
            ids: ids.iter().copied().collect(),
            _slots: SlotLock::wait_all(&path, ids.iter().map(|id| *id.as_bytes()))?,
        })
    }

    pub(crate) fn lock_image(&self, id: &ImageId) -> Result<SlotLock, StoreError> {
        SlotLock::wait(&self.root().locks().join("images"), id.digest().as_bytes())
    }

    pub(crate) fn lock_images<'i>(
        &self,
        ids: impl Iterator<Item = &'i ImageId>,
    ) -> Result<SlotLock, StoreError> {
        let keys = ids.map(|id| *id.digest().as_bytes());
        SlotLock::wait_all(&self.root().locks().join("images"), keys)
    }

    pub(crate) fn lock_name(&self, name: &Reference) -> Result<SlotLock, StoreError> {
        self.lock_names([name].into_iter())
    }

    pub(crate) fn lock_names<'n>(
        &self,
        names: impl Iterator<Item = &'n Reference>,
    ) -> Result<SlotLock, StoreError> {
        let keys = names.map(|name| *crate::Digest::of(name.to_string().as_bytes()).as_bytes());
        SlotLock::wait_all(&self.root().locks().join("names"), keys)
    }
}

/// The locks of several layers, held until dropped.
#[derive(Debug)]
pub struct LayerLocks {
    ids: BTreeSet<LayerId>,
    _slots: SlotLock,
}

impl LayerLocks {
    /// Tells whether the lock of a layer is among them.
    pub fn has(&self, id: &LayerId) -> bool {
        self.ids.contains(id)
    }
}

/// One layer's lock, held until dropped.
///
/// Order of locks, outermost first: maintenance, image, name, layer, index transaction. Those
/// of several images, names or layers are taken in one go, in the order of their bytes.
#[derive(Debug)]
pub struct LayerLock {
    id: LayerId,
    _slot: SlotLock,
}

impl LayerLock {
    /// Returns the layer.
    pub fn id(&self) -> &LayerId {
        &self.id
    }
}

/// The lock of whoever does maintenance of the whole root, held until dropped.
#[derive(Debug)]
pub struct MaintenanceLock {
    _file: File,
}
