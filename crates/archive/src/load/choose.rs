//! Which images of a source are loaded, and under which names.

use std::collections::BTreeSet;

use lith_store::{ImageId, Reference};

use crate::LoadError;
use crate::location::{Candidate, Wanted};
use crate::naming;
use crate::oci::Platform;
use crate::save::label;
use crate::source::{SourceImage, SourceIndex};

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
    /// Leaves only the images that were asked for, in the archive's order, of a source without
    /// indexes.
    pub(crate) fn apply(&self, images: &mut Vec<SourceImage>) -> Result<(), LoadError> {
        self.apply_to(images, &mut Vec::new())
    }

    /// Leaves only the images and indexes that were asked for, and the images of these indexes,
    /// in the archive's order.
    pub(crate) fn apply_to(
        &self,
        images: &mut Vec<SourceImage>,
        indexes: &mut Vec<SourceIndex>,
    ) -> Result<(), LoadError> {
        let targets = Targets::of(images, indexes);
        let mut chosen: BTreeSet<usize> = (0..targets.0.len()).collect();
        if let Some(wanted) = self.one {
            chosen = targets.one(wanted)?;
        }
        if !self.images.is_empty() {
            let named = targets.named(self.images, &chosen)?;
            chosen.retain(|target| named.contains(target));
        }
        let mut number = 0;
        let mut is_chosen = || {
            number += 1;
            chosen.contains(&(number - 1))
        };
        let own: Vec<bool> = images.iter().map(|_| is_chosen()).collect();
        let all = indexes.len();
        indexes.retain(|_| is_chosen());
        // Without a choice an image that only an index names goes with the index.
        let narrowed = indexes.len() < all || own.contains(&false);
        let mut own = own.into_iter();
        images.retain(|image| {
            let own = own.next().unwrap_or_default();
            !narrowed || own || indexes.iter().any(|index| index.has(&image.id))
        });
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
            Some(platform) => format!("{platform} ({})", label(&image.names, &image.id)),
            None => {
                let label = label(&image.names, &image.id);
                format!("nothing that is said ({label})")
            }
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

/// What can be asked for: images, then indexes.
struct Targets<'a>(Vec<(ImageId, &'a [Reference])>);

impl<'a> Targets<'a> {
    fn of(images: &'a [SourceImage], indexes: &'a [SourceIndex]) -> Targets<'a> {
        let images = images.iter().map(|image| (image.id, &image.names[..]));
        let indexes = indexes.iter().map(|index| (index.id, &index.names[..]));
        Targets(images.chain(indexes).collect())
    }

    /// The one that the source's text names.
    fn one(&self, wanted: &Wanted) -> Result<BTreeSet<usize>, LoadError> {
        let candidates = self.0.iter().map(|(id, names)| Candidate {
            id: Some(*id),
            names,
            digests: &[],
        });
        let found = wanted.find(&candidates.collect::<Vec<_>>());
        let ids = found.iter().filter_map(|at| self.0.get(*at));
        let ids: BTreeSet<ImageId> = ids.map(|(id, _)| *id).collect();
        match ids.len() {
            0 => Err(self.not_there(&wanted.to_string())),
            1 => Ok(found.into_iter().collect()),
            _ => Err(LoadError::AmbiguousId {
                wanted: wanted.to_string(),
                candidates: ids.into_iter().collect(),
            }),
        }
    }

    /// All that the command names among those that are left.
    fn named(
        &self,
        wanted: &[String],
        left: &BTreeSet<usize>,
    ) -> Result<BTreeSet<usize>, LoadError> {
        let mut chosen = BTreeSet::new();
        for text in wanted {
            let targets = self.0.iter().enumerate();
            let fits = targets.filter(|(number, (id, names))| {
                left.contains(number) && is_called(names, &id.hex(), text)
            });
            let fits: Vec<usize> = fits.map(|(number, _)| number).collect();
            if fits.is_empty() {
                return Err(self.not_there(text));
            }
            chosen.extend(fits);
        }
        Ok(chosen)
    }

    fn not_there(&self, wanted: &str) -> LoadError {
        let available = self.0.iter().map(|(id, names)| label(names, id));
        LoadError::NotInArchive {
            wanted: wanted.to_owned(),
            available: available.collect(),
        }
    }
}

/// True when `text` is one of the names, the repository of one, an ID or the start of it.
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

/// Gives the one image or index there is a name instead of those it has, and further ones.
pub(crate) fn rename(
    images: &mut [SourceImage],
    indexes: &mut [SourceIndex],
    name: Option<&Reference>,
    tags: &[Reference],
) -> Result<(), LoadError> {
    if name.is_some() {
        let names = images.iter_mut().map(|image| &mut image.names);
        let names = names.chain(indexes.iter_mut().map(|index| &mut index.names));
        names.for_each(Vec::clear);
    }
    // A name that cannot be one is refused as a tag is.
    let tags: Vec<&Reference> = tags.iter().chain(name).collect();
    if tags.is_empty() {
        return Ok(());
    }
    if let Some(name) = naming::not_a_tag(tags.iter().copied()) {
        let name = name.clone();
        return Err(LoadError::NotATag { name });
    }
    naming::put_first(only(images, indexes)?, &tags);
    Ok(())
}

/// The names of the only image or index; images of an index are part of it.
fn only<'a>(
    images: &'a mut [SourceImage],
    indexes: &'a mut [SourceIndex],
) -> Result<&'a mut Vec<Reference>, LoadError> {
    let lone = images
        .iter()
        .filter(|image| !indexes.iter().any(|index| index.has(&image.id)));
    let mut ids: BTreeSet<ImageId> = lone.map(|image| image.id).collect();
    ids.extend(indexes.iter().map(|index| index.id));
    let several = LoadError::TagsNeedOneImage { images: ids.len() };
    match (ids.len(), indexes.first_mut(), images.first_mut()) {
        (1, Some(index), _) => Ok(&mut index.names),
        (1, None, Some(image)) => Ok(&mut image.names),
        _ => Err(several),
    }
}
