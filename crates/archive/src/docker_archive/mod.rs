//! The docker-archive: a tar with layers, configs and a `manifest.json`.

mod bytes;
mod describe;
mod file;
mod header;
mod manifest;
mod members;
mod names;
mod outer;
mod pax;
mod stream;
mod tar_writer;
mod v1;
mod write;

pub(crate) use bytes::read_full;
pub(crate) use describe::LAYER_SOURCES;
pub(crate) use file::FileArchive;
pub(crate) use stream::StreamArchive;
pub use write::{ArchiveImage, DockerArchiveWriter};
