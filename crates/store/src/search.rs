//! Truncated IDs.

use crate::digest::{ImageId, LayerId};
use crate::error::StoreError;
use crate::index::{column, prefix_range};
use crate::store::Store;

/// Why a truncated ID stands for nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// No ID starts with it.
    #[error("no such {what}: {text:?}")]
    NotFound {
        /// "image" or "layer".
        what: &'static str,
        /// What was given.
        text: String,
    },
    /// Several IDs start with it.
    #[error("{what} ID {text:?} is ambiguous: {}", candidates.join(", "))]
    Ambiguous {
        /// "image" or "layer".
        what: &'static str,
        /// What was given.
        text: String,
        /// The first IDs that start with it.
        candidates: Vec<String>,
    },
    /// Anything else.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How many candidates are listed.
const CANDIDATES: usize = 10;

impl Store {
    /// Returns the layers whose ID starts with `prefix`: at least one and at most 64
    /// lower-case hex digits. Anything else is the start of no ID.
    ///
    /// # Errors
    /// The index's.
    pub fn layers_by_prefix(&self, prefix: &str) -> Result<Vec<LayerId>, StoreError> {
        self.layers_from(prefix, usize::MAX)
    }

    /// Returns the images whose ID starts with `prefix`, with or without `sha256:` before it.
    ///
    /// # Errors
    /// The index's.
    pub fn images_by_prefix(&self, prefix: &str) -> Result<Vec<ImageId>, StoreError> {
        self.images_from(prefix, usize::MAX)
    }

    /// Finds the one layer that an ID or the start of one stands for.
    ///
    /// # Errors
    /// [`FindError::NotFound`] and [`FindError::Ambiguous`].
    pub fn find_layer(&self, text: &str) -> Result<LayerId, FindError> {
        one(
            "layer",
            text,
            &self.layers_from(text, CANDIDATES)?,
            LayerId::to_string,
        )
    }

    /// Finds the one image that an ID or the start of one stands for.
    ///
    /// # Errors
    /// [`FindError::NotFound`] and [`FindError::Ambiguous`].
    pub fn find_image(&self, text: &str) -> Result<ImageId, FindError> {
        one(
            "image",
            text,
            &self.images_from(text, CANDIDATES)?,
            ImageId::to_string,
        )
    }

    fn layers_from(&self, prefix: &str, limit: usize) -> Result<Vec<LayerId>, StoreError> {
        if !is_prefix(prefix) {
            return Ok(Vec::new());
        }
        let (from, to) = prefix_range(prefix);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let sql = "SELECT id FROM layers WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT ?3";
        self.index().read("find layers", |view| {
            view.all("find layers", sql, (from, to, limit), |row| column(row, 0))
        })
    }

    fn images_from(&self, prefix: &str, limit: usize) -> Result<Vec<ImageId>, StoreError> {
        let prefix = prefix.strip_prefix("sha256:").unwrap_or(prefix);
        if !is_prefix(prefix) {
            return Ok(Vec::new());
        }
        let (from, to) = prefix_range(&format!("sha256:{prefix}"));
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let sql = "SELECT id FROM images WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT ?3";
        self.index().read("find images", |view| {
            view.all("find images", sql, (from, to, limit), |row| column(row, 0))
        })
    }
}

fn is_prefix(text: &str) -> bool {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(digit)
}

fn one<T: Copy>(
    what: &'static str,
    text: &str,
    found: &[T],
    show: impl Fn(&T) -> String,
) -> Result<T, FindError> {
    let text = crate::digest::shorten(text);
    match found {
        [] => Err(FindError::NotFound { what, text }),
        [one] => Ok(*one),
        several => {
            let candidates = several.iter().map(show).collect();
            Err(FindError::Ambiguous {
                what,
                text,
                candidates,
            })
        }
    }
}
