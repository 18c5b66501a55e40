//! The seam over file-system effects: everything that changes what a later process finds
//! goes through here, one step at a time, so that a test can stop at any of them.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use crate::error::{IoContext, StoreError};

/// One step that changes the disk, about to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect<'a> {
    /// A folder is made.
    MakeDir(&'a Path),
    /// A new file is made and written.
    Write(&'a Path),
    /// A file's content is forced to disk.
    SyncFile(&'a Path),
    /// A folder's list of names is forced to disk.
    SyncDir(&'a Path),
    /// Everything on the file system that holds this folder is forced to disk.
    SyncFs(&'a Path),
    /// A file or folder gets another name, atomically.
    Rename {
        /// Its name until now.
        from: &'a Path,
        /// Its name from now on; a file there is replaced, or gets the other's name.
        to: &'a Path,
    },
    /// A file is removed.
    RemoveFile(&'a Path),
    /// A folder is removed with everything in it.
    RemoveTree(&'a Path),
    /// A transaction of the index is committed; the text says for what.
    Commit(&'a str),
}

/// Sees each effect before it happens and may refuse it.
pub type Hook = dyn Fn(&Effect<'_>) -> io::Result<()> + Send + Sync;

/// The one object through which a store changes its folders.
#[derive(Default)]
pub struct Effects {
    hook: RwLock<Option<Arc<Hook>>>,
}

impl std::fmt::Debug for Effects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Effects")
    }
}

impl Effects {
    /// Lets `hook` see every effect from now on; an error it returns is what the operation
    /// gets instead of the effect. `None` takes the hook away.
    pub fn set_hook(&self, hook: Option<Arc<Hook>>) {
        *self.hook.write().unwrap_or_else(PoisonError::into_inner) = hook;
    }

    /// Announces an effect that the caller takes itself.
    ///
    /// # Errors
    /// What the hook answers.
    pub fn announce(&self, effect: &Effect<'_>) -> io::Result<()> {
        let hook = self
            .hook
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        hook.map_or(Ok(()), |hook| hook(effect))
    }

    /// Makes a folder, mode 0700; it must not be there.
    ///
    /// # Errors
    /// The file system's.
    pub fn make_dir(&self, path: &Path) -> Result<(), StoreError> {
        self.announce(&Effect::MakeDir(path))
            .and_then(|()| DirBuilder::new().mode(0o700).create(path))
            .at("create folder", path)
    }

    /// Makes a folder, mode 0700, unless it is there.
    ///
    /// # Errors
    /// The file system's.
    pub fn ensure_dir(&self, path: &Path) -> Result<(), StoreError> {
        match self.make_dir(path) {
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
                match fs::symlink_metadata(path) {
                    Ok(found) if found.is_dir() => Ok(()),
                    Ok(_) => Err(io::Error::from(io::ErrorKind::NotADirectory)),
                    Err(error) => Err(error),
                }
                .at("use folder", path)
            }
            other => other,
        }
    }

    /// Makes a file, mode 0600, that must not be there, and writes it; not synced.
    ///
    /// # Errors
    /// The file system's.
    pub fn write_new(&self, path: &Path, content: &[u8]) -> Result<(), StoreError> {
        self.create_file(path, content).map(drop)
    }

    /// As [`Effects::write_new`], and its content is on disk when this returns.
    ///
    /// # Errors
    /// The file system's.
    pub fn write_synced(&self, path: &Path, content: &[u8]) -> Result<(), StoreError> {
        let file = self.create_file(path, content)?;
        self.announce(&Effect::SyncFile(path))
            .and_then(|()| file.sync_all())
            .at("sync", path)
    }

    fn create_file(&self, path: &Path, content: &[u8]) -> Result<File, StoreError> {
        let write = || {
            self.announce(&Effect::Write(path))?;
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)?;
            file.write_all(content)?;
            Ok::<File, io::Error>(file)
        };
        write().at("write", path)
    }

    /// Forces a file's content to disk.
    ///
    /// # Errors
    /// The file system's.
    pub fn sync_file(&self, path: &Path) -> Result<(), StoreError> {
        self.announce(&Effect::SyncFile(path))
            .and_then(|()| File::open(path))
            .and_then(|file| file.sync_all())
            .at("sync", path)
    }

    /// Forces a folder's list of names to disk.
    ///
    /// # Errors
    /// The file system's.
    pub fn sync_dir(&self, path: &Path) -> Result<(), StoreError> {
        self.announce(&Effect::SyncDir(path))
            .and_then(|()| File::open(path))
            .and_then(|file| file.sync_all())
            .at("sync folder", path)
    }

    /// Forces a folder with everything in it to disk, deepest first.
    ///
    /// # Errors
    /// The file system's.
    pub fn sync_tree(&self, path: &Path) -> Result<(), StoreError> {
        for entry in fs::read_dir(path).at("read folder", path)? {
            let entry = entry.at("read folder", path)?;
            let kind = entry.file_type().at("inspect", &entry.path())?;
            if kind.is_dir() {
                self.sync_tree(&entry.path())?;
            } else if kind.is_file() {
                self.sync_file(&entry.path())?;
            }
        }
        self.sync_dir(path)
    }

    /// Forces everything on the file system that holds a folder to disk: for many small files
    /// this is one step instead of one each.
    ///
    /// # Errors
    /// The file system's.
    pub fn sync_fs(&self, path: &Path) -> Result<(), StoreError> {
        self.announce(&Effect::SyncFs(path))
            .and_then(|()| File::open(path))
            .and_then(|folder| Ok(nix::unistd::syncfs(folder)?))
            .at("sync the file system of", path)
    }

    /// Gives a file or folder another name.
    ///
    /// # Errors
    /// The file system's.
    pub fn rename(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        self.announce(&Effect::Rename { from, to })
            .and_then(|()| fs::rename(from, to))
            .at("rename to", to)
    }

    /// Lets two files or folders change places, atomically.
    ///
    /// # Errors
    /// The file system's; not every one can do it.
    pub fn exchange(&self, one: &Path, other: &Path) -> Result<(), StoreError> {
        use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
        let flags = RenameFlags::RENAME_EXCHANGE;
        self.announce(&Effect::Rename {
            from: one,
            to: other,
        })
        .and_then(|()| Ok(renameat2(AT_FDCWD, one, AT_FDCWD, other, flags)?))
        .at("exchange with", other)
    }

    /// Removes a file; gives false when it was not there.
    ///
    /// # Errors
    /// The file system's.
    pub fn remove_file(&self, path: &Path) -> Result<bool, StoreError> {
        let removed = self
            .announce(&Effect::RemoveFile(path))
            .and_then(|()| fs::remove_file(path));
        present(removed).at("remove", path)
    }

    /// Removes a folder with everything in it; gives false when it was not there.
    ///
    /// # Errors
    /// The file system's.
    pub fn remove_tree(&self, path: &Path) -> Result<bool, StoreError> {
        let removed = self
            .announce(&Effect::RemoveTree(path))
            .and_then(|()| fs::remove_dir_all(path));
        present(removed).at("remove", path)
    }
}

/// Turns "not there" into false.
fn present(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
