//! The driver's own name for a layer.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

/// The driver's own ID of a layer (docker's word: *cache ID*).
///
/// 1 to 128 of `a-z`, `0-9`, `_`, `.` and `-`, starting with a letter or a digit, so that it
/// is a plain file name wherever it is used. Drivers attach no other meaning to it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CacheId(String);

/// A text is no [`CacheId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a cache ID: {0:?} (expected 1 to 128 of a-z 0-9 _ . -, starting with a letter or a digit)"
)]
pub struct InvalidCacheId(pub String);

impl CacheId {
    /// Returns a fresh ID: 32 hex digits that nobody else has.
    #[must_use]
    pub fn random() -> Self {
        Self(format!("{:016x}{:016x}", random_u64(), random_u64()))
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A number that is unlike any other: keys of the standard library's hasher come from the system.
pub(crate) fn random_u64() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    RandomState::new().hash_one((
        COUNT.fetch_add(1, Ordering::Relaxed),
        now,
        std::process::id(),
        std::thread::current().id(),
    ))
}

impl fmt::Display for CacheId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for CacheId {
    type Err = InvalidCacheId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let first = text
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let rest = text.bytes().all(|b| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.' | b'-')
        });
        if first && rest && text.len() <= 128 {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidCacheId(text.to_owned()))
        }
    }
}

impl AsRef<str> for CacheId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::CacheId;

    #[test]
    fn only_plain_file_names() {
        for good in ["a", "0", "a.b_c-d", &"f".repeat(128)] {
            assert_eq!(good.parse::<CacheId>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            ".",
            "..",
            ".work",
            "-a",
            "_a",
            "A",
            "a/b",
            "a b",
            "é",
            &"f".repeat(129),
            "a\n",
        ] {
            assert!(bad.parse::<CacheId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn random_ids_are_valid_and_differ() {
        let (one, two) = (CacheId::random(), CacheId::random());
        assert_ne!(one, two);
        assert_eq!(one.as_str().len(), 32);
        assert_eq!(one.as_str().parse::<CacheId>().unwrap(), one);
    }
}
