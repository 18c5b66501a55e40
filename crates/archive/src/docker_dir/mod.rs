//! The folder that skopeo calls `dir`: one image, its blobs by their bare digests.

mod write;

pub use write::DockerDirWriter;
