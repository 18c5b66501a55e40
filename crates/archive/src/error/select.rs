//! Why images that were asked for cannot be had.

use lith_store::{ImageId, NameError, ParseReferenceError, RetainError, StoreError};

use super::join;
use crate::oci::Platform;

/// Why names on the command line do not lead to images.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SelectError {
    /// Nothing has this name or ID.
    #[error("no such image: {wanted}{}", meant(similar))]
    NotFound {
        /// What was asked for.
        wanted: String,
        /// Names that are close, best first.
        similar: Vec<String>,
    },
    /// Neither a name nor an ID.
    #[error("not an image name or ID")]
    BadName {
        /// What is wrong with it.
        source: ParseReferenceError,
    },
    /// Several images' IDs begin so.
    #[error(
        "the ID prefix {prefix} is not unique, it fits: {}",
        super::join(candidates)
    )]
    Ambiguous {
        /// What was asked for.
        prefix: String,
        /// What it could be.
        candidates: Vec<ImageId>,
    },
    /// One image is needed, and a bare name has several tags.
    #[error("{wanted} has several tags, one is needed: {}", super::join(tags))]
    SeveralTags {
        /// What was asked for.
        wanted: String,
        /// The names with their tags.
        tags: Vec<String>,
    },
    /// Nothing is for the platform.
    #[error("{image} is not for {wanted}; there is: {}", super::join(available))]
    NoPlatform {
        /// The image or the index.
        image: ImageId,
        /// What was asked for, or this machine's.
        wanted: Box<Platform>,
        /// What there is.
        available: Vec<String>,
    },
    /// The layers of an image cannot be held.
    #[error(transparent)]
    Retain(#[from] RetainError),
    /// The index of names cannot be read.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The store's reason.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What was perhaps meant, as the end of a sentence.
fn meant(similar: &[String]) -> String {
    if similar.is_empty() {
        String::new()
    } else {
        format!(" (there is: {})", join(similar))
    }
}
