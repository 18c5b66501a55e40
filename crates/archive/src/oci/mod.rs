//! Documents of OCI images and of Docker's schema 2: bytes to values and back, no files.
//!
//! [`Document::parse`] tells a manifest from an index and refuses what could be read as both.
//! What is written depends on the values alone, down to the byte.

mod descriptor;
mod document;
mod media_type;
mod platform;
pub(crate) mod read;
pub(crate) mod write;

pub use descriptor::{Descriptor, IMAGE_NAME, REF_NAME};
pub use document::{Document, DocumentError, Index, MAX_DOCUMENT, Manifest};
pub use media_type::{Kind, MediaType};
pub use platform::{ParsePlatformError, Platform};
