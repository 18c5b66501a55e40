//! Images out of the stores of other engines, which are read and never written.
//!
//! Both kinds of store keep layers as extracted trees with tar-split records beside them. lith's
//! own reader puts the tars together again and compares the checksum of every file; the digest of
//! the whole is compared as for every layer that is loaded. What an engine's store says is not
//! trusted further than an archive: IDs are checked before they become paths, and everything is
//! opened below a handle of the store's folder, through no link.

mod containers_storage;
mod docker_store;
mod error;
mod folder;
mod layers;
mod pick;

pub use containers_storage::ContainersStorage;
pub use docker_store::DockerStore;
pub use error::EngineError;
