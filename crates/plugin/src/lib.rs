//! Drivers from outside: shared objects that lith loads.
//!
//! A driver plugin supplies a [`Backend`]: how the tree of a layer is made, copied from that of the
//! layer below, sealed, and removed. All else is lith's. [`Library`] loads a plugin, whatever language it
//! is written in, and gives a [`Backend`]; [`export_driver!`] makes a plugin of a Rust type:
//!
//! ```
//! # #![forbid(unsafe_code)]
//! use std::ffi::CStr;
//! use std::os::fd::BorrowedFd;
//! use std::path::Path;
//!
//! use lith_plugin::{Backend, BackendError, BackendInfo, Plugin, Powers, export_driver};
//!
//! #[derive(Debug)]
//! struct Plain(BackendInfo);
//!
//! impl Backend for Plain {
//!     fn info(&self) -> &BackendInfo {
//!         &self.0
//!     }
//!
//!     fn create(&self, dir: BorrowedFd<'_>, name: &CStr) -> Result<(), BackendError> {
//!         rustix::fs::mkdirat(dir, name, rustix::fs::Mode::RWXU)?;
//!         Ok(())
//!     }
//!
//!     fn remove(&self, dir: BorrowedFd<'_>, name: &CStr) -> Result<(), BackendError> {
//!         // Not enough: a tree is full. `examples/plain.rs` is a whole driver.
//!         rustix::fs::unlinkat(dir, name, rustix::fs::AtFlags::REMOVEDIR)?;
//!         Ok(())
//!     }
//! }
//!
//! impl Plugin for Plain {
//!     const NAME: &'static str = "plain";
//!     const VERSION: &'static str = "0.1.0";
//!     const POWERS: Powers = Powers::NONE;
//!
//!     fn open(_home: &Path) -> Result<Self, BackendError> {
//!         Ok(Self(BackendInfo::of::<Self>()))
//!     }
//! }
//!
//! export_driver!(Plain);
//! # fn main() {}
//! ```
//!
//! # What holds
//!
//! Only what C knows crosses ([`abi`], `include/lith_plugin.h`). Both sides catch their panics. A plugin
//! runs with all rights of lith, so that one may only load what one trusts; but it may be wrong, and what it
//! gives is looked at before it is used: what it broke is an error ([`Fault`]), never a crash of lith's
//! making. A library that was loaded stays loaded.

pub mod abi;
mod backend;
mod error;
#[doc(hidden)]
pub mod export;
mod fault;
mod host;
mod name;
mod text;

pub use backend::{Backend, BackendInfo, Plugin, Powers};
pub use error::{BackendError, PluginError};
pub use fault::Fault;
pub use host::Library;
pub use name::is_driver_name;
pub use text::TextFault;
