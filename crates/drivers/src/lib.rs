//! Turns the layers of container images into directories.
//!
//! A [`Driver`] takes a layer entry by entry into a [`Draft`], publishes it in one step, gives
//! its files back for the exact reassembly of the layer, and mounts it together with the layers
//! below. Two are built in: `vfs` keeps a full tree for each layer, `overlay` keeps what a layer
//! adds and hides and leaves the rest to the kernel. Others are shared objects that are named by
//! their paths ([`find_driver`]): what they must be is said in the crate `lith-plugin`.
//!
//! Names in a layer are untrusted: everything happens relative to directory handles, and no
//! name, link or device of a layer leads out of its folder.
//!
//! ```no_run
//! use lith_drivers::{DraftBody, DriverOptions, Kept, MountRequest, Parent, open_driver};
//! use lith_tarsplit::Splitter;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let driver = open_driver("overlay", "/var/lib/lith/drivers/overlay".as_ref(), &DriverOptions::default())?;
//! let mut draft = driver.prepare(Parent::None)?;
//! let mut kept = Kept::new("/tmp/kept".as_ref());
//! let mut tar = Splitter::new(std::fs::File::open("layer.tar")?, std::io::sink());
//! while let Some(mut entry) = tar.next_entry()? {
//!     let (metadata, payload) = entry.into_parts();
//!     if let DraftBody::Tree(tree) = draft.body() {
//!         tree.apply(metadata, payload, &mut kept)?;
//!     }
//! }
//! let id = "base".parse()?;
//! draft.commit(&id, None)?;
//! driver.mount(&MountRequest::new(&id, "/mnt".as_ref()))?.leave();
//! # Ok(())
//! # }
//! ```

mod chain;
#[cfg(feature = "conformance")]
pub mod conformance;
mod diff_error;
mod diff_size;
mod draft;
mod driver;
mod error;
mod facts;
mod files;
mod full;
mod home;
mod id;
mod id_maps;
mod kept;
mod mount;
mod options;
mod overlay;
mod registry;
mod tree;
mod trees;
mod usage;
mod work;
mod writable;

pub use diff_error::DiffError;
pub use driver::{
    Draft, DraftBody, Driver, DriverInfo, LayerFiles, Parent, Parked, Placed, Powers,
};
pub use error::{ApplyError, DriverError};
pub use files::TreeFiles;
pub use id::{CacheId, InvalidCacheId};
pub use id_maps::{IdKind, IdMaps, IdRange, InvalidIdMaps};
pub use kept::Kept;
pub use mount::{Mount, MountInfo, MountRequest, set_read_only, unmount};
pub use options::{DriverOptions, InvalidOwnership, Ownership};
pub use registry::{
    DriverKind, default_driver, find_driver, find_plugin, names, open_backend, open_driver,
    plugin_path,
};
pub use tree::{
    ApplySummary, Change, ChangeKind, DiffOptions, DiffSummary, LayerTree, TreeDraft, changes, diff,
};
pub use usage::Usage;
pub use writable::{WritableLayer, WritableLayers};
