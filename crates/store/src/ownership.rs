//! How owners of files are kept.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How owners of files in layers are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ownership {
    /// As the layer says; needs root.
    Real,
    /// Shifted by an ID map.
    Mapped,
    /// All files belong to the user; the layer's owners are only recorded.
    Recorded,
}

impl Ownership {
    /// Returns what a root that this user makes gets unless it is told otherwise: only root can
    /// give files away.
    pub fn of_this_user() -> Ownership {
        if nix::unistd::geteuid().is_root() {
            Ownership::Real
        } else {
            Ownership::Recorded
        }
    }

    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Ownership::Real => "real",
            Ownership::Mapped => "mapped",
            Ownership::Recorded => "recorded",
        }
    }
}

impl std::fmt::Display for Ownership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is no kind of ownership.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a kind of ownership: expected real, mapped or recorded")]
pub struct ParseOwnershipError {
    /// What was given.
    pub text: String,
}

impl FromStr for Ownership {
    type Err = ParseOwnershipError;

    fn from_str(text: &str) -> Result<Ownership, ParseOwnershipError> {
        [Ownership::Real, Ownership::Mapped, Ownership::Recorded]
            .into_iter()
            .find(|one| one.as_str() == text)
            .ok_or_else(|| ParseOwnershipError {
                text: crate::digest::shorten(text),
            })
    }
}
