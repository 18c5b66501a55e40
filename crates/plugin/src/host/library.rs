//! Loading a plugin.
#![allow(unsafe_code, reason = "foreign code is loaded and called")]

use std::error::Error;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};

use libloading::os::unix::{Library as Object, RTLD_LOCAL, RTLD_NOW};

use super::answers::HOST;
use super::memory::Memory;
use super::object;
use super::opened::Opened;
use super::table::{self, Functions};
use crate::abi::{Driver, Host};
use crate::backend::{Backend, BackendInfo};
use crate::error::PluginError;

const ENTRY: &[u8] = b"lith_driver_plugin\0";

type Entry = unsafe extern "C" fn(*const Host) -> *const Driver;

/// A shared object with a driver. It stays loaded as long as the process lives, whatever becomes of this.
#[derive(Clone, Debug)]
pub struct Library {
    pub(super) path: PathBuf,
    pub(super) info: BackendInfo,
    pub(super) functions: Functions,
}

impl Library {
    /// Loads the plugin at `path`, which may be relative to the current folder: the system's folders
    /// of libraries are never searched.
    ///
    /// Loading runs code of the plugin, with all rights of this process.
    ///
    /// # Errors
    /// When it is not there, is no shared object, or no driver for this version of the ABI.
    pub fn load(path: &Path) -> Result<Self, PluginError> {
        let path = std::path::absolute(path).map_err(|e| PluginError::io("find", path, e))?;
        object::check(&path)?;
        let object = load(&path)?;
        // SAFETY: the ABI says what is behind this name.
        let entry = unsafe { object.get::<Entry>(ENTRY) };
        let entry = entry.map_err(|_| PluginError::NoEntry { file: path.clone() })?;
        if !Memory::now().is_code(*entry as usize) {
            return Err(PluginError::NoEntry { file: path });
        }
        // SAFETY: it is called as the ABI says, with what stays as long as the process; and what it
        // returns stays too, because nothing is unloaded.
        let (functions, info) = unsafe {
            let table = entry(&raw const HOST);
            // The entry may have made it.
            let memory = Memory::now();
            let driver = table::read(table, &memory, &path)?;
            table::check(&driver, &memory, &path)?
        };
        Ok(Self {
            path,
            info,
            functions,
        })
    }

    /// Returns the plugin's absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns what the driver in it is called and can do.
    #[must_use]
    pub fn info(&self) -> &BackendInfo {
        &self.info
    }

    /// Opens the backend on the driver's folder, which is there. This may be done several times.
    ///
    /// # Errors
    /// When the driver cannot work there, or breaks the rules of the ABI.
    pub fn open(&self, home: &Path) -> Result<Box<dyn Backend>, PluginError> {
        Ok(Box::new(Opened::open(self, home)?))
    }
}

/// Loads a shared object for ever, with all that it needs: what is missing is missing now.
fn load(path: &Path) -> Result<ManuallyDrop<Object>, PluginError> {
    // SAFETY: its initializers run. That they do no harm is what whoever names a plugin says of it.
    let object = unsafe { Object::open(Some(path), RTLD_NOW | RTLD_LOCAL) };
    object
        .map(ManuallyDrop::new)
        .map_err(|error| PluginError::Load {
            file: path.to_owned(),
            reason: match error.source() {
                Some(source) => source.to_string(),
                None => error.to_string(),
            },
        })
}
