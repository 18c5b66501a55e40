//! Which image of a source its text names.

use std::fmt;

use lith_store::{Digest, ImageId, ParseReferenceError, Reference};

/// Which image is meant: by name, by ID, or by what may be either.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    text: String,
    pub(crate) name: Option<Reference>,
    /// Hex digits, at most 64.
    pub(crate) id: Option<String>,
}

impl Wanted {
    /// Reads an image's name or ID; a name without tag and digest gets the tag `latest`.
    ///
    /// # Errors
    /// What is neither.
    pub fn parse(text: &str) -> Result<Wanted, ParseReferenceError> {
        let is_hex = |text: &str| {
            (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        let bare = text.strip_prefix("sha256:").or(text.strip_prefix('@'));
        let id = match bare {
            Some(hex) if is_hex(hex) => Some(hex),
            _ if text.len() == 64 && is_hex(text) => Some(text),
            _ => None,
        };
        if let Some(id) = id {
            return Ok(Wanted {
                text: text.to_owned(),
                name: None,
                id: Some(id.to_ascii_lowercase()),
            });
        }
        Ok(Wanted {
            name: Some(Reference::parse(text)?),
            id: is_hex(text).then(|| text.to_owned()),
            text: text.to_owned(),
        })
    }

    /// The name that it is, or may be.
    pub fn name(&self) -> Option<&Reference> {
        self.name.as_ref()
    }

    /// The image among `images` that is meant, by its position there.
    ///
    /// A name is looked for first. Several images fit only when their IDs begin alike.
    pub(crate) fn find(&self, images: &[Candidate<'_>]) -> Vec<usize> {
        let all = |fits: &dyn Fn(&Candidate<'_>) -> bool| -> Vec<usize> {
            let fitting = images.iter().enumerate().filter(|(_, image)| fits(image));
            fitting.map(|(index, _)| index).collect()
        };
        if let Some(name) = &self.name {
            let named = all(&|image| image.is_named(name));
            if !named.is_empty() {
                return named;
            }
        }
        let Some(id) = &self.id else {
            return Vec::new();
        };
        all(&|image| {
            image
                .id
                .is_some_and(|own| own.hex().starts_with(id.as_str()))
        })
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// An image as far as it matters for choosing.
pub(crate) struct Candidate<'a> {
    pub(crate) id: Option<ImageId>,
    pub(crate) names: &'a [Reference],
    /// Digests of its manifests.
    pub(crate) digests: &'a [Digest],
}

impl Candidate<'_> {
    fn is_named(&self, wanted: &Reference) -> bool {
        let repository = |own: &&Reference| own.repository() == wanted.repository();
        let mut own = self.names.iter().filter(repository);
        match wanted.digest() {
            None => own.any(|own| own.tag() == wanted.tag()),
            Some(digest) => {
                own.any(|own| own.digest() == Some(digest) || self.digests.contains(digest))
            }
        }
    }
}
