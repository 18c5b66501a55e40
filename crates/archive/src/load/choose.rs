//! Which images of a source are loaded, and under which names.

use std::collections::BTreeSet;

use lith_store::{ImageId, Reference};

use crate::LoadError;
use crate::location::{Candidate, Wanted};
use crate::oci::Platform;
use crate::source::SourceImage;

/// What is to be loaded of a source.
#[derive(Clone, Copy)]
pub(crate) struct Choice<'a> {
    /// The image that the source's text names.
    pub(crate) one: Option<&'a Wanted>,
    /// The images that the command names; all when there are none.
    pub(crate) images: &'a [String],
    /// The platform that images must be for.
    pub(crate) platform: Option<&'a Platform>,
}

impl Choice<'_> {
    /// Leaves only the images that were asked for, in the archive's order.
    pub(crate) fn apply(&self, images: &mut Vec<SourceImage>) -> Result<(), LoadError> {
        if let Some(wanted) = self.one {
            choose_one(images, wanted)?;
        }
        choose(images, self.images)?;
        match self.platform {
            Some(platform) => choose_platform(images, platform),
            None => Ok(()),
        }
    }
}

fn choose_platform(images: &mut Vec<SourceImage>, wanted: &Platform) -> Result<(), LoadError> {
    let fits = |image: &SourceImage| image.platform().is_some_and(|own| own.fits(wanted));
    if !images.is_empty() && !images.iter().any(fits) {
        let shown = |image: &SourceImage| match image.platform() {
            Some(platform) => format!("{platform} ({})", label(image)),
            None => format!("nothing that is said ({})", label(image)),
        };
        return Err(LoadError::NoPlatform {
            image: "an image".into(),
            wanted: Box::new(wanted.clone()),
            available: images.iter().map(shown).collect(),
        });
    }
    images.retain(fits);
    Ok(())
}

fn choose_one(images: &mut Vec<SourceImage>, wanted: &Wanted) -> Result<(), LoadError> {
    let candidates = images.iter().map(|image| Candidate {
        id: Some(image.id),
        names: &image.names,
        digests: &[],
    });
    let candidates: Vec<_> = candidates.collect();
    let found = wanted.find(&candidates);
    let ids = found.iter().filter_map(|at| images.get(*at));
    let ids: BTreeSet<ImageId> = ids.map(|image| image.id).collect();
    match ids.len() {
        0 => Err(not_in_archive(images, &wanted.to_string())),
        1 => {
            let mut index = 0;
            images.retain(|_| {
                index += 1;
                found.contains(&(index - 1))
            });
            Ok(())
        }
        _ => Err(LoadError::AmbiguousId {
            wanted: wanted.to_string(),
            candidates: ids.into_iter().collect(),
        }),
    }
}

fn not_in_archive(images: &[SourceImage], wanted: &str) -> LoadError {
    LoadError::NotInArchive {
        wanted: wanted.to_owned(),
        available: images.iter().map(label).collect(),
    }
}

fn label(image: &SourceImage) -> String {
    match image.names.first() {
        Some(name) => name.familiar(),
        None => image.id.to_string(),
    }
}

fn choose(images: &mut Vec<SourceImage>, wanted: &[String]) -> Result<(), LoadError> {
    if wanted.is_empty() {
        return Ok(());
    }
    let mut chosen = BTreeSet::new();
    for text in wanted {
        let before = chosen.len();
        let fits = images
            .iter()
            .enumerate()
            .filter(|(_, image)| is(image, text));
        chosen.extend(fits.map(|(index, _)| index));
        let again = images
            .iter()
            .enumerate()
            .any(|(index, image)| chosen.contains(&index) && is(image, text));
        if chosen.len() == before && !again {
            return Err(not_in_archive(images, text));
        }
    }
    let mut index = 0;
    images.retain(|_| {
        index += 1;
        chosen.contains(&(index - 1))
    });
    Ok(())
}

/// True when `text` is a name of the image, its repository, its ID or the start of it.
fn is(image: &SourceImage, text: &str) -> bool {
    is_called(&image.names, &image.id.hex(), text)
}

/// The same for an image of which only names and the digits of its ID are known.
pub(crate) fn is_called(names: &[Reference], id: &str, text: &str) -> bool {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    if let Ok(name) = Reference::parse_bare(text) {
        let fits = |own: &Reference| {
            own.repository() == name.repository()
                && (name.tag().is_none() || own.tag() == name.tag())
        };
        if name.digest().is_none() && names.iter().any(fits) {
            return true;
        }
    }
    !hex.is_empty() && id.starts_with(hex)
}

/// Gives the one image there is a name instead of those it has, and further ones.
pub(crate) fn rename(
    images: &mut [SourceImage],
    name: Option<&Reference>,
    tags: &[Reference],
) -> Result<(), LoadError> {
    if let Some(name) = name {
        for image in &mut *images {
            image.names.clear();
        }
        // A name that cannot be one is refused as a tag is.
        add_tags(images, std::slice::from_ref(name))?;
    }
    add_tags(images, tags)
}

fn add_tags(images: &mut [SourceImage], tags: &[Reference]) -> Result<(), LoadError> {
    if tags.is_empty() {
        return Ok(());
    }
    let ids: BTreeSet<ImageId> = images.iter().map(|image| image.id).collect();
    if ids.len() != 1 {
        return Err(LoadError::TagsNeedOneImage { images: ids.len() });
    }
    for tag in tags {
        if tag.tag().is_none() || tag.digest().is_some() {
            return Err(LoadError::NotATag { name: tag.clone() });
        }
    }
    if let Some(image) = images.first_mut() {
        let archive = std::mem::take(&mut image.names);
        for name in tags.iter().cloned().chain(archive) {
            if !image.names.contains(&name) {
                image.names.push(name);
            }
        }
    }
    Ok(())
}
