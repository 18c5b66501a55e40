//! Loading: from any source into the store, all of it or nothing.

mod choose;
mod early;
mod passing;
mod place;
mod plan;
mod proof;
mod report;
mod shelf;
mod transport;
mod work;

use std::time::Instant;

use lith_graph::{Event, Graph, Observer};
use lith_store::{EventKind, ImageId, ImageIndex, ImageRecord, NewImage, Reference, Session};

use crate::events;
use crate::input::Opened;
use crate::oci::Platform;
use crate::source::{Ask, Description, SourceImage, SourceIndex};
use crate::{Input, LoadError, within};
pub(crate) use choose::is_called;
pub(crate) use choose::{Choice, rename};
use passing::Passing;
use place::{Placer, Stack};
use proof::Proof;
pub(crate) use report::familiar;
pub use report::{LoadReport, LoadedImage};
pub(crate) use transport::mismatch;

/// What to load, and how.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct LoadOptions {
    /// Only these images of the archive, by name or by ID; all when empty.
    pub images: Vec<String>,
    /// The name of the image, instead of those that the archive gives, for an archive with one.
    pub name: Option<Reference>,
    /// Further names, for an archive with one image.
    pub tags: Vec<Reference>,
    /// Only images for this platform, and of each image for several that one; this machine's
    /// where there are several and nothing is said.
    pub platform: Option<Platform>,
    /// Of an image for several platforms, loads the images for all of them, and the name points
    /// to the index that lists them. Nothing else than usual where `platform` is given.
    pub all_platforms: bool,
    /// Leaves names alone that point to other images already.
    pub no_clobber: bool,
    /// Reads layers that the store has, too, where they are kept and in the source. What is damaged in
    /// the store is made anew, what is damaged in the source refused.
    pub verify: bool,
}

/// Loads an archive into the store of `graph`.
///
/// Layers that the store has are not read, unless [`LoadOptions::verify`] asks for it. Every other one is checked against its image's
/// config while it is applied. Images and names appear when all layers stand, all in one step:
/// a kill leaves all of them or none.
///
/// # Errors
/// Whatever goes wrong, the store is as it was before.
pub fn load(
    graph: &Graph,
    source: Input,
    options: &LoadOptions,
    observer: &dyn Observer,
) -> Result<LoadReport, LoadError> {
    let report = within::session(graph, |session| {
        let work = Work {
            graph,
            session,
            options,
            observer,
        };
        work.load(source)
    })?;
    let images = report.images.iter();
    let images = images.map(|image| (&image.id, image.names.as_slice()));
    events::record(graph, EventKind::Load, images);
    Ok(report)
}

/// A load that is under way.
struct Work<'a> {
    graph: &'a Graph,
    session: &'a Session,
    options: &'a LoadOptions,
    observer: &'a dyn Observer,
}

impl Work<'_> {
    fn load(&self, source: Input) -> Result<LoadReport, LoadError> {
        let since = Instant::now();
        let (graph, session, observer) = (self.graph, self.session, self.observer);
        let Opened { source, one, entry } = source.open()?;
        let choice = Choice {
            one: one.as_ref(),
            images: &self.options.images,
            platform: self.options.platform.as_ref(),
        };
        let proof = Proof::new(graph, observer, self.options.verify);
        let mut passing = Passing::new((graph, session, observer), choice, &proof);
        let ask = Ask {
            images: &self.options.images,
            entry: entry.as_deref(),
            platform: self.options.platform.as_ref(),
            all_platforms: self.options.all_platforms,
            cut_off: false,
            observer,
        };
        let (mut described, opener) = source.describe(&mut passing, &ask)?;
        let mut warnings = described.take_warnings();
        let Description {
            mut images,
            mut indexes,
            cut_off,
            ..
        } = described;
        for message in &warnings {
            observer.event(&Event::Warning { message });
        }
        choice.apply_to(&mut images, &mut indexes)?;
        let (name, tags) = (self.options.name.as_ref(), &self.options.tags);
        rename(&mut images, &mut indexes, name, tags)?;
        let passage = passing.finish()?;
        let mut placer = Placer::new((graph, session, observer), &*opener, passage, cut_off);
        let stacks = placer.place(&images, &proof)?;
        warnings.extend(placer.into_warnings());
        let mut new = Vec::with_capacity(images.len());
        for (image, stack) in images.into_iter().zip(&stacks) {
            new.push(self.new_image(image, stack, &mut warnings)?);
        }
        for index in indexes {
            new.push(self.new_index(index, &new, &mut warnings)?);
        }
        if observer.cancelled() {
            return Err(LoadError::Cancelled);
        }
        let published = graph.store().publish_images(session, &new)?;
        let mut images = report::images(&new, &stacks, published);
        if let Some(first) = images.first_mut() {
            first.seconds = since.elapsed().as_secs_f64();
        }
        Ok(LoadReport { images, warnings })
    }

    fn new_image(
        &self,
        image: SourceImage,
        stack: &Stack,
        warnings: &mut Vec<String>,
    ) -> Result<NewImage, LoadError> {
        let names = self.free(image.names, &image.id, warnings)?;
        let record = ImageRecord {
            id: image.id,
            config: image.config,
            manifest: image.manifest.map(|manifest| manifest.bytes),
            layers: stack.layers.clone(),
            parent: image.parent,
            created: image.facts.created,
            architecture: image.facts.architecture,
            os: image.facts.os,
            variant: image.facts.variant,
            size: stack.size,
            extra: image.extra,
            index: None,
        };
        Ok(NewImage { record, names })
    }

    fn new_index(
        &self,
        index: SourceIndex,
        images: &[NewImage],
        warnings: &mut Vec<String>,
    ) -> Result<NewImage, LoadError> {
        let names = self.free(index.names, &index.id, warnings)?;
        let is_member = |image: &&NewImage| {
            let mut members = index.members.iter();
            members.any(|member| member.image == image.record.id)
        };
        let members: Vec<&ImageRecord> = images
            .iter()
            .filter(is_member)
            .map(|image| &image.record)
            .collect();
        let blobs = index.blobs.into_iter();
        let record = ImageRecord {
            id: index.id,
            config: Vec::new(),
            manifest: None,
            layers: Vec::new(),
            parent: None,
            created: members.iter().find_map(|member| member.created.clone()),
            architecture: None,
            os: None,
            variant: None,
            size: members.iter().map(|member| member.size).sum(),
            extra: blobs.map(|(digest, bytes)| (digest.hex(), bytes)).collect(),
            index: Some(ImageIndex {
                document: index.document,
                members: index.members,
            }),
        };
        Ok(NewImage { record, names })
    }

    /// The names that may point to `id`, all but those that are taken where these are to stay.
    fn free(
        &self,
        names: Vec<Reference>,
        id: &ImageId,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<Reference>, LoadError> {
        if !self.options.no_clobber {
            return Ok(names);
        }
        let mut free = Vec::with_capacity(names.len());
        for name in names {
            match self.graph.store().name(&name)? {
                Some(other) if other != *id => {
                    warnings.push(format!("{} still points to {other}", name.familiar()));
                }
                _ => free.push(name),
            }
        }
        Ok(free)
    }
}
