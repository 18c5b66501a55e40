//! The overlay driver: every layer is what it adds and hides; the kernel lays them over each
//! other.

use std::path::Path;
use std::sync::Arc;

use crate::chain;
use crate::draft::{Beneath, LayerDraft};
use crate::driver::{Draft, Driver, DriverInfo, LayerFiles, Parent};
use crate::error::DriverError;
use crate::full::{mount_single, mount_writable_alone, open_target};
use crate::home::Home;
use crate::id::CacheId;
use crate::mount::overlay::{self, LIMIT, Layers};
use crate::mount::{Mount, MountInfo, MountRequest};
use crate::options::DriverOptions;
use crate::tree::LayerTree;
use crate::tree::settle::Form;
use crate::trees::Trees;
use crate::usage::Usage;
use crate::writable::{self, WritableLayers, Writables};

pub(crate) const NAME: &str = "overlay";

/// The driver.
#[derive(Debug)]
pub(crate) struct Overlay {
    home: Arc<Home>,
    info: DriverInfo,
    writables: Writables,
    old_mount_api: bool,
}

impl Overlay {
    pub(crate) fn open(
        home: &Path,
        options: &DriverOptions,
    ) -> Result<Box<dyn Driver>, DriverError> {
        let home = Arc::new(Home::open(NAME, Trees::plain("diff"), home, options)?);
        let mut info = DriverInfo::new(NAME, env!("CARGO_PKG_VERSION"), home.path.clone());
        info.backing = home.backing();
        info.stand_alone = true;
        info.powers.writable = true;
        let writables = Writables {
            home: Arc::clone(&home),
            form: Form::Upper,
            beneath: Self::beneath,
            lowers: Self::beneath_writable,
        };
        Ok(Box::new(Self {
            home,
            info,
            writables,
            old_mount_api: options.old_mount_api,
        }))
    }

    /// What a layer over this one lies over.
    fn beneath(home: &Home, parent: &CacheId) -> Result<Beneath, DriverError> {
        let layers = chain::chain(home, parent)?;
        chain::expect_trees(home, &layers)?;
        Ok(Beneath {
            trees: layers.iter().map(|id| home.tree_of(id)).collect(),
            lowers: chain::lowers_over(home, parent)?,
        })
    }
}

impl Driver for Overlay {
    fn info(&self) -> &DriverInfo {
        &self.info
    }

    fn prepare(&self, parent: Parent<'_>) -> Result<Box<dyn Draft>, DriverError> {
        Ok(Box::new(LayerDraft::prepare(
            &self.home,
            parent,
            Form::Upper,
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
        for mount in self.mounts()? {
            // A mount whose layers can not be told is no reason to keep others.
            let top = match mount.writable {
                true => self
                    .home
                    .writable(&mount.layer)
                    .ok()
                    .and_then(|found| found.parent),
                false => Some(mount.layer),
            };
            let needs = top.is_some_and(|top| {
                top == *id || chain::chain(&self.home, &top).is_ok_and(|layers| layers.contains(id))
            });
            if needs {
                return Err(DriverError::Busy {
                    id: id.clone(),
                    target: mount.target,
                });
            }
        }
        self.home.remove(id)
    }

    fn files(&self, id: &CacheId) -> Result<LayerFiles, DriverError> {
        self.home.files(id).map(LayerFiles::Tree)
    }

    fn usage(&self, id: &CacheId) -> Result<Usage, DriverError> {
        self.home.usage(id)
    }

    fn diff_size(&self, id: &CacheId, _parent: Option<&CacheId>) -> Result<u64, DriverError> {
        self.home.diff_size(id, None)
    }

    fn mount(&self, request: &MountRequest<'_>) -> Result<Mount, DriverError> {
        if !request.read_only {
            return self.mount_writable(request);
        }
        let layers = chain::chain(&self.home, request.layer)?;
        if layers.len() == 1 {
            return mount_single(&self.home, &self.home.tree_of(request.layer), request);
        }
        self.lay_over(&layers, request)
    }

    fn tree(&self, id: &CacheId) -> Result<LayerTree, DriverError> {
        let layers = chain::chain(&self.home, id)?;
        chain::expect_trees(&self.home, &layers)?;
        let trees = layers.iter().map(|id| self.home.tree_of(id));
        self.home.layer_tree(trees)
    }

    fn writable(&self) -> Option<&dyn WritableLayers> {
        Some(&self.writables)
    }

    fn mounts(&self) -> Result<Vec<MountInfo>, DriverError> {
        self.home.mounts()
    }

    fn status(&self) -> Result<Vec<(String, String)>, DriverError> {
        let mut status = self.home.status();
        status.push(("Layers at most".to_owned(), LIMIT.to_string()));
        Ok(status)
    }

    fn sweep(&self) -> Result<usize, DriverError> {
        self.home.sweep()
    }

    fn sync(&self) -> Result<(), DriverError> {
        self.home.sync()
    }
}

impl Overlay {
    /// Shows a writable layer over those that it stands on.
    fn mount_writable(&self, request: &MountRequest<'_>) -> Result<Mount, DriverError> {
        let _lock = self.home.lock_writable(request.layer)?;
        // With no index the kernel would let the same directory be written through two mounts.
        self.home.expect_unmounted(request.layer)?;
        match Self::beneath_writable(&self.home, request.layer)? {
            // There is nothing to lay it over.
            layers if layers.is_empty() => mount_writable_alone(&self.home, request),
            layers => self.lay_over(&layers, request),
        }
    }

    /// The layers that show in a writable one.
    fn beneath_writable(home: &Home, id: &CacheId) -> Result<Vec<CacheId>, DriverError> {
        let Some(parent) = home.writable_facts(id)?.parent else {
            return Ok(Vec::new());
        };
        let layers = chain::chain(home, &home.id_in_facts(id, &parent)?)?;
        chain::expect_trees(home, &layers)?;
        Ok(layers)
    }

    fn lay_over(
        &self,
        layers: &[CacheId],
        request: &MountRequest<'_>,
    ) -> Result<Mount, DriverError> {
        if layers.len() > LIMIT {
            let (id, count) = (request.layer.clone(), layers.len());
            return Err(DriverError::TooManyLayers {
                id,
                count,
                limit: LIMIT,
            });
        }
        chain::expect_trees(&self.home, layers)?;
        let trees: Vec<String> = layers.iter().map(|id| self.home.tree_of(id)).collect();
        let target = open_target(request)?;
        let work = self.home.work_folder()?;
        let folder = Home::writable_below(request.layer);
        let own = [self.home.trees.name, writable::WORK].map(|name| format!("{folder}/{name}"));
        let layers = Layers {
            home: &self.home.path,
            home_fd: self.home.fd(),
            trees: &trees,
            upper: (!request.read_only).then_some((&own[0], &own[1])),
            source: &self.home.mount_source(request.layer, !request.read_only),
            user_xattrs: self.home.user_xattrs(),
            work: work.fd(),
        };
        overlay::mount(&layers, &target, request, self.old_mount_api).map_err(|refusal| {
            DriverError::Mount {
                id: request.layer.clone(),
                target: target.path.clone(),
                detail: refusal.detail,
                source: refusal.source,
            }
        })?;
        Ok(Mount::new(target.path))
    }
}
