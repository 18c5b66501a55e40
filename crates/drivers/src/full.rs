//! Drivers that keep a full tree for each layer: vfs, and those that plugins bring.
//!
//! vfs works on any file system: trees are plain directories that share blocks where the file
//! system can (XFS, btrfs), and else take their full size. A plugin is the backend that makes,
//! copies, seals and removes trees; all else is here.

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use crate::draft::{Beneath, LayerDraft};
use lith_plugin::{Backend, BackendInfo, Library};

use crate::driver::{Draft, Driver, DriverInfo, LayerFiles, Parent};
use crate::error::DriverError;
use crate::home::Home;
use crate::id::CacheId;
use crate::mount::target::Target;
use crate::mount::{Mount, MountInfo, MountRequest, bind};
use crate::options::DriverOptions;
use crate::tree::settle::Form;
use crate::tree::{LayerTree, handle};
use crate::trees::Trees;
use crate::usage::Usage;
use crate::writable::{WritableLayers, Writables};

pub(crate) const VFS: &str = "vfs";

/// What a layer's files lie in.
const TREE: &str = "tree";

/// Such a driver.
#[derive(Debug)]
pub(crate) struct FullTrees {
    home: Arc<Home>,
    info: DriverInfo,
    writables: Writables,
}

impl FullTrees {
    /// Opens vfs.
    pub(crate) fn open_vfs(
        home: &Path,
        options: &DriverOptions,
    ) -> Result<Box<dyn Driver>, DriverError> {
        let home = Home::open(VFS, Trees::plain(TREE), home, options)?;
        let info = DriverInfo::new(VFS, env!("CARGO_PKG_VERSION"), home.path.clone());
        Ok(Self::boxed(home, info))
    }

    /// Opens the driver of a plugin.
    pub(crate) fn open_plugin(
        plugin: &Library,
        home: &Path,
        options: &DriverOptions,
    ) -> Result<Box<dyn Driver>, DriverError> {
        let fresh = !home.exists();
        let path = Home::make(home, options)?;
        let backend = plugin.open(&path).inspect_err(|_| {
            if fresh {
                // Only what is empty goes.
                let _ = rustix::fs::rmdir(&path);
            }
        })?;
        Self::open_backend(backend, &path, options)
    }

    /// Opens the driver of a backend.
    pub(crate) fn open_backend(
        backend: Box<dyn Backend>,
        home: &Path,
        options: &DriverOptions,
    ) -> Result<Box<dyn Driver>, DriverError> {
        let BackendInfo { name, version, .. } = backend.info().clone();
        let trees = Trees::of_backend(TREE, backend.into());
        let home = Home::open(&name, trees, home, options)?;
        let info = DriverInfo::new(&name, &version, home.path.clone());
        Ok(Self::boxed(home, info))
    }

    fn boxed(home: Home, mut info: DriverInfo) -> Box<dyn Driver> {
        let home = Arc::new(home);
        info.backing = home.backing();
        // What is to be a copy of the parent's tree cannot begin without it.
        info.stand_alone = !home.can_snapshot();
        info.copies_parents = true;
        info.powers.writable = true;
        info.powers.native_diff = home.trees.can_tell_changes();
        let writables = Writables {
            home: Arc::clone(&home),
            form: Form::Full,
            beneath: Self::beneath,
            // Each has a copy of everything.
            lowers: |_, _| Ok(Vec::new()),
        };
        Box::new(Self {
            home,
            info,
            writables,
        })
    }

    /// What a layer over this one is filled from.
    fn beneath(home: &Home, parent: &CacheId) -> Result<Beneath, DriverError> {
        home.expect(parent)?;
        Ok(Beneath {
            trees: vec![home.tree_of(parent)],
            lowers: Vec::new(),
        })
    }
}

impl Driver for FullTrees {
    fn info(&self) -> &DriverInfo {
        &self.info
    }

    fn prepare(&self, parent: Parent<'_>) -> Result<Box<dyn Draft>, DriverError> {
        Ok(Box::new(LayerDraft::prepare(
            &self.home,
            parent,
            Form::Full,
            Self::beneath,
        )?))
    }

    fn exists(&self, id: &CacheId) -> Result<bool, DriverError> {
        self.home.exists(id)
    }

    fn list(&self) -> Result<Vec<CacheId>, DriverError> {
        self.home.list()
    }

    fn remove(&self, id: &CacheId) -> Result<(), DriverError> {
        let mut mounts = self.mounts()?.into_iter();
        if let Some(mount) = mounts.find(|mount| !mount.writable && mount.layer == *id) {
            return Err(DriverError::Busy {
                id: id.clone(),
                target: mount.target,
            });
        }
        self.home.remove(id)
    }

    fn files(&self, id: &CacheId) -> Result<LayerFiles, DriverError> {
        self.home.files(id).map(LayerFiles::Tree)
    }

    fn usage(&self, id: &CacheId) -> Result<Usage, DriverError> {
        self.home.usage(id)
    }

    fn diff_size(&self, id: &CacheId, parent: Option<&CacheId>) -> Result<u64, DriverError> {
        self.home.diff_size(id, parent)
    }

    fn mount(&self, request: &MountRequest<'_>) -> Result<Mount, DriverError> {
        if request.read_only {
            return mount_single(&self.home, &self.home.tree_of(request.layer), request);
        }
        let _lock = self.home.lock_writable(request.layer)?;
        self.home.expect_unmounted(request.layer)?;
        mount_writable_alone(&self.home, request)
    }

    fn tree(&self, id: &CacheId) -> Result<LayerTree, DriverError> {
        self.home.expect_tree(id)?;
        self.home.layer_tree(std::iter::once(self.home.tree_of(id)))
    }

    fn writable(&self) -> Option<&dyn WritableLayers> {
        Some(&self.writables)
    }

    fn mounts(&self) -> Result<Vec<MountInfo>, DriverError> {
        self.home.mounts()
    }

    fn status(&self) -> Result<Vec<(String, String)>, DriverError> {
        Ok(self.home.status())
    }

    fn sweep(&self) -> Result<usize, DriverError> {
        self.home.sweep()
    }

    fn sync(&self) -> Result<(), DriverError> {
        self.home.sync()
    }
}

/// Shows the tree of a writable layer that has all it shows.
pub(crate) fn mount_writable_alone(
    home: &Home,
    request: &MountRequest<'_>,
) -> Result<Mount, DriverError> {
    let folder = Home::writable_below(request.layer);
    mount_single(home, &format!("{folder}/{}", home.trees.name), request)
}

/// Shows one tree, which lies below the driver's folder.
pub(crate) fn mount_single(
    home: &Home,
    tree: &str,
    request: &MountRequest<'_>,
) -> Result<Mount, DriverError> {
    if request.read_only {
        home.expect(request.layer)?;
    }
    let tree = handle::open_below(home.fd(), tree.as_bytes(), handle::DIRECTORY)
        .map_err(|error| DriverError::io("open", home.path.join(tree), error))?;
    let target = open_target(request)?;
    bind::bind(tree.as_fd(), &target, request).map_err(|source| DriverError::Mount {
        id: request.layer.clone(),
        target: target.path.clone(),
        detail: String::new(),
        source,
    })?;
    Ok(Mount::new(target.path))
}

pub(crate) fn open_target(request: &MountRequest<'_>) -> Result<Target, DriverError> {
    Target::open(request.target).map_err(|error| DriverError::io("mount on", request.target, error))
}
