//! Which images of an engine's store are to be loaded.

use std::collections::BTreeSet;
use std::path::Path;

use lith_store::{Digest, ImageId, Reference};

use super::EngineError;
use crate::Wanted;
use crate::location::Candidate;

/// An image of a store, as its list has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    /// None when the list's ID is none.
    pub(super) id: Option<ImageId>,
    /// The ID as it stands there.
    pub(super) text: String,
    /// Names with tag or digest.
    pub(super) names: Vec<Reference>,
    /// Digests of its manifests.
    pub(super) digests: Vec<Digest>,
}

/// The positions of the images that are wanted: the one that the location names, and of those
/// the ones that the command names; all when neither does.
pub(super) fn pick(
    path: &Path,
    listed: &[Listed],
    wanted: Option<&Wanted>,
    images: &[String],
) -> Result<BTreeSet<usize>, EngineError> {
    if listed.is_empty() {
        let path = path.to_owned();
        return Err(EngineError::Empty { path });
    }
    let mut picked: BTreeSet<usize> = match wanted {
        Some(wanted) => one(path, listed, wanted)?,
        None => (0..listed.len()).collect(),
    };
    if images.is_empty() {
        return Ok(picked);
    }
    let mut named = BTreeSet::new();
    for text in images {
        let fits = |image: &Listed| crate::load::is_called(&image.names, &image.text, text);
        let fitting = listed.iter().enumerate().filter(|(_, image)| fits(image));
        let fitting: Vec<usize> = fitting.map(|(index, _)| index).collect();
        if fitting.iter().all(|index| !picked.contains(index)) {
            return Err(no_image(path, listed, text.clone()));
        }
        named.extend(fitting);
    }
    picked.retain(|index| named.contains(index));
    Ok(picked)
}

fn one(path: &Path, listed: &[Listed], wanted: &Wanted) -> Result<BTreeSet<usize>, EngineError> {
    let candidates = listed.iter().map(|image| Candidate {
        id: image.id,
        names: &image.names,
        digests: &image.digests,
    });
    let found = wanted.find(&candidates.collect::<Vec<_>>());
    match found.len() {
        0 => Err(no_image(path, listed, wanted.to_string())),
        1 => Ok(found.into_iter().collect()),
        _ => {
            let candidates = found.iter().filter_map(|index| listed.get(*index));
            Err(EngineError::Ambiguous {
                wanted: wanted.to_string(),
                candidates: candidates.map(|image| image.text.clone()).collect(),
            })
        }
    }
}

fn no_image(path: &Path, listed: &[Listed], wanted: String) -> EngineError {
    let name = |image: &Listed| match image.names.first() {
        Some(name) => name.familiar(),
        None => image.text.clone(),
    };
    EngineError::NoImage {
        path: path.to_owned(),
        wanted,
        available: listed.iter().map(name).collect(),
    }
}

/// Names of a list: those that name an image for good, and what to tell of the others.
pub(super) fn names<'a>(
    texts: impl IntoIterator<Item = &'a str>,
    image: &str,
    warnings: &mut Vec<String>,
) -> Vec<Reference> {
    let mut names = Vec::new();
    for text in texts {
        match Reference::parse(text) {
            Ok(name) if !names.contains(&name) => names.push(name),
            Ok(_) => {}
            Err(error) => warnings.push(format!("image {image}: a name is left out: {error}")),
        }
    }
    names
}

/// The names that the image gets here: a digest is no name that could be given.
pub(super) fn tags(names: &[Reference]) -> Vec<Reference> {
    let tagged = names
        .iter()
        .filter(|name| name.tag().is_some() && name.digest().is_none());
    tagged.cloned().collect()
}
