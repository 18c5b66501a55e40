//! Images of other engines: out of their stores, which are read and never written, and out of and
//! into a running one.
//!
//! Both kinds of store keep layers as extracted trees with tar-split records beside them. lith's
//! own reader puts the tars together again and compares the checksum of every file; the digest of
//! the whole is compared as for every layer that is loaded. What an engine's store says is not
//! trusted further than an archive: IDs are checked before they become paths, and everything is
//! opened below a handle of the store's folder, through no link.

mod address;
mod config;
mod containers_storage;
#[cfg(feature = "daemon")]
mod daemon;
mod docker_store;
mod error;
mod layers;
mod pick;

pub use address::EngineAddress;
pub use containers_storage::ContainersStorage;
#[cfg(feature = "daemon")]
pub(crate) use daemon::DaemonSink;
#[cfg(feature = "daemon")]
pub use daemon::{Daemon, DaemonImport};
pub use docker_store::DockerStore;
pub use error::EngineError;
