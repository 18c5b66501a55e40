//! The docker-archive: a tar with layers, configs and a `manifest.json`.

mod bytes;
mod describe;
mod dirs;
mod docker_v1;
mod file;
mod header;
pub(crate) mod manifest;
mod members;
mod names;
mod outer;
mod pax;
mod stream;
mod v1;
mod write;

pub(crate) use bytes::read_full;
pub(crate) use describe::LAYER_SOURCES;
pub(crate) use dirs::{DirsArchive, DirsWriter};
pub(crate) use file::FileArchive;
pub(crate) use stream::StreamArchive;
pub use write::DockerArchiveWriter;
