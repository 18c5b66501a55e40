//! Gives every layer of the images to be loaded its place in the graph.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use lith_graph::{Descriptor, Graph, Observer, RegisterError, Registered, StagedLayer};
use lith_store::{ChainId, DiffId, ImageId, LayerId, LayerRecord, RetainError, Session};

use super::passing::Passed;
use crate::LoadError;
use crate::source::{LayerData, LayerOpener, SourceImage, SourceLayer};

/// The layers of one image in the store.
pub(super) struct Stack {
    /// Bottom first.
    pub(super) layers: Vec<LayerId>,
    pub(super) new: usize,
    pub(super) reused: usize,
    /// Bytes of the tars of the new ones.
    pub(super) bytes: u64,
    /// Bytes of file content in all of them.
    pub(super) size: u64,
}

/// Registers what the store lacks, and holds what it has.
pub(super) struct Placer<'a> {
    graph: &'a Graph,
    session: &'a Session,
    observer: &'a dyn Observer,
    opener: &'a dyn LayerOpener,
    passed: Vec<Passed>,
    cut_off: Option<u64>,
    there: HashMap<LayerId, LayerRecord>,
}

/// A layer that the store lacks and the source can give.
struct Job<'a> {
    chain: ChainId,
    layer: &'a SourceLayer,
}

impl<'a> Placer<'a> {
    pub(super) fn new(
        graph: &'a Graph,
        session: &'a Session,
        observer: &'a dyn Observer,
        opener: &'a dyn LayerOpener,
        passed: Vec<Passed>,
        cut_off: Option<u64>,
    ) -> Self {
        let there = HashMap::new();
        Placer {
            graph,
            session,
            observer,
            opener,
            passed,
            cut_off,
            there,
        }
    }

    /// Places the layers of all images; the result has one stack for each.
    pub(super) fn place(&mut self, images: &[SourceImage]) -> Result<Vec<Stack>, LoadError> {
        let chains: Vec<Vec<ChainId>> = images.iter().map(chain).collect();
        for (image, chain) in images.iter().zip(&chains) {
            self.look(image, chain)?;
        }
        let jobs = self.jobs(images, &chains);
        let mut staged = self.stage(&jobs)?;
        let stacks = images.iter().zip(&chains);
        stacks
            .map(|(image, chain)| self.stack(image, chain, &mut staged))
            .collect()
    }

    /// Holds the layers of an image that are there, and makes sure that every other one
    /// can be had, before anything is read.
    fn look(&mut self, image: &SourceImage, chain: &[ChainId]) -> Result<(), LoadError> {
        let mut missing = Vec::new();
        for (layer, chain) in image.layers.iter().zip(chain) {
            let id = LayerId::from(chain);
            if self.there.contains_key(&id) || self.hold(&id)? {
                continue;
            }
            let known = match layer.data {
                LayerData::There(_) => continue,
                LayerData::Passed(ticket) => {
                    let member = || layer.name.clone();
                    let passed = self.passed.get_mut(ticket.0);
                    let passed = passed.ok_or_else(|| LoadError::NotALayer { member: member() })?;
                    check_passed(layer, passed)?;
                    if matches!(passed, Passed::Other(_)) && !self.hold_diff(&layer.diff_id)? {
                        let (member, actual) = (member(), layer.diff_id);
                        return Err(LoadError::Misnamed { member, actual });
                    }
                    continue;
                }
                LayerData::Absent => self.hold_diff(&layer.diff_id)?,
            };
            if !known && !missing.contains(&layer.diff_id) {
                missing.push(layer.diff_id);
            }
        }
        match (missing.first(), self.cut_off) {
            (None, _) => Ok(()),
            (Some(first), Some(offset)) => Err(LoadError::Truncated {
                offset,
                missing: format!("layer {first}"),
            }),
            (Some(_), None) => Err(LoadError::MissingLayers {
                image: image.id,
                missing,
            }),
        }
    }

