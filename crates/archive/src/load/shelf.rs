//! Staged layers, until their parents stand.

use std::collections::BTreeSet;
use std::sync::Arc;

use lith_graph::{Graph, Observer, PublishError, Registered, StagedLayer};
use lith_store::Session;

use super::plan::Plan;
use crate::LoadError;

/// Layers that are published together, at most: what must reach the disk is waited for once.
const BATCH: usize = 128;

/// So many bytes are worth a batch of their own.
const BATCH_BYTES: u64 = 32 << 20;

/// Where the layers of a plan are.
pub(super) struct Shelf {
    plan: Arc<Plan>,
    at: Vec<At>,
    /// Staged ones whose parents stand or are among these. Parents have lower numbers.
    ready: BTreeSet<usize>,
    ready_bytes: u64,
}

enum At {
    Wanted,
    Staged(Box<StagedLayer>),
    /// Being published.
    Leaving,
    Stands,
}

/// Staged layers, parents first, with their numbers.
pub(super) type Batch = Vec<(usize, StagedLayer)>;

impl Shelf {
    pub(super) fn new(plan: &Arc<Plan>) -> Shelf {
        Shelf {
            plan: Arc::clone(plan),
            at: plan.places().iter().map(|_| At::Wanted).collect(),
            ready: BTreeSet::new(),
            ready_bytes: 0,
        }
    }

    /// Takes a staged layer.
    pub(super) fn put(&mut self, number: usize, staged: StagedLayer) {
        if let Some(at) = self.at.get_mut(number) {
            *at = At::Staged(Box::new(staged));
        }
        let parent = self.plan.places().get(number).map(|place| place.parent);
        if let Some(parent) = parent
            && parent.is_none_or(|parent| self.stands(parent) || self.ready.contains(&parent))
        {
            self.set_ready(number, true);
        }
    }

    /// Takes note that a layer stands in the graph, held by the session.
    pub(super) fn set_standing(&mut self, number: usize) {
        if let Some(at) = self.at.get_mut(number) {
            *at = At::Stands;
        }
        self.set_children_ready(number, true);
    }

    fn set_children_ready(&mut self, number: usize, ready: bool) {
        let plan = Arc::clone(&self.plan);
        let children = plan.places().get(number).map(|place| &place.children);
        for child in children.into_iter().flatten() {
            self.set_ready(*child, ready);
        }
    }

    /// Counts a staged layer, and what is staged on it, among those that can be published.
    fn set_ready(&mut self, number: usize, ready: bool) {
        let plan = Arc::clone(&self.plan);
        let mut waiting = vec![number];
        while let Some(number) = waiting.pop() {
            let Some(At::Staged(staged)) = self.at.get(number) else {
                continue;
            };
            if ready && self.ready.insert(number) {
                self.ready_bytes += staged.tar_size();
            } else if !ready && self.ready.remove(&number) {
                self.ready_bytes = self.ready_bytes.saturating_sub(staged.tar_size());
            } else {
                continue;
            }
            let children = plan.places().get(number).map(|place| &place.children);
            waiting.extend(children.into_iter().flatten());
        }
    }

    pub(super) fn stands(&self, number: usize) -> bool {
        matches!(self.at.get(number), Some(At::Stands))
    }

    /// True when some layer can be published.
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// True when so much can be published that it should not wait for more.
    pub(super) fn has_batch(&self) -> bool {
        self.ready.len() >= BATCH || self.ready_bytes >= BATCH_BYTES
    }

    /// Takes layers to be published, in the order in which they are needed.
    pub(super) fn take_batch(&mut self) -> Batch {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < BATCH && bytes < BATCH_BYTES {
            let Some(number) = self.ready.pop_first() else {
                break;
            };
            let Some(staged) = self.leave(number) else {
                continue;
            };
            bytes += staged.tar_size();
            batch.push((number, staged));
        }
        self.ready_bytes = self.ready_bytes.saturating_sub(bytes);
        // What did not fit must wait until its parent stands.
        for (number, _) in &batch {
            self.set_children_ready(*number, false);
        }
        batch
    }

    fn leave(&mut self, number: usize) -> Option<StagedLayer> {
        let at = self.at.get_mut(number)?;
        match std::mem::replace(at, At::Leaving) {
            At::Staged(staged) => Some(*staged),
            other => {
                *at = other;
                None
            }
        }
    }

    /// Everything staged that did not get its place.
    pub(super) fn into_waiting(self) -> Batch {
        let at = self.at.into_iter().enumerate();
        at.filter_map(|(number, at)| match at {
            At::Staged(staged) => Some((number, *staged)),
            _ => None,
        })
        .collect()
    }
}

/// Publishes a batch of a plan's layers.
pub(super) fn publish(
    (graph, session): (&Graph, &Session),
    plan: &Plan,
    batch: Batch,
    observer: &dyn Observer,
) -> Result<Vec<(usize, Registered)>, LoadError> {
    if observer.cancelled() {
        return Err(LoadError::Cancelled);
    }
    let mut numbers = Vec::with_capacity(batch.len());
    let mut layers = Vec::with_capacity(batch.len());
    for (number, staged) in batch {
        let Some(place) = plan.places().get(number) else {
            continue;
        };
        numbers.push(number);
        layers.push((staged, plan.descriptor(place)));
    }
    match graph.publish_all(session, layers) {
        Ok(registered) => Ok(numbers.into_iter().zip(registered).collect()),
        Err(PublishError { index, source }) => {
            let place = numbers
                .get(index)
                .and_then(|number| plan.places().get(*number));
            Err(LoadError::Layer {
                member: place.map(|place| place.name.clone()).unwrap_or_default(),
                source: Box::new(source),
            })
        }
    }
}
