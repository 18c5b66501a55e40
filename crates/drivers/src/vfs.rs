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
use crate::usage::Usage;

pub(crate) const NAME: &str = "vfs";

/// The driver.
#[derive(Debug)]
pub(crate) struct Vfs {
    home: Arc<Home>,
    info: DriverInfo,
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
        Ok(Box::new(Self { home, info }))
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
        if let Some(mount) = self.mounts()?.into_iter().find(|mount| mount.layer == *id) {
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
        mount_single(&self.home, request.layer, request)
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

/// Refuses what no driver can do yet.
pub(crate) fn refuse_writable(home: &Home, request: &MountRequest<'_>) -> Result<(), DriverError> {
    if request.read_only {
        return Ok(());
    }
    let what = "mounts that can be written".to_owned();
    Err(DriverError::Unsupported {
        driver: home.driver.to_owned(),
        what,
    })
}

/// Shows the tree of one layer.
pub(crate) fn mount_single(
    home: &Home,
    layer: &CacheId,
    request: &MountRequest<'_>,
) -> Result<Mount, DriverError> {
    refuse_writable(home, request)?;
    let tree = home.open_tree(layer)?;
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
