//! The docker-archive: a tar with layers, configs and a `manifest.json`.

mod beside;
mod describe;
mod dirs;
mod docker_v1;
pub(crate) mod manifest;
mod v1;
mod v1_config;
mod v1_read;
mod write;

pub(crate) use describe::{LAYER_SOURCES, describe, lacking};
pub(crate) use dirs::{DirsArchive, DirsWriter};
pub(crate) use v1_read::{describe as describe_v1, is_v1};
pub use write::DockerArchiveWriter;
