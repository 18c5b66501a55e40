//! The vfs driver: every layer is a full tree.
//!
//! Works on any file system. Layers share blocks where the file system can (XFS, btrfs), else
//! each takes its full size.

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use crate::draft::{Beneath, LayerDraft};
use crate::driver::{Draft, Driver, DriverInfo, LayerFiles, Parent};
use crate::error::DriverError;
use crate::home::Home;
use crate::id::CacheId;
use crate::mount::target::Target;
use crate::mount::{Mount, MountInfo, MountRequest, bind};
use crate::options::DriverOptions;
use crate::tree::settle::Form;
use crate::tree::{LayerTree, handle};
use crate::usage::Usage;
use crate::writable::{WritableLayers, Writables};

pub(crate) const NAME: &str = "vfs";

/// The driver.
#[derive(Debug)]
pub(crate) struct Vfs {
    home: Arc<Home>,
    info: DriverInfo,
    writables: Writables,
}

impl Vfs {
    pub(crate) fn open(
        home: &Path,
        options: &DriverOptions,
    ) -> Result<Box<dyn Driver>, DriverError> {
        let home = Arc::new(Home::open(NAME, "tree", home, options)?);
        let mut info = DriverInfo::new(NAME, env!("CARGO_PKG_VERSION"), home.path.clone());
        info.backing = home.backing();
        info.stand_alone = true;
        info.copies_parents = true;
        info.powers.writable = true;
        let writables = Writables {
            home: Arc::clone(&home),
            form: Form::Full,
            beneath: Self::beneath,
            // Each has a copy of everything.
            lowers: |_, _| Ok(Vec::new()),
        };
        Ok(Box::new(Self {
            home,
            info,
            writables,
        }))
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

impl Driver for Vfs {
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
    mount_single(home, &format!("{folder}/{}", home.tree), request)
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
