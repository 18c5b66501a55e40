//! Image references: `alpine` is `docker.io/library/alpine:latest`.

mod grammar;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::{Digest, ParseDigestError, shorten};

const DEFAULT_DOMAIN: &str = "docker.io";
const LEGACY_DOMAIN: &str = "index.docker.io";
const OFFICIAL: &str = "library";
const DEFAULT_TAG: &str = "latest";

/// A text that is not an image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseReferenceError {
    /// Nothing was given.
    #[error("an image name is missing")]
    Empty,
    /// 64 hex digits are an ID, never a name.
    #[error("{text:?} is not an image name: 64 hex digits are always an ID")]
    LooksLikeId {
        /// What was given.
        text: String,
    },
    /// The repository part has capital letters.
    #[error("image name {text:?} has upper-case letters: expected {hint:?}")]
    UpperCase {
        /// What was given.
        text: String,
        /// The same in lower case.
        hint: String,
    },
    /// The part before the first slash is no host name.
    #[error("image name {text:?}: {domain:?} is not a host name with or without a port")]
    Domain {
        /// What was given.
        text: String,
        /// The part that is wrong.
        domain: String,
    },
    /// The repository path breaks the grammar.
    #[error(
        "image name {text:?}: {path:?} is not lower-case letters and digits separated by \
         '/', '.', '_', '__' or '-'"
    )]
    Path {
        /// What was given.
        text: String,
        /// The part that is wrong.
        path: String,
    },
    /// The tag breaks the grammar.
    #[error(
        "image name {text:?}: tag {tag:?} is not a letter, digit or '_' followed by up to 127 \
         letters, digits, '_', '.' or '-'"
    )]
    Tag {
        /// What was given.
        text: String,
        /// The part that is wrong.
        tag: String,
    },
    /// The part behind `@` is no digest.
    #[error("image name {text:?}: {source}")]
    Digest {
        /// What was given.
        text: String,
        /// What is wrong with the digest.
        source: ParseDigestError,
    },
    /// Domain and path together are too long.
    #[error("image name {text:?} has {length} characters: at most 255 before the tag")]
    TooLong {
        /// What was given.
        text: String,
        /// Length of the normalised name.
        length: usize,
    },
}

/// A normalised image reference.
///
/// Displays in full (`docker.io/library/alpine:latest`); [`Reference::familiar`] gives the
/// short form (`alpine:latest`).
///
/// ```
/// use lith_store::Reference;
///
/// let name = Reference::parse("alpine")?;
/// assert_eq!(name.to_string(), "docker.io/library/alpine:latest");
/// assert_eq!(name.familiar(), "alpine:latest");
/// # Ok::<(), lith_store::ParseReferenceError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// `docker.io/library/alpine`
    name: String,
    /// Bytes of `name` before the first slash.
    domain: usize,
    tag: Option<String>,
    digest: Option<Box<Digest>>,
}

impl Reference {
    /// Reads a reference; one without tag and digest gets the tag `latest`.
    ///
    /// # Errors
    /// Texts outside the grammar, 64 hex digits, capital letters in the repository.
    pub fn parse(text: &str) -> Result<Reference, ParseReferenceError> {
        Reference::parse_bare(text).map(Reference::with_default_tag)
    }

    /// Reads a reference and leaves a missing tag missing (`alpine` stands for all its tags).
    ///
    /// # Errors
    /// As [`Reference::parse`].
    pub fn parse_bare(text: &str) -> Result<Reference, ParseReferenceError> {
        if text.is_empty() {
            return Err(ParseReferenceError::Empty);
        }
        if Digest::from_hex(text).is_ok() {
            return Err(ParseReferenceError::LooksLikeId {
                text: text.to_owned(),
            });
        }
        let (rest, digest) = split_digest(text)?;
        let (rest, tag) = split_tag(rest);
        let (domain, path) = split_domain(rest);
        check_parts(text, domain, &path, tag)?;
        let name = format!("{domain}/{path}");
        if name.len() > grammar::MAX_NAME {
            return Err(ParseReferenceError::TooLong {
                text: shorten(text),
                length: name.len(),
            });
        }
        Ok(Reference {
            domain: domain.len(),
            name,
            tag: tag.map(str::to_owned),
            digest: digest.map(Box::new),
        })
    }

    /// Adds the tag `latest` where there is neither tag nor digest.
    #[must_use]
    pub fn with_default_tag(self) -> Reference {
        if self.tag.is_some() || self.digest.is_some() {
            return self;
        }
        Reference {
            tag: Some(DEFAULT_TAG.to_owned()),
            ..self
        }
    }

