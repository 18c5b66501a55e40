//! Taking out what nobody needs: by a plan, which can be looked at instead.

mod plan;

use std::collections::BTreeSet;

use lith_graph::{Graph, Observer};
use lith_store::{ImageId, LayerId, Reference};
use serde::{Serialize, Serializer};

use crate::kept::{Because, Kept};
use crate::taking::{TakenImage, Taking};
use crate::{RemoveError, ids, mounted, writable};

use plan::Plan;

/// What is to be pruned.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct PruneOptions {
    /// Also images that have names.
    pub all: bool,
    /// Only say what would go.
    pub dry_run: bool,
}

/// What was pruned, or would be.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct PruneReport {
    /// Images that are gone.
    pub images: Vec<PrunedImage>,
    /// Layers that are gone, each before the one below it.
    pub layers: Vec<PrunedLayer>,
    /// What stays though no image that stays needs it, and why.
    pub kept: Vec<Kept>,
    /// Bytes on disk that were freed: what `du` says less of the root's images, layers and
    /// drivers.
    pub disk: u64,
}

/// An image that was pruned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PrunedImage {
    /// The image.
    pub id: ImageId,
    /// The names that went with it.
    #[serde(serialize_with = "familiar")]
    pub names: Vec<Reference>,
    /// Bytes on disk of its documents.
    pub disk: u64,
}

/// A layer that was pruned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PrunedLayer {
    /// The layer.
    #[serde(serialize_with = "ids::one")]
    pub id: LayerId,
    /// Bytes on disk of its files and its record.
    pub disk: u64,
}

fn familiar<S: Serializer>(names: &[Reference], out: S) -> Result<S::Ok, S::Error> {
    out.collect_seq(names.iter().map(Reference::familiar))
}

impl PruneReport {
    fn add_image(&mut self, image: PrunedImage) {
        self.disk = self.disk.saturating_add(image.disk);
        self.images.push(image);
    }

    fn add_layer(&mut self, layer: PrunedLayer) {
        self.disk = self.disk.saturating_add(layer.disk);
        self.layers.push(layer);
    }
}

/// Removes images without names and layers that nobody needs; with [`PruneOptions::all`] all
/// images.
///
/// What is mounted stays, and so does what a living session holds: images that are being loaded
/// or saved right now. An image stays when one that stays was built on it. What is loaded, named,
/// mounted or held while this works stays, too, and the report says so.
///
/// # Errors
/// [`RemoveError::Pruned`] with what was done, when something fails or `observer` asks to stop
/// after the first step; what was begun is finished when the store is opened the next time.
pub fn prune(
    graph: &Graph,
    options: &PruneOptions,
    observer: &dyn Observer,
) -> Result<PruneReport, RemoveError> {
    let plan = plan::make(graph, options.all)?;
    if options.dry_run {
        return Ok(plan.into_report());
    }
    let session = graph.store().begin_small()?;
    let mut work = Pruning {
        taking: Taking {
            graph,
            session: &session,
        },
        observer,
        report: PruneReport {
            kept: plan.kept.clone(),
            ..PruneReport::default()
        },
    };
    match work.run(&plan) {
        Ok(()) => {
            let report = work.report;
            session.end()?;
            Ok(report)
        }
        Err(error) => {
            let done = Box::new(work.report);
            // As that of a process that was killed: the next open finishes what was begun.
            drop(session.into_dead());
            Err(RemoveError::Pruned {
                done,
                source: Box::new(error),
            })
        }
    }
}

struct Pruning<'a> {
    taking: Taking<'a>,
    observer: &'a dyn Observer,
    report: PruneReport,
}

impl Pruning<'_> {
    fn pause(&self) -> Result<(), RemoveError> {
        if self.observer.cancelled() {
            return Err(RemoveError::Cancelled);
        }
        Ok(())
    }

    fn run(&mut self, plan: &Plan) -> Result<(), RemoveError> {
        let mut freed: Vec<LayerId> = Vec::new();
        for image in &plan.images {
            self.pause()?;
            freed.extend(self.image(image, plan)?);
        }
        for layer in &plan.layers {
            self.pause()?;
            self.layer(&layer.id)?;
        }
        // Others that shared layers with these images may have gone meanwhile.
        let mut tried: BTreeSet<LayerId> = plan.layers.iter().map(|layer| layer.id).collect();
        for id in freed.into_iter().rev() {
            if tried.insert(id) {
                self.pause()?;
                self.sweep(&id)?;
            }
        }
        Ok(())
    }

    /// Removes an image, unless something has happened to it since the plan; returns its layers.
    fn image(&mut self, image: &PrunedImage, plan: &Plan) -> Result<Vec<LayerId>, RemoveError> {
        if let Some(because) = self.changed(image, plan)? {
            self.report.kept.push(Kept::image(image.id, because));
            return Ok(Vec::new());
        }
        let mut gone = image.clone();
        gone.names.clear();
        for name in &image.names {
            if self.taking.name(name, &image.id)? {
                gone.names.push(name.clone());
            }
        }
        match self.taking.image(&image.id, false)? {
            TakenImage::Gone(removed) => {
                self.report.add_image(gone);
                let members = removed.images.iter().filter(|id| **id != image.id);
                for id in members {
                    let planned = plan.images.iter().find(|planned| planned.id == *id);
                    self.report
                        .add_image(planned.cloned().unwrap_or(PrunedImage {
                            id: *id,
                            names: Vec::new(),
                            disk: 0,
                        }));
                }
                Ok(removed.layers)
            }
            TakenImage::Stays(because) => {
                self.taking.name_again(&gone.names, &image.id)?;
                self.report.kept.push(Kept::image(image.id, because));
                Ok(Vec::new())
            }
            TakenImage::NotThere => Ok(Vec::new()),
        }
    }

    /// Why an image is needed that was not when the plan was made.
    fn changed(&self, image: &PrunedImage, plan: &Plan) -> Result<Option<Because>, RemoveError> {
        let graph = self.taking.graph;
        let names = graph.store().names_of(&image.id)?;
        if names.iter().any(|name| !image.names.contains(name)) {
            return Ok(Some(Because::Named(names)));
        }
        if let Some(top) = plan.tops.get(&image.id) {
            let sessions = graph.store().holders(top)?;
            if !sessions.is_empty() {
                return Ok(Some(Because::Sessions(sessions)));
            }
            let places = mounted::places(&mounted::mounts(graph)?, &[&image.id]);
            if !places.is_empty() {
                return Ok(Some(Because::Mounted(places)));
            }
            let written = writable::writable_images(graph)?;
            let written = writable::over_images(&written, &[&image.id]);
            if !written.is_empty() {
                return Ok(Some(Because::Written(written)));
            }
        }
        Ok(None)
    }

    /// Removes a layer of the plan; one that somebody needs by now stays.
    fn layer(&mut self, id: &LayerId) -> Result<(), RemoveError> {
        self.sweep(id)?;
        let gone = self.report.layers.iter().rev().any(|layer| layer.id == *id);
        if !gone && let Some(because) = self.taking.why(id)? {
            self.report.kept.push(Kept::layer(*id, because));
        }
        Ok(())
    }

    fn sweep(&mut self, id: &LayerId) -> Result<(), RemoveError> {
        for swept in self.taking.layer(id)? {
            self.report.add_layer(PrunedLayer {
                id: swept.id,
                disk: swept.disk,
            });
        }
        Ok(())
    }
}
