//! Images out of other engines' stores.

mod containers_storage;
mod docker;
mod docker_store;
mod made;
mod podman;
