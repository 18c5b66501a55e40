//! Layers of a stream whose manifest came first: they get their places as they pass.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use lith_graph::{Graph, Observer, Registered};
use lith_store::{LayerId, Session};

use super::passing::Passed;
use super::plan::{Place, Plan};
use super::shelf::{self, Shelf};
use crate::LoadError;
use crate::source::{LayerData, SourceImage, Ticket};

/// Publishes layers that pass.
///
/// What cannot be done yet, for want of a layer that the store has under another chain, say,
/// is left for when the source has ended.
pub(super) struct Early<'a> {
    graph: &'a Graph,
    session: &'a Session,
    observer: &'a dyn Observer,
    plan: Arc<Plan>,
    shelf: Shelf,
    /// Places whose layers have passed, by ticket, and those whose layers are to come, by member;
    /// first need first.
    passed: HashMap<Ticket, VecDeque<usize>>,
    to_come: HashMap<Vec<u8>, VecDeque<usize>>,
    /// Under which ticket a layer on the shelf passed.
    tickets: HashMap<usize, Ticket>,
    published: HashMap<LayerId, Registered>,
}

impl<'a> Early<'a> {
    pub(super) fn new(
        graph: &'a Graph,
        session: &'a Session,
        observer: &'a dyn Observer,
        images: &[SourceImage],
    ) -> Result<Self, LoadError> {
        let plan = Arc::new(Plan::of(images));
        let ids: Vec<LayerId> = plan.places().iter().map(Place::id).collect();
        let there = graph.retain_present(session, &ids)?;
        let there: HashSet<LayerId> = there.iter().map(|layer| layer.id).collect();
        let mut shelf = Shelf::new(&plan);
        let mut passed: HashMap<Ticket, VecDeque<usize>> = HashMap::new();
        let mut to_come: HashMap<Vec<u8>, VecDeque<usize>> = HashMap::new();
        for (number, place) in plan.places().iter().enumerate() {
            if there.contains(&place.id()) {
                shelf.set_standing(number);
                continue;
            }
            match place.data {
                LayerData::Passed(ticket) => passed.entry(ticket).or_default().push_back(number),
                LayerData::Absent => {
                    let name = place.name.as_bytes().to_vec();
                    to_come.entry(name).or_default().push_back(number);
                }
                LayerData::There(_) => {}
            }
        }
        Ok(Early {
            graph,
            session,
            observer,
            plan,
            shelf,
            passed,
            to_come,
            tickets: HashMap::new(),
            published: HashMap::new(),
        })
    }

    /// Takes a layer, when it is what some image needs.
    pub(super) fn take(
        &mut self,
        (ticket, member): (Ticket, &[u8]),
        passed: &mut Passed,
    ) -> Result<(), LoadError> {
        let Passed::Staged(slot) = passed else {
            return Ok(());
        };
        let wanted = match self.passed.get_mut(&ticket) {
            Some(wanted) => Some(wanted),
            None => self.to_come.get_mut(member),
        };
        let Some(number) = wanted.and_then(VecDeque::pop_front) else {
            return Ok(());
        };
        let expected = self.plan.places().get(number).map(|place| place.diff_id);
        // One that is not what it should be is told of when the source has ended.
        let Some(staged) = slot.take_if(|staged| expected == Some(*staged.diff_id())) else {
            return Ok(());
        };
        *passed = Passed::Known(*staged.diff_id());
        self.tickets.insert(number, ticket);
        self.shelf.put(number, *staged);
        if self.shelf.has_batch() {
            self.publish()?;
        }
        Ok(())
    }

    /// Publishes what can be, and puts back what could not.
    pub(super) fn finish(
        mut self,
        passed: &mut [Passed],
    ) -> Result<HashMap<LayerId, Registered>, LoadError> {
        while self.shelf.has_ready() {
            self.publish()?;
        }
        for (number, staged) in self.shelf.into_waiting() {
            let ticket = self.tickets.get(&number).copied();
            if let Some(slot) = ticket.and_then(|ticket| passed.get_mut(ticket.0)) {
                *slot = Passed::Staged(Some(Box::new(staged)));
            }
        }
        Ok(self.published)
    }

    fn publish(&mut self) -> Result<(), LoadError> {
        let batch = self.shelf.take_batch();
        let at = (self.graph, self.session);
        for (number, layer) in shelf::publish(at, &self.plan, batch, self.observer)? {
            self.shelf.set_standing(number);
            self.published.insert(layer.id, layer);
        }
        Ok(())
    }
}
