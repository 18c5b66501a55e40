//! A root that gets what another store has, for other trees of the same layers.
//!
//! It has no `format` file before it is complete, and so is no store until then; a file `copy` says of
//! which store it is to be a copy, so that whoever was interrupted can go on.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::effects::Effects;
use crate::error::{IoContext, StoreError};
use crate::make;
use crate::mirror::mirror;
use crate::open::{OpenError, OpenOptions, read_word, without_links};
use crate::rebuild;
use crate::root::Root;
use crate::store::Store;
use crate::switch::Alone;

/// The file that says of which store the root is to be a copy.
const MARK: &str = "copy";

/// A root that is being filled with what a store has.
#[derive(Debug)]
pub struct RootCopy<'a> {
    root: Root,
    source: &'a Store,
    effects: Arc<Effects>,
}

/// Why a root does not become a copy of a store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootCopyError {
    /// There is a store already.
    #[error("there is a store at {} already", path.display())]
    There {
        /// Where.
        path: PathBuf,
    },
    /// One would lie in the other.
    #[error("{} cannot hold a copy of the store at {}: one lies in the other", path.display(), source_root.display())]
    Within {
        /// The new root.
        path: PathBuf,
        /// The root of the store.
        source_root: PathBuf,
    },
    /// The root is to be a copy of another store.
    #[error(
        "{} holds an unfinished copy of the store at {found}, not of {expected}",
        path.display()
    )]
    OfAnother {
        /// The new root.
        path: PathBuf,
        /// The store that was being copied.
        found: String,
        /// The store that is to be copied.
        expected: String,
    },
    /// What is listed there is not what the store lists.
    #[error("the copy at {} is not complete: {reason}", path.display())]
    Incomplete {
        /// The new root.
        path: PathBuf,
        /// What was expected and found.
        reason: String,
    },
    /// The place cannot hold a store, or one cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The file system or the index refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl<'a> RootCopy<'a> {
    /// Begins a copy of `source` at `path`, or goes on with one. `None` when it has been completed, by
    /// somebody who did not get to say so.
    ///
    /// That nobody else copies to the same place is the caller's business
    /// ([`Store::try_lock_migration`]).
    ///
    /// # Errors
    /// [`RootCopyError`] says what is there instead.
    pub fn begin(source: &'a Store, path: &Path) -> Result<Option<Self>, RootCopyError> {
        let path = without_links(path).at("find", path)?;
        let old = source.root().path();
        if path.starts_with(old) || old.starts_with(&path) {
            return Err(RootCopyError::Within {
                path,
                source_root: old.to_owned(),
            });
        }
        let copy = RootCopy {
            root: Root::new(&path),
            source,
            effects: Arc::clone(source.effects()),
        };
        let expected = serde_json::to_string(&old.to_string_lossy()).map_err(io::Error::from);
        let expected = expected.at("describe", old)?;
        let found = read_word(&copy.mark())?;
        match (read_word(&copy.root.format())?, found) {
            (Some(_), None) => return Err(RootCopyError::There { path }),
            (_, Some(found)) if found != expected => {
                return Err(RootCopyError::OfAnother {
                    path,
                    found,
                    expected,
                });
            }
            (Some(_), Some(_)) => {
                copy.effects.remove_file(&copy.mark())?;
                return Ok(None);
            }
            (None, Some(_)) => {}
            (None, None) => copy.mark_place(&expected)?,
        }
        make::lay_out(
            &copy.root,
            &copy.effects,
            source.ownership(),
            source.id_maps(),
        )?;
        Ok(Some(copy))
    }

    /// Takes a place where nothing is.
    fn mark_place(&self, source: &str) -> Result<(), RootCopyError> {
        use std::os::unix::fs::PermissionsExt;
        let path = self.root.path();
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).at("create folder", parent)?;
        }
        self.effects.ensure_dir(path)?;
        make::refuse_foreign(&self.root)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).at("set mode of", path)?;
        make::put_word(&self.effects, &self.mark(), source)?;
        Ok(self.effects.sync_dir(path)?)
    }

    fn mark(&self) -> PathBuf {
        self.root.path().join(MARK)
    }

    /// Returns where everything lies.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Copies what is not there, or is other than in the store: layers' folders but for files called
    /// `left_out`, images, names, blobs. Returns how many files and folders that were; every byte is
    /// compared, so that 0 says that both are the same.
    ///
    /// # Errors
    /// The file system's.
    pub fn mirror(&self, left_out: &[&str]) -> Result<u64, RootCopyError> {
        let (old, new) = (self.source.root(), &self.root);
        let pairs = [
            (old.layers(), new.layers(), left_out),
            (old.images(), new.images(), &[]),
            (old.names(), new.names(), &[]),
            (old.blobs(), new.blobs(), &[]),
            (old.archives(), new.archives(), &[]),
        ];
        let mut changes = 0;
        for (from, to, left_out) in pairs {
            changes += mirror(&self.effects, &from, &to, left_out)?;
        }
        Ok(changes)
    }

    /// Makes a store of it, with `driver` and the plugin that it comes from, whose trees are there and on
    /// the disk, and returns it: all of it
    /// is on the disk then. Its index is made from its folders, and has to list what that of the
    /// source lists, which nobody else uses meanwhile. Events are not copied.
    ///
    /// # Errors
    /// [`RootCopyError::Incomplete`]; then there is no store, and [`RootCopy::begin`] can go on.
    pub fn complete(
        &self,
        _alone: &Alone<'_>,
        driver: &str,
        plugin: Option<&Path>,
    ) -> Result<Store, RootCopyError> {
        let report = rebuild::replace_index(&self.root, &self.effects)?;
        let listed = [report.layers, report.images, report.names];
        let source = self.source;
        let layers = source.layers()?;
        let expected = [layers.len(), source.images()?.len(), source.names()?.len()];
        let incomplete = |reason: String| RootCopyError::Incomplete {
            path: self.root.path().to_owned(),
            reason,
        };
        if let Some(problem) = report.problems.first() {
            let path = problem.path.display();
            return Err(incomplete(format!("{path}: {}", problem.reason)));
        }
        if listed != expected {
            let [layers, images, names] = listed;
            let [more_layers, more_images, more_names] = expected;
            return Err(incomplete(format!(
                "it lists {layers} layers, {images} images, {names} names, expected \
                 {more_layers}, {more_images}, {more_names}"
            )));
        }
        self.effects.sync_fs(self.root.path())?;
        make::finish(&self.root, &self.effects, driver, plugin)?;
        self.effects.remove_file(&self.mark())?;
        let store = Store::open(self.root.path(), &OpenOptions::default())?;
        let trees = layers.into_iter().map(|layer| (layer.id, layer.cache));
        store.mark_synced(&trees.collect::<Vec<_>>())?;
        Ok(store)
    }

    /// Removes everything but the driver's trees, which must be gone; the folder itself stays where it is
    /// a file system of its own.
    ///
    /// # Errors
    /// The file system's.
    pub fn discard(&self) -> Result<(), RootCopyError> {
        let path = self.root.path();
        for entry in fs::read_dir(path).at("read folder", path)? {
            let entry = entry.at("read folder", path)?;
            let name = entry.file_name();
            if name == "lost+found" || name == MARK {
                continue;
            }
            if entry.file_type().at("inspect", &entry.path())?.is_dir() {
                self.effects.remove_tree(&entry.path())?;
            } else {
                self.effects.remove_file(&entry.path())?;
            }
        }
        self.effects.remove_file(&self.mark())?;
        // Not there to stay, and of no harm where it does.
        let _ = fs::remove_dir(path);
        Ok(())
    }
}
