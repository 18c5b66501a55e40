//! A driver of a plugin, opened: the pointers end here.
#![allow(unsafe_code, reason = "foreign code is called")]

use std::ffi::{CStr, CString, c_void};
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;

use super::answers::{Caller, Ended, Told};
use super::lent::Lent;
use super::library::Library;
use super::table::Functions;
use crate::abi::Call;
use crate::backend::{Backend, BackendInfo};
use crate::error::{BackendError, PluginError};
use crate::fault::Fault;
use crate::text::lend_c;

/// The driver of a plugin on a folder; closed when dropped.
#[derive(Debug)]
pub(super) struct Opened {
    file: PathBuf,
    info: BackendInfo,
    functions: Functions,
    caller: Caller,
    state: NonNull<c_void>,
}

// SAFETY: the ABI says that all functions but `close` may be called by several threads at once, and
// that `close` may be called by any; `drop` has the only reference.
unsafe impl Send for Opened {}
// SAFETY: as above.
unsafe impl Sync for Opened {}

impl Opened {
    pub(super) fn open(library: &Library, home: &Path) -> Result<Self, PluginError> {
        let failed = |source: BackendError| PluginError::Open {
            driver: library.info.name.clone(),
            file: library.path.clone(),
            home: home.to_owned(),
            source: Box::new(source),
        };
        let io = |error: std::io::Error| failed(error.into());
        let absolute = std::path::absolute(home).map_err(io)?;
        let path =
            CString::new(absolute.as_os_str().as_bytes()).map_err(|error| io(error.into()))?;
        let caller = Caller::new();
        let mut state = std::ptr::null_mut();
        let done = caller.call(|call| {
            // SAFETY: as the ABI says: the path is lent for the call, as is the place for the state.
            unsafe { (library.functions.open)(call, lend_c(&path), &raw mut state) }
        });
        let fault = |fault| broken(&library.path, "open", fault);
        match (done, NonNull::new(state)) {
            (Ok(_), Some(state)) => Ok(Self {
                file: library.path.clone(),
                info: library.info.clone(),
                functions: library.functions,
                caller,
                state,
            }),
            (Ok(_), None) => Err(failed(fault(Fault::NullState))),
            (Err(ended), _) => Err(failed(ended.at(&library.path, "open"))),
        }
    }

    /// Calls a function and says how it went; `lent` are the descriptors that it is lent.
    fn call<const N: usize>(
        &self,
        function: &'static str,
        lent: [BorrowedFd<'_>; N],
        run: impl FnOnce(*mut c_void, *mut Call, [RawFd; N]) -> i32,
    ) -> Result<Told, BackendError> {
        let lent = Lent::new(lent)
            .map_err(|error| BackendError::from(error).during("lend the driver a descriptor"))?;
        let state = self.state.as_ptr();
        let done = self.caller.call(|call| run(state, call, lent.numbers()));
        if !lent.take_back() {
            return Err(broken(&self.file, function, Fault::Closed));
        }
        done.map_err(|ended| ended.at(&self.file, function))
    }
}

impl Ended {
    fn at(self, file: &Path, function: &'static str) -> BackendError {
        match self {
            Self::Failed { errno, message } => BackendError::Failed { errno, message },
            Self::Broken(fault) => broken(file, function, fault),
        }
    }
}

fn broken(file: &Path, function: &'static str, fault: Fault) -> BackendError {
    BackendError::Broken {
        file: file.to_owned(),
        function,
        fault,
    }
}

impl Backend for Opened {
    fn info(&self) -> &BackendInfo {
        &self.info
    }

    fn create(&self, dir: BorrowedFd<'_>, name: &CStr) -> Result<(), BackendError> {
        self.call("create", [dir], |state, call, [dir]| {
            // SAFETY: as the ABI says: the state is what `open` gave, all else is lent for the call.
            unsafe { (self.functions.create)(state, call, dir, lend_c(name)) }
        })?;
        Ok(())
    }

    fn remove(&self, dir: BorrowedFd<'_>, name: &CStr) -> Result<(), BackendError> {
        self.call("remove", [dir], |state, call, [dir]| {
            // SAFETY: as for `create`.
            unsafe { (self.functions.remove)(state, call, dir, lend_c(name)) }
        })?;
        Ok(())
    }

    fn snapshot(
        &self,
        tree: BorrowedFd<'_>,
        dir: BorrowedFd<'_>,
        name: &CStr,
    ) -> Result<(), BackendError> {
        let snapshot = self.functions.snapshot;
        let snapshot = snapshot.ok_or_else(|| BackendError::not_offered("snapshot"))?;
        self.call("snapshot", [tree, dir], |state, call, [tree, dir]| {
            // SAFETY: as for `create`.
            unsafe { snapshot(state, call, tree, dir, lend_c(name)) }
        })?;
        Ok(())
    }

    fn seal(&self, tree: BorrowedFd<'_>) -> Result<(), BackendError> {
        let seal = self.functions.seal;
        let seal = seal.ok_or_else(|| BackendError::not_offered("seal"))?;
        self.call("seal", [tree], |state, call, [tree]| {
            // SAFETY: as for `create`.
            unsafe { seal(state, call, tree) }
        })?;
        Ok(())
    }

    fn changed(
        &self,
        tree: BorrowedFd<'_>,
        since: BorrowedFd<'_>,
        found: &mut dyn FnMut(&[u8]),
    ) -> Result<(), BackendError> {
        let changed = self.functions.changed;
        let changed = changed.ok_or_else(|| BackendError::not_offered("changed"))?;
        let told = self.call("changed", [tree, since], |state, call, [tree, since]| {
            // SAFETY: as for `create`.
            unsafe { changed(state, call, tree, since) }
        })?;
        for path in &told.paths {
            found(path);
        }
        Ok(())
    }

    fn status(&self) -> Result<Vec<(String, String)>, BackendError> {
        let told = self.call("status", [], |state, call, []| {
            // SAFETY: as for `create`.
            unsafe { (self.functions.status)(state, call) }
        })?;
        Ok(told.facts)
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        // SAFETY: the state is what `open` gave, and nobody uses it after this.
        unsafe { (self.functions.close)(self.state.as_ptr()) }
    }
}