    /// Returns the registry's host, with its port: `docker.io`.
    pub fn domain(&self) -> &str {
        self.name.get(..self.domain).unwrap_or_default()
    }

    /// Returns the path within the registry: `library/alpine`.
    pub fn path(&self) -> &str {
        self.name.get(self.domain + 1..).unwrap_or_default()
    }

    /// Returns the repository, domain and path: `docker.io/library/alpine`.
    pub fn repository(&self) -> &str {
        &self.name
    }

    /// Returns the tag, when there is one.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Returns the digest behind `@`, when there is one.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_deref()
    }

    /// Returns the short form that people write: `alpine:latest`.
    ///
    /// Reading it again gives the same reference.
    pub fn familiar(&self) -> String {
        self.with_name(self.familiar_repository())
    }

    /// Returns the short form of the repository alone: `alpine`.
    pub fn familiar_repository(&self) -> &str {
        if self.domain() != DEFAULT_DOMAIN {
            return &self.name;
        }
        let path = self.path();
        match path.split_once('/') {
            Some((OFFICIAL, rest)) if !rest.contains('/') => rest,
            // Without its domain this would be read as a name of another registry.
            Some((first, _)) if grammar::looks_like_domain(first) => &self.name,
            _ => path,
        }
    }

    fn with_name(&self, name: &str) -> String {
        let mut text = name.to_owned();
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(&digest.to_string());
        }
        text
    }
}

/// Splits `name@digest`.
fn split_digest(text: &str) -> Result<(&str, Option<Digest>), ParseReferenceError> {
    match text.split_once('@') {
        None => Ok((text, None)),
        Some((rest, digest)) => match digest.parse() {
            Ok(digest) => Ok((rest, Some(digest))),
            Err(source) => Err(ParseReferenceError::Digest {
                text: shorten(text),
                source,
            }),
        },
    }
}

/// Splits `name:tag`; a colon before the last slash belongs to a port.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (text, None),
    }
}

/// Splits off the domain, or supplies the default one, and completes official names.
fn split_domain(text: &str) -> (&str, String) {
    let (domain, path) = match text.split_once('/') {
        Some((first, rest)) if grammar::looks_like_domain(first) => (first, rest),
        _ => (DEFAULT_DOMAIN, text),
    };
    let domain = if domain == LEGACY_DOMAIN {
        DEFAULT_DOMAIN
    } else {
        domain
    };
    if domain == DEFAULT_DOMAIN && !path.contains('/') {
        return (domain, format!("{OFFICIAL}/{path}"));
    }
    (domain, path.to_owned())
}

fn check_parts(
    text: &str,
    domain: &str,
    path: &str,
    tag: Option<&str>,
) -> Result<(), ParseReferenceError> {
    let shown = || shorten(text);
    if !grammar::is_domain(domain) {
        return Err(ParseReferenceError::Domain {
            text: shown(),
            domain: shorten(domain),
        });
    }
    if !grammar::is_path(path) {
        let lower = path.to_ascii_lowercase();
        if grammar::is_path(&lower) {
            return Err(ParseReferenceError::UpperCase {
                text: shown(),
                hint: shorten(&lower_name(text, tag)),
            });
        }
        let path = path.strip_prefix("library/").unwrap_or(path);
        return Err(ParseReferenceError::Path {
            text: shown(),
            path: shorten(path),
        });
    }
    match tag {
        Some(tag) if !grammar::is_tag(tag) => Err(ParseReferenceError::Tag {
            text: shown(),
            tag: shorten(tag),
        }),
        _ => Ok(()),
    }
}

/// The text with everything but its tag in lower case.
fn lower_name(text: &str, tag: Option<&str>) -> String {
    match tag.and_then(|tag| {
        text.split_once(&format!(":{tag}"))
            .map(|parts| (parts, tag))
    }) {
        Some(((name, rest), tag)) => format!("{}:{tag}{rest}", name.to_ascii_lowercase()),
        None => text.to_ascii_lowercase(),
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_name(&self.name))
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reference({self})")
    }
}

impl FromStr for Reference {
    type Err = ParseReferenceError;

    fn from_str(text: &str) -> Result<Reference, ParseReferenceError> {
        Reference::parse(text)
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Reference, D::Error> {
        let text = String::deserialize(deserializer)?;
        Reference::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
