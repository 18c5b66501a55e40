//! The docker-archive: a tar with layers, configs and a `manifest.json`.

mod describe;
mod dirs;
mod docker_v1;
pub(crate) mod manifest;
mod v1;
mod write;

pub(crate) use describe::{LAYER_SOURCES, describe, lacking};
pub(crate) use dirs::{DirsArchive, DirsWriter};
pub use write::DockerArchiveWriter;
