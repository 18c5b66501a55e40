//! OCI layouts: as a tar, and as a folder that others may use at the same time.

mod archive;
mod dir;
mod edit;
mod layout;
mod stage;
mod whole;

pub use archive::OciArchiveWriter;
pub use dir::OciDirWriter;
pub(crate) use layout::{Flavour, Outcome, describe};
pub(crate) use stage::Stage;
