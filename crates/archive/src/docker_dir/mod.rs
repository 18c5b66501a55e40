//! The folder that skopeo calls `dir`: one image, its blobs by their bare digests.

pub(crate) mod read;
mod write;

pub use write::DockerDirWriter;
