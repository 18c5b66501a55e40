//! Loading: from any source into the store, all of it or nothing.

mod choose;
mod early;
mod passing;
mod place;
mod plan;
mod report;
mod shelf;
mod work;

use std::time::Instant;

use lith_graph::{Event, Graph, Observer};
use lith_store::{EventKind, ImageId, ImageRecord, Published, Reference, Session};

use crate::source::{Description, SourceImage};
use crate::{Input, LoadError};
use choose::{add_tags, choose};
use passing::Passing;
use place::{Placer, Stack};
pub use report::{LoadReport, LoadedImage};

/// What to load, and how.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct LoadOptions {
    /// Only these images of the archive, by name or by ID; all when empty.
    pub images: Vec<String>,
    /// Further names, for an archive with one image.
    pub tags: Vec<Reference>,
    /// Leaves names alone that point to other images already.
    pub no_clobber: bool,
}

/// Loads an archive into the store of `graph`.
///
/// Layers that the store has are not read. Every other one is checked against its image's
/// config while it is applied, and images and names appear when all their layers stand.
///
/// # Errors
/// Whatever goes wrong, the store is as it was before.
pub fn load(
    graph: &Graph,
    source: Input,
    options: &LoadOptions,
    observer: &dyn Observer,
) -> Result<LoadReport, LoadError> {
    let session = graph.store().begin()?;
    let mut work = Work {
        graph,
        session: &session,
        images: Vec::new(),
    };
    match work.load(source, options, observer) {
        Ok(report) => {
            // All stands: whoever opens the store next clears away what stays of the work.
            note(session.end(), "cannot end the session of a load");
            record_events(graph, &report);
            Ok(report)
        }
        Err(error) => {
            work.undo();
            recover(graph, session);
            Err(error)
        }
    }
}

/// Undoes what stopped half-way, and sweeps the layers that no image came to claim.
fn recover(graph: &Graph, session: Session) {
    let mut remove_tree = |cache: &str| match cache.parse() {
        Ok(cache) => Ok(graph.driver().remove(&cache)?),
        // The driver cannot have given it, so there is nothing to remove.
        Err(_) => Ok(()),
    };
    // What stays now is found by whoever opens the store next.
    let recovered = session.into_dead().recover(&mut remove_tree);
    note(
        recovered.map(drop),
        "cannot clean up after a load that failed",
    );
}

/// A load that is under way, and what it has done to the store so far.
struct Work<'a> {
    graph: &'a Graph,
    session: &'a Session,
    images: Vec<Done>,
}

/// An image that was published or named.
struct Done {
    id: ImageId,
    new: bool,
    /// Where its names pointed before.
    names: Vec<(Reference, Option<ImageId>)>,
}

impl Work<'_> {
    fn load(
        &mut self,
        source: Input,
        options: &LoadOptions,
        observer: &dyn Observer,
    ) -> Result<LoadReport, LoadError> {
        let mut since = Instant::now();
        let (graph, session) = (self.graph, self.session);
        let mut passing = Passing::new(graph, session, observer, &options.images);
        let (described, opener) = source.open()?.describe(&mut passing)?;
        let Description {
            mut images,
            mut warnings,
            cut_off,
        } = described;
        if let Some(offset) = cut_off {
            warnings.push(format!(
                "the archive ends at offset {offset} without an end mark"
            ));
        }
        for message in &warnings {
            observer.event(&Event::Warning { message });
        }
        choose(&mut images, &options.images)?;
        add_tags(&mut images, &options.tags)?;
        let passage = passing.finish()?;
        let mut placer = Placer::new(graph, session, observer, &*opener, passage, cut_off);
        let stacks = placer.place(&images)?;
        let mut report = LoadReport {
            images: Vec::new(),
            warnings,
        };
        for (image, stack) in images.iter().zip(&stacks) {
            if observer.cancelled() {
                return Err(LoadError::Cancelled);
            }
            let names = self.names(image, options.no_clobber, &mut report.warnings)?;
            let mut loaded = self.publish(image, stack, names)?;
            // Layers are read for all images together: the first one is charged with that.
            loaded.seconds = since.elapsed().as_secs_f64();
            since = Instant::now();
            report.images.push(loaded);
        }
        Ok(report)
    }

    /// The names that the image is to have, and where they point now.
    fn names(
        &self,
        image: &SourceImage,
        no_clobber: bool,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<(Reference, Option<ImageId>)>, LoadError> {
        let mut names = Vec::new();
        for name in &image.names {
            let before = self.graph.store().name(name)?;
            match before {
                Some(other) if no_clobber && other != image.id => {
                    warnings.push(format!("{} still points to {other}", name.familiar()));
                }
                before => names.push((name.clone(), before)),
            }
        }
        Ok(names)
    }

    fn publish(
        &mut self,
        image: &SourceImage,
        stack: &Stack,
        before: Vec<(Reference, Option<ImageId>)>,
    ) -> Result<LoadedImage, LoadError> {
        let record = ImageRecord {
            id: image.id,
            config: image.config.clone(),
            manifest: None,
            layers: stack.layers.clone(),
            parent: image.parent,
            created: image.facts.created.clone(),
            architecture: image.facts.architecture.clone(),
            os: image.facts.os.clone(),
            variant: image.facts.variant.clone(),
            size: stack.size,
            extra: image.extra.clone(),
        };
        let names: Vec<Reference> = before.iter().map(|(name, _)| name.clone()).collect();
        let published = self
            .graph
            .store()
            .publish_image_as(self.session, &record, &names)?;
        let new = published.published == Published::New;
        self.images.push(Done {
            id: image.id,
            new,
            names: before,
        });
        Ok(LoadedImage {
            id: image.id,
            names,
            moved: published.moved,
            layers_new: stack.new,
            layers_reused: stack.reused,
            bytes: stack.bytes,
            seconds: 0.0,
        })
    }

    /// Takes names and images back, the last first.
    fn undo(&self) {
        let store = self.graph.store();
        for done in self.images.iter().rev() {
            for (name, before) in &done.names {
                let undone = match before {
                    Some(before) => store.set_name(self.session, name, before).map(drop),
                    None => store.remove_name(self.session, name).map(drop),
                };
                note(undone, "cannot take back a name of a load that failed");
            }
            if done.new {
                let undone = store.remove_image(self.session, &done.id).map(drop);
                note(undone, "cannot take back an image of a load that failed");
            }
        }
    }
}

fn note<E: std::fmt::Display>(undone: Result<(), E>, message: &str) {
    if let Err(error) = undone {
        tracing::warn!(%error, "{message}");
    }
}

/// The load stands whether or not its events can be written down.
fn record_events(graph: &Graph, report: &LoadReport) {
    for image in &report.images {
        let name = image.names.first().map(Reference::to_string);
        let recorded =
            graph
                .store()
                .record_event(EventKind::Load, Some(&image.id), name.as_deref());
        note(recorded.map(drop), "cannot record an event");
    }
}
