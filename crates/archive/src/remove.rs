//! Taking names and images out of the store, as somebody asked.

use std::collections::{BTreeMap, BTreeSet};

use lith_graph::{Graph, Observer};
use lith_store::{ImageId, LayerId, Reference, Store};
use serde::{Serialize, Serializer};

use crate::kept::{Because, Item, Kept};
use crate::select::{self, Resolved};
use crate::taking::{TakenImage, Taking};
use crate::{RemoveError, SelectError, ids, mounted, writable};

/// How images are removed.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RemoveOptions {
    /// By its ID also an image that has several names, and one that is mounted: its layers
    /// then stay until they are unmounted.
    pub force: bool,
}

/// What was removed, and what stays.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct RemoveReport {
    /// Names that are gone, and where they pointed.
    #[serde(serialize_with = "pairs")]
    pub untagged: Vec<(Reference, ImageId)>,
    /// Images that are gone.
    pub deleted: Vec<ImageId>,
    /// Layers that are gone because nobody needs them any more.
    #[serde(serialize_with = "ids::list")]
    pub layers: Vec<LayerId>,
    /// What stays though it was asked for or belonged to what was.
    pub kept: Vec<Kept>,
}

fn pairs<S: Serializer>(list: &[(Reference, ImageId)], out: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Untagged {
        name: String,
        image: ImageId,
    }
    out.collect_seq(list.iter().map(|(name, image)| Untagged {
        name: name.familiar(),
        image: *image,
    }))
}

/// Removes images by name or ID.
///
/// By name: that name, and the image with its last one. A name without a tag means `latest`.
/// By ID: an image that has one name or none, else only with force. Then all layers that
/// nobody needs any more. Layers that a session holds, a save at work say, stay until it ends.
///
/// # Errors
/// Before anything is removed: what is not there, what is not clear, an image asked by ID that
/// has several names, an image that is mounted. After that: [`RemoveError::Stopped`] with what
/// was done; what was begun is finished when the store is opened the next time.
pub fn remove(
    graph: &Graph,
    wanted: &[String],
    options: &RemoveOptions,
    observer: &dyn Observer,
) -> Result<RemoveReport, RemoveError> {
    let plan = plan(graph, wanted, options)?;
    run(graph, observer, |work| {
        let mut candidates = Vec::new();
        for found in &plan {
            work.pause()?;
            candidates.extend(work.one(found)?);
        }
        work.sweep(candidates)
    })
}

/// Removes names; an image that loses its last name stays, nameless.
///
/// # Errors
/// Before anything is removed: what is not the name of an image here. After that:
/// [`RemoveError::Stopped`] with what was done.
pub fn untag(
    graph: &Graph,
    wanted: &[String],
    observer: &dyn Observer,
) -> Result<RemoveReport, RemoveError> {
    let store = graph.store();
    let mut names: Vec<(Reference, ImageId)> = Vec::new();
    for text in wanted {
        let found = find(store, text)?;
        let Some(name) = found.name else {
            let names = store.names_of(&found.id)?;
            return Err(RemoveError::NotAName {
                wanted: text.clone(),
                names: names.iter().map(Reference::familiar).collect(),
            });
        };
        if !names.iter().any(|(there, _)| *there == name) {
            names.push((name, found.id));
        }
    }
    run(graph, observer, |work| {
        for (name, id) in &names {
            work.pause()?;
            work.name(name, id)?;
        }
        Ok(())
    })
}

/// Finds everything that is asked for, and refuses what must not go.
fn plan(
    graph: &Graph,
    wanted: &[String],
    options: &RemoveOptions,
) -> Result<Vec<Resolved>, RemoveError> {
    let store = graph.store();
    let mut plan: Vec<Resolved> = Vec::new();
    for text in wanted {
        let found = find(store, text)?;
        if !plan.contains(&found) {
            plan.push(found);
        }
    }
    if options.force {
        return Ok(plan);
    }
    let mounts = mounted::mounts(graph)?;
    let written = writable::writable_images(graph)?;
    for (id, names) in by_image(&plan) {
        let indexes = store.indexes_of(&id)?;
        if names.is_none() && !indexes.is_empty() {
            return Err(RemoveError::InIndex {
                image: id,
                indexes: called(store, &indexes)?,
            });
        }
        let all = store.names_of(&id)?;
        if names.is_none() && all.len() > 1 {
            let names = all.iter().map(Reference::familiar).collect();
            return Err(RemoveError::SeveralNames { image: id, names });
        }
        let goes = names.is_none_or(|names| all.iter().all(|name| names.contains(name)));
        let members = store.members_of(&id)?;
        let shown: Vec<&ImageId> = members
            .iter()
            .map(|member| &member.image)
            .chain([&id])
            .collect();
        let places = mounted::places(&mounts, &shown);
        if goes && !places.is_empty() {
            return Err(RemoveError::Mounted { image: id, places });
        }
        let layers = writable::over_images(&written, &shown);
        if goes && !layers.is_empty() {
            return Err(RemoveError::Written { image: id, layers });
        }
    }
    Ok(plan)
}

/// The names of images, or their IDs where they have none.
fn called(store: &Store, images: &[ImageId]) -> Result<Vec<String>, RemoveError> {
    let mut called = Vec::new();
    for image in images {
        let names = store.names_of(image)?;
        match names.is_empty() {
            true => called.push(image.to_string()),
            false => called.extend(names.iter().map(Reference::familiar)),
        }
    }
    Ok(called)
}

