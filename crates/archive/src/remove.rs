//! Taking names and images out of the store.

use std::fmt;

use lith_graph::Graph;
use lith_store::{EventKind, ImageId, LayerId, Reference, Session, Store};
use serde::{Serialize, Serializer};

use crate::select::{self, Resolved};
use crate::{RemoveError, SelectError};

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
    pub layers: Vec<LayerId>,
    /// What stays though it was asked for or belonged to what was.
    pub kept: Vec<Kept>,
}

/// Something that stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Kept {
    /// An image that has further names.
    Image {
        /// The image.
        id: ImageId,
        /// Its names.
        names: Vec<String>,
    },
    /// A layer that others need.
    Layer {
        /// The layer.
        id: LayerId,
        /// Why it stays, as a part of a sentence.
        reason: String,
    },
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image { id, names } => {
                write!(f, "image {id}: it is still named {}", names.join(", "))
            }
            Self::Layer { id, reason } => write!(f, "layer {id}: {reason}"),
        }
    }
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
/// By ID: an image that has one name or none, else only with `force`. Then all layers that
/// nobody needs any more.
///
/// # Errors
/// Before anything is removed: what is not there, what is not clear, an image asked by ID that
/// has several names.
pub fn remove(graph: &Graph, wanted: &[String], force: bool) -> Result<RemoveReport, RemoveError> {
    let store = graph.store();
    let mut plan: Vec<Resolved> = Vec::new();
    for text in wanted {
        let found = find(store, text)?;
        if found.name.is_none() && !force {
            let names = store.names_of(&found.id)?;
            if names.len() > 1 {
                let names = names.iter().map(Reference::familiar).collect();
                return Err(RemoveError::SeveralNames {
                    image: found.id,
                    names,
                });
            }
        }
        if !plan.contains(&found) {
            plan.push(found);
        }
    }
    let session = store.begin()?;
    let mut work = Removal {
        graph,
        session: &session,
        report: RemoveReport::default(),
    };
    let mut candidates = Vec::new();
    for found in &plan {
        candidates.extend(work.one(found)?);
    }
    work.sweep(candidates)?;
    let mut report = work.report;
    // Kept when one name went, gone with a later one.
    let deleted = &report.deleted;
    report
        .kept
        .retain(|kept| !matches!(kept, Kept::Image { id, .. } if deleted.contains(id)));
    session.end()?;
    Ok(report)
}

/// Removes names; an image that loses its last name stays, nameless.
///
/// # Errors
/// Before anything is removed: what is not the name of an image here.
pub fn untag(graph: &Graph, wanted: &[String]) -> Result<RemoveReport, RemoveError> {
    let store = graph.store();
    let mut names = Vec::new();
    for text in wanted {
        let found = find(store, text)?;
        match found.name {
            Some(name) => names.push((name, found.id)),
            None => {
                let names = store.names_of(&found.id)?;
                return Err(RemoveError::NotAName {
                    wanted: text.clone(),
                    names: names.iter().map(Reference::familiar).collect(),
                });
            }
        }
    }
    names.dedup();
    let session = store.begin()?;
    let mut work = Removal {
        graph,
        session: &session,
        report: RemoveReport::default(),
    };
    for (name, id) in &names {
        work.name(name, id)?;
    }
    let report = work.report;
    session.end()?;
    Ok(report)
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

struct Removal<'a> {
    graph: &'a Graph,
    session: &'a Session,
    report: RemoveReport,
}

impl Removal<'_> {
    /// Removes what was asked for; returns the layers that may be free now.
    fn one(&mut self, found: &Resolved) -> Result<Vec<LayerId>, RemoveError> {
        match &found.name {
            Some(name) => {
                self.name(name, &found.id)?;
                let left = self.graph.store().names_of(&found.id)?;
                if !left.is_empty() {
                    let names = left.iter().map(Reference::familiar).collect();
                    self.report.kept.push(Kept::Image {
                        id: found.id,
                        names,
                    });
                    return Ok(Vec::new());
                }
            }
            None => {
                for name in self.graph.store().names_of(&found.id)? {
                    self.name(&name, &found.id)?;
                }
            }
        }
        self.image(&found.id)
    }

    fn name(&mut self, name: &Reference, id: &ImageId) -> Result<(), RemoveError> {
        if self
            .graph
            .store()
            .remove_name(self.session, name)?
            .is_some()
        {
            self.report.untagged.push((name.clone(), *id));
            self.event(EventKind::Untag, id, Some(&name.to_string()));
        }
        Ok(())
    }

    fn image(&mut self, id: &ImageId) -> Result<Vec<LayerId>, RemoveError> {
        // Asked for twice, or removed by another process in the meantime.
        if !self.graph.store().has_image(id)? {
            return Ok(Vec::new());
        }
        let layers = self.graph.store().remove_image(self.session, id)?;
        self.report.deleted.push(*id);
        self.event(EventKind::Delete, id, None);
        Ok(layers)
    }

    /// Removes those layers that nobody needs, and says why the others stay.
    fn sweep(&mut self, mut candidates: Vec<LayerId>) -> Result<(), RemoveError> {
        // The top layer of a stack comes last: it is its children that keep a layer.
        candidates.reverse();
        let swept = self.graph.sweep_unclaimed(self.session, &candidates)?;
        self.report.layers = swept.iter().map(|layer| layer.id).collect();
        let mut seen = Vec::new();
        for id in candidates {
            if !self.report.layers.contains(&id) && !seen.contains(&id) {
                seen.push(id);
                let reason = self.reason(&id)?;
                self.report
                    .kept
                    .extend(reason.map(|reason| Kept::Layer { id, reason }));
            }
        }
        Ok(())
    }

    /// Why a layer stays; none when another process removed it.
    fn reason(&self, id: &LayerId) -> Result<Option<String>, RemoveError> {
        let store = self.graph.store();
        if !store.has_layer(id)? {
            return Ok(None);
        }
        let images = store.images_using(id)?;
        if let Some(image) = images.first() {
            let more = images.len() - 1;
            let more = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            return Ok(Some(format!("image {image}{more} has it")));
        }
        if let Some(child) = store.children(id)?.first() {
            return Ok(Some(format!("layer {child} is on top of it")));
        }
        if let Some(holder) = store.holders(id)?.first() {
            return Ok(Some(format!("session {holder} holds it")));
        }
        Ok(Some("it is mounted or was kept by its owner".to_owned()))
    }

    fn event(&self, kind: EventKind, id: &ImageId, subject: Option<&str>) {
        if let Err(error) = self.graph.store().record_event(kind, Some(id), subject) {
            tracing::warn!(%error, "cannot record an event");
        }
    }
}
