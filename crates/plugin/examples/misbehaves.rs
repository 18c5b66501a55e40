//! A driver that does what the file `behave` in its folder says: it is there to be tested with.
//!
//! Each line names a function and what it does instead of its work: `panic`, `fail`, `nonsense`.
#![forbid(unsafe_code)]

use std::ffi::CStr;
use std::os::fd::BorrowedFd;
use std::path::Path;

use lith_plugin::{Backend, BackendError, BackendInfo, Plugin, Powers, export_driver};
use rustix::fs::{AtFlags, Mode, mkdirat, unlinkat};

#[derive(Debug)]
struct Misbehaves {
    info: BackendInfo,
    orders: String,
}

impl Misbehaves {
    fn ordered(&self, function: &str, what: &str) -> bool {
        let order = format!("{function} {what}");
        self.orders.lines().any(|line| line == order)
    }

    /// Panics and fails where that was ordered.
    fn obey(&self, function: &str) -> Result<(), BackendError> {
        if self.ordered(function, "panic") {
            panic!("ordered to panic in {function}");
        }
        if self.ordered(function, "panic-oddly") {
            std::panic::panic_any(Grenade);
        }
        match self.ordered(function, "fail") {
            true => Err(BackendError::from(std::io::Error::from_raw_os_error(28)).during(function)),
            false => Ok(()),
        }
    }
}

/// A panic that is no text, and panics when it is dropped.
struct Grenade;

impl Drop for Grenade {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

impl Drop for Misbehaves {
    fn drop(&mut self) {
        assert!(!self.ordered("close", "panic"), "ordered to panic in close");
    }
}

impl Plugin for Misbehaves {
    const NAME: &'static str = "misbehaves";
    const VERSION: &'static str = "0.0.1-\u{3b1}";
    const POWERS: Powers = Powers::NONE.with_snapshot().with_seal().with_changed();

    fn open(home: &Path) -> Result<Self, BackendError> {
        let orders = std::fs::read_to_string(home.join("behave")).unwrap_or_default();
        let this = Self {
            info: BackendInfo::of::<Self>(),
            orders,
        };
        this.obey("open")?;
        Ok(this)
    }
}

impl Backend for Misbehaves {
    fn info(&self) -> &BackendInfo {
        &self.info
    }

    fn create(&self, dir: BorrowedFd<'_>, name: &CStr) -> Result<(), BackendError> {
        self.obey("create")?;
        Ok(mkdirat(dir, name, Mode::RWXU)?)
    }

    fn remove(&self, dir: BorrowedFd<'_>, name: &CStr) -> Result<(), BackendError> {
        self.obey("remove")?;
        Ok(unlinkat(dir, name, AtFlags::REMOVEDIR)?)
    }

    fn snapshot(
        &self,
        _tree: BorrowedFd<'_>,
        dir: BorrowedFd<'_>,
        name: &CStr,
    ) -> Result<(), BackendError> {
        mkdirat(dir, name, Mode::RWXU)?;
        // Half-way: the tree is there and has nothing in it.
        self.obey("snapshot")
    }

    fn seal(&self, _tree: BorrowedFd<'_>) -> Result<(), BackendError> {
        self.obey("seal")
    }

    fn changed(
        &self,
        _tree: BorrowedFd<'_>,
        _since: BorrowedFd<'_>,
        found: &mut dyn FnMut(&[u8]),
    ) -> Result<(), BackendError> {
        found(b"");
        found(b"etc/a");
        if self.ordered("changed", "nonsense") {
            found(b"../../etc");
        }
        self.obey("changed")
    }

    fn status(&self) -> Result<Vec<(String, String)>, BackendError> {
        self.obey("status")?;
        let value = match self.ordered("status", "nonsense") {
            true => "two\nlines",
            false => "a\u{3b2}",
        };
        Ok(vec![("fact".to_owned(), value.to_owned())])
    }
}

export_driver!(Misbehaves);