/// The names that are to go of each image; none where the image itself was asked for.
fn by_image(plan: &[Resolved]) -> BTreeMap<ImageId, Option<BTreeSet<Reference>>> {
    let mut images: BTreeMap<ImageId, Option<BTreeSet<Reference>>> = BTreeMap::new();
    for found in plan {
        let names = images
            .entry(found.id)
            .or_insert_with(|| Some(BTreeSet::new()));
        match (&found.name, names) {
            (Some(name), Some(names)) => drop(names.insert(name.clone())),
            (None, names) => *names = None,
            (Some(_), None) => {}
        }
    }
    images
}

/// A name means exactly itself here: what is removed must not be guessed.
fn find(store: &Store, text: &str) -> Result<Resolved, RemoveError> {
    let mut found = select::resolve(store, text)?;
    if let Some(name) = found.first().and_then(|found| found.name.as_ref()) {
        let exact = Reference::parse(text).unwrap_or_else(|_| name.clone());
        found.retain(|found| found.name.as_ref() == Some(&exact));
        if found.is_empty() {
            let similar = store.tags_of_repository(&exact)?;
            return Err(RemoveError::Select(SelectError::NotFound {
                wanted: exact.familiar(),
                similar: similar.iter().map(|(name, _)| name.familiar()).collect(),
            }));
        }
    }
    let nothing = || SelectError::NotFound {
        wanted: text.to_owned(),
        similar: Vec::new(),
    };
    Ok(found.into_iter().next().ok_or_else(nothing)?)
}

/// Does the work in a session of its own.
fn run(
    graph: &Graph,
    observer: &dyn Observer,
    work: impl FnOnce(&mut Removal<'_>) -> Result<(), RemoveError>,
) -> Result<RemoveReport, RemoveError> {
    let session = graph.store().begin_small()?;
    let mut removal = Removal {
        taking: Taking {
            graph,
            session: &session,
        },
        observer,
        report: RemoveReport::default(),
    };
    let result = work(&mut removal);
    let mut report = removal.report;
    // Kept when one name went, gone with a later one.
    let deleted: BTreeSet<Item> = report.deleted.iter().copied().map(Item::Image).collect();
    report.kept.retain(|kept| !deleted.contains(&kept.item));
    match result {
        Ok(()) => {
            session.end()?;
            Ok(report)
        }
        Err(error) => {
            // As that of a process that was killed: the next open finishes what was begun.
            drop(session.into_dead());
            Err(RemoveError::Stopped {
                done: Box::new(report),
                source: Box::new(error),
            })
        }
    }
}

struct Removal<'a> {
    taking: Taking<'a>,
    observer: &'a dyn Observer,
    report: RemoveReport,
}

impl Removal<'_> {
    fn pause(&self) -> Result<(), RemoveError> {
        if self.observer.cancelled() {
            return Err(RemoveError::Cancelled);
        }
        Ok(())
    }

    /// Removes what was asked for; returns the layers that may be free now, bottom first.
    fn one(&mut self, found: &Resolved) -> Result<Vec<LayerId>, RemoveError> {
        let store = self.taking.graph.store();
        match &found.name {
            Some(name) => {
                if !self.name(name, &found.id)? {
                    return Ok(Vec::new());
                }
                let left = store.names_of(&found.id)?;
                if !left.is_empty() {
                    self.keep(Kept::image(found.id, Because::Named(left)));
                    return Ok(Vec::new());
                }
            }
            None => {
                for name in store.names_of(&found.id)? {
                    self.name(&name, &found.id)?;
                }
            }
        }
        match self.taking.image(&found.id, true)? {
            TakenImage::Gone(removed) => {
                self.report.deleted.extend(removed.images);
                Ok(removed.layers)
            }
            TakenImage::Stays(because) => {
                self.keep(Kept::image(found.id, because));
                Ok(Vec::new())
            }
            TakenImage::NotThere => Ok(Vec::new()),
        }
    }

    /// Removes a name; false, and no word of it, when it was moved or removed since it was found.
    fn name(&mut self, name: &Reference, id: &ImageId) -> Result<bool, RemoveError> {
        let removed = self.taking.name(name, id)?;
        if removed {
            self.report.untagged.push((name.clone(), *id));
        }
        Ok(removed)
    }

    /// The last word on an image counts: it loses its names one by one.
    fn keep(&mut self, kept: Kept) {
        self.report.kept.retain(|before| before.item != kept.item);
        self.report.kept.push(kept);
    }

    /// Removes those layers that nobody needs, and says why the others stay.
    fn sweep(&mut self, mut candidates: Vec<LayerId>) -> Result<(), RemoveError> {
        // The top layer of a stack first: it is its children that keep a layer.
        candidates.reverse();
        let mut seen = BTreeSet::new();
        candidates.retain(|id| seen.insert(*id));
        let mut gone = BTreeSet::new();
        for id in &candidates {
            if gone.contains(id) {
                continue;
            }
            self.pause()?;
            for swept in self.taking.layer(id)? {
                gone.insert(swept.id);
                self.report.layers.push(swept.id);
            }
        }
        for id in candidates {
            if !gone.contains(&id)
                && let Some(because) = self.taking.why(&id)?
            {
                self.report.kept.push(Kept::layer(id, because));
            }
        }
        Ok(())
    }
}