    /// Holds a layer until the session ends; false when it is not there.
    fn hold(&mut self, id: &LayerId) -> Result<bool, LoadError> {
        match self.graph.store().retain(self.session, &[*id]) {
            Ok(()) => {}
            Err(RetainError::Missing { .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        let record = self.graph.store().layer(id)?;
        Ok(record
            .map(|record| self.there.insert(*id, record))
            .is_some())
    }

    /// Holds a layer with this diff ID, under whatever chain.
    fn hold_diff(&mut self, diff_id: &DiffId) -> Result<bool, LoadError> {
        for record in self.graph.store().layers_by_diff(diff_id)? {
            if self.hold(&record.id)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What must be read: each chain ID once, each layer that is still there.
    fn jobs<'b>(&self, images: &'b [SourceImage], chains: &[Vec<ChainId>]) -> Vec<Job<'b>> {
        let mut seen = HashSet::new();
        let layers = images.iter().zip(chains).flat_map(|(image, chain)| {
            image.layers.iter().zip(chain).map(|(layer, chain)| Job {
                layer,
                chain: *chain,
            })
        });
        layers
            .filter(|job| matches!(job.layer.data, LayerData::There(_)))
            .filter(|job| !self.there.contains_key(&LayerId::from(&job.chain)))
            .filter(|job| seen.insert(job.chain))
            .collect()
    }

    /// Reads and applies layers, several at a time: none of them needs its parent for that.
    fn stage(&self, jobs: &[Job<'_>]) -> Result<HashMap<ChainId, StagedLayer>, LoadError> {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = workers.min(jobs.len()).min(MAX_WORKERS);
        let next = AtomicUsize::new(0);
        let done = Mutex::new((HashMap::new(), None));
        let work = || {
            while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                let result = self.stage_one(job.layer);
                let mut done = done
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner);
                match result {
                    Ok(staged) => {
                        done.0.insert(job.chain, staged);
                    }
                    Err(error) => {
                        done.1.get_or_insert(error);
                        next.store(jobs.len(), Ordering::Relaxed);
                    }
                }
            }
        };
        if workers <= 1 {
            work();
        } else {
            std::thread::scope(|scope| {
                for _ in 0..workers {
                    scope.spawn(work);
                }
            });
        }
        let (staged, error) = done
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        error.map_or(Ok(staged), Err)
    }

    fn stage_one(&self, layer: &SourceLayer) -> Result<StagedLayer, LoadError> {
        let LayerData::There(key) = layer.data else {
            return Err(LoadError::NotALayer {
                member: layer.name.clone(),
            });
        };
        let mut bytes = self.opener.open(key)?;
        let diff_id = Some(&layer.diff_id);
        let staged = self
            .graph
            .stage(self.session, &mut *bytes, diff_id, self.observer);
        staged.map_err(|source| self.refused(layer, source))
    }

    fn refused(&self, layer: &SourceLayer, source: RegisterError) -> LoadError {
        if self.observer.cancelled() {
            return LoadError::Cancelled;
        }
        LoadError::Layer {
            member: layer.name.clone(),
            source: Box::new(source),
        }
    }

    fn stack(
        &mut self,
        image: &SourceImage,
        chain: &[ChainId],
        staged: &mut HashMap<ChainId, StagedLayer>,
    ) -> Result<Stack, LoadError> {
        let mut stack = Stack {
            layers: Vec::new(),
            new: 0,
            reused: 0,
            bytes: 0,
            size: 0,
        };
        let mut parent = None;
        for (layer, chain) in image.layers.iter().zip(chain) {
            let id = LayerId::from(chain);
            if let Some(record) = self.there.get(&id) {
                stack.reused += 1;
                stack.size += record.size.unwrap_or(0);
            } else {
                let descriptor = Descriptor::chain(parent, &layer.diff_id);
                let placed = self.register(image.id, layer, &descriptor, staged.remove(chain))?;
                if placed.new {
                    stack.new += 1;
                    stack.bytes += placed.tar_size;
                } else {
                    stack.reused += 1;
                }
                stack.size += placed.size.unwrap_or(0);
                self.hold(&id)?;
            }
            stack.layers.push(id);
            parent = Some(chain);
        }
        Ok(stack)
    }

    fn register(
        &mut self,
        image: ImageId,
        layer: &SourceLayer,
        descriptor: &Descriptor,
        staged: Option<StagedLayer>,
    ) -> Result<Registered, LoadError> {
        let staged = match (staged, layer.data) {
            (None, LayerData::Passed(ticket)) => match self.passed.get_mut(ticket.0) {
                Some(Passed::Staged(staged)) => staged.take().map(|staged| *staged),
                _ => None,
            },
            (staged, _) => staged,
        };
        if let Some(staged) = staged {
            let published = self.graph.publish(self.session, staged, descriptor);
            return published.map_err(|source| self.refused(layer, source));
        }
        // The store has it under another chain: before, or by now, because a layer that
        // occurs twice passed only once.
        let missing = || LoadError::MissingLayers {
            image,
            missing: vec![layer.diff_id],
        };
        let known = self.graph.store().layers_by_diff(&layer.diff_id)?;
        let known = known.first().ok_or_else(missing)?;
        let mut tar = self.graph.tar_layer(&known.id)?;
        self.graph
            .register(self.session, descriptor, Some(&mut tar), self.observer)
            .map_err(|source| self.refused(layer, source))
    }
}

/// More would only compete for the disk.
const MAX_WORKERS: usize = 4;

fn chain(image: &SourceImage) -> Vec<ChainId> {
    let diff_ids: Vec<DiffId> = image.layers.iter().map(|layer| layer.diff_id).collect();
    ChainId::chain(&diff_ids)
}

/// A layer that passed must be what the config says now.
fn check_passed(layer: &SourceLayer, passed: &mut Passed) -> Result<(), LoadError> {
    let expected = layer.diff_id;
    let (member, actual) = match passed {
        Passed::Refused(error) => {
            return Err(match error.take() {
                Some(source) => LoadError::Layer {
                    member: layer.name.clone(),
                    source: Box::new(source),
                },
                None => LoadError::NotALayer {
                    member: layer.name.clone(),
                },
            });
        }
        Passed::Staged(staged) => (
            layer.name.clone(),
            staged.as_ref().map_or(expected, |staged| *staged.diff_id()),
        ),
        Passed::Known(actual) | Passed::Other(actual) => (layer.name.clone(), *actual),
    };
    if actual == expected {
        return Ok(());
    }
    Err(LoadError::PassedOther {
        member,
        expected,
        actual,
    })
}
