//! Images out of other engines' stores.

mod containers_storage;
mod made;
mod podman;
