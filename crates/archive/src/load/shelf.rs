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
    /// Staged ones whose parents stand.
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
        let place = self.plan.places().get(number);
        if place.is_some_and(|place| place.parent.is_none_or(|parent| self.stands(parent))) {
            self.make_ready(number);
        }
    }

    /// Takes note that a layer stands in the graph, held by the session.
    pub(super) fn set_standing(&mut self, number: usize) {
        if let Some(at) = self.at.get_mut(number) {
            *at = At::Stands;
        }
        let plan = Arc::clone(&self.plan);
        let children = plan.places().get(number).map(|place| &place.children);
        for child in children.into_iter().flatten() {
            self.make_ready(*child);
        }
    }

    fn make_ready(&mut self, number: usize) {
        if let Some(At::Staged(staged)) = self.at.get(number)
            && self.ready.insert(number)
        {
            self.ready_bytes += staged.tar_size();
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

    /// Takes layers to be published: those that are ready, in the order in which they are
    /// needed, and what stands on them.
    pub(super) fn take_batch(&mut self) -> Batch {
        let plan = Arc::clone(&self.plan);
        let mut batch = Vec::new();
        let mut next = BTreeSet::new();
        let mut bytes = 0;
        while batch.len() < BATCH && bytes < BATCH_BYTES {
            // Children that no longer fit become ready when their parents stand.
            let Some((number, was_ready)) = self.pop(&mut next) else {
                break;
            };
            let Some(staged) = self.leave(number) else {
                continue;
            };
            bytes += staged.tar_size();
            if was_ready {
                self.ready_bytes = self.ready_bytes.saturating_sub(staged.tar_size());
            }
            batch.push((number, staged));
            let children = plan.places().get(number).map(|place| &place.children);
            let is_staged = |child: &usize| matches!(self.at.get(*child), Some(At::Staged(_)));
            next.extend(children.into_iter().flatten().copied().filter(is_staged));
        }
        batch
    }

    fn pop(&mut self, next: &mut BTreeSet<usize>) -> Option<(usize, bool)> {
        match next.pop_first() {
            Some(number) => Some((number, false)),
            None => self.ready.pop_first().map(|number| (number, true)),
        }
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
