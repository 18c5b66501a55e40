//! Images out of other engines' stores.

mod containers_storage;
#[cfg(feature = "daemon")]
mod daemon;
pub(crate) mod docker;
mod docker_store;
mod made;
mod podman;

pub(crate) use made::causes;
