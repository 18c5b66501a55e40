//! Gives every layer of the images to be loaded its place in the graph.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

use lith_graph::compression::Compression;
use lith_graph::{Event, Graph, Observer, RegisterError, Registered, StagedLayer};
use lith_store::{DiffId, LayerId, LayerRecord, RetainError, Session};

use super::passing::{Passage, Passed};
use super::plan::{Place, Plan};
use super::proof::Proof;
use super::shelf::{self, Batch, Shelf};
use super::transport::{Transport, mismatch};
use super::work::{Hands, Work};
use crate::LoadError;
use crate::members;
use crate::source::{LayerBytes, LayerData, LayerOpener, SourceImage, Ticket};

/// The layers of one image in the store.
#[derive(Default)]
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
    /// How those that passed are compressed.
    compressions: Vec<Compression>,
    /// Layers that were published while the source passed.
    early: HashMap<LayerId, Registered>,
    cut_off: Option<u64>,
    /// What the user should know.
    warnings: Mutex<Vec<String>>,
}

impl<'a> Placer<'a> {
    pub(super) fn new(
        (graph, session, observer): (&'a Graph, &'a Session, &'a dyn Observer),
        opener: &'a dyn LayerOpener,
        passage: Passage,
        cut_off: Option<u64>,
    ) -> Self {
        let Passage {
            passed,
            compressions,
            early,
        } = passage;
        Placer {
            graph,
            session,
            observer,
            opener,
            passed,
            compressions,
            early,
            cut_off,
            warnings: Mutex::default(),
        }
    }

    /// What the user should know, and was told already.
    pub(super) fn into_warnings(self) -> Vec<String> {
        self.warnings
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn warn(&self, message: String) {
        self.observer.event(&Event::Warning { message: &message });
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        warnings.push(message);
    }

    /// Places the layers of all images; the result has one stack for each.
    pub(super) fn place(
        &mut self,
        images: &[SourceImage],
        proof: &Proof<'_>,
    ) -> Result<Vec<Stack>, LoadError> {
        let plan = Arc::new(Plan::of(images));
        let there = self.hold_all(&plan, proof)?;
        self.look(images, &plan, &there)?;
        let mut work = Work::new(Shelf::new(&plan));
        self.share_out(&plan, &there, &mut work)?;
        let hands = PlacerHands {
            placer: self,
            plan: &plan,
        };
        let published = work.run(&hands)?;
        if proof.is_asked() {
            for place in plan.places() {
                if there.contains_key(&place.id()) {
                    self.compare(place)?;
                }
            }
        }
        Ok(self.stacks(&plan, &there, &published))
    }

    /// Holds all layers of a plan that are there and may be reused.
    fn hold_all(
        &self,
        plan: &Plan,
        proof: &Proof<'_>,
    ) -> Result<HashMap<LayerId, LayerRecord>, LoadError> {
        let ids: Vec<LayerId> = plan.places().iter().map(Place::id).collect();
        let mut there = HashMap::new();
        for layer in self.graph.retain_present(self.session, &ids)? {
            // What was published just now has been read.
            if self.early.contains_key(&layer.id) || proof.holds(&layer.id)? {
                there.insert(layer.id, layer);
            }
        }
        Ok(there)
    }

    /// Makes sure that every layer can be had, before anything is read.
    fn look(
        &mut self,
        images: &[SourceImage],
        plan: &Plan,
        there: &HashMap<LayerId, LayerRecord>,
    ) -> Result<(), LoadError> {
        let mut looked = HashSet::new();
        for (image, stack) in images.iter().zip(plan.stacks()) {
            let mut missing: Vec<DiffId> = Vec::new();
            let mut urls = Vec::new();
            let mut listed = HashSet::new();
            for number in stack.iter().filter(|number| looked.insert(**number)) {
                let Some(place) = plan.places().get(*number) else {
                    continue;
                };
                let found = there.contains_key(&place.id()) || self.can_be_had(place)?;
                if !found && listed.insert(place.diff_id) {
                    missing.push(place.diff_id);
                    let elsewhere = place.blob.iter().flat_map(|blob| &blob.urls);
                    urls.extend(elsewhere.cloned());
                }
            }
            match (missing.first(), self.cut_off) {
                (None, _) => {}
                (Some(first), Some(offset)) => {
                    return Err(LoadError::Truncated {
                        offset,
                        missing: format!("layer {first}"),
                    });
                }
                (Some(_), None) => {
                    let image = image.id;
                    return Err(match urls.is_empty() {
                        true => LoadError::MissingLayers { image, missing },
                        false => LoadError::LayersElsewhere {
                            image,
                            missing,
                            urls,
                        },
                    });
                }
            }
        }
        Ok(())
    }

    fn can_be_had(&mut self, place: &Place) -> Result<bool, LoadError> {
        match place.data {
            LayerData::There(_) => Ok(true),
            LayerData::Absent if place.is_inline() => Ok(true),
            LayerData::Absent => self.hold_diff(&place.diff_id),
            LayerData::Passed(Ticket(ticket)) => {
                let passed = self.passed.get_mut(ticket);
                let passed = passed.ok_or_else(|| LoadError::NotALayer {
                    member: place.name.clone(),
                })?;
                passed.check(&place.name, place.diff_id)?;
                if matches!(passed, Passed::Other(_)) && !self.hold_diff(&place.diff_id)? {
                    return Err(LoadError::Misnamed {
                        member: place.name.clone(),
                        actual: place.diff_id,
                    });
                }
                if let (Some(blob), Some(found)) =
                    (&place.blob, self.compressions.get(ticket).copied())
                    && let Some(message) = mismatch(blob, found, &place.name)
                {
                    self.warn(message);
                }
                Ok(true)
            }
        }
    }

    /// Holds a layer with this diff ID, under whatever chain.
    fn hold_diff(&self, diff_id: &DiffId) -> Result<bool, LoadError> {
        for record in self.graph.store().layers_by_diff(diff_id)? {
            match self.graph.store().retain(self.session, &[record.id]) {
                Ok(()) => return Ok(true),
                Err(RetainError::Missing { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }

    /// Says for each layer what is to be done with it.
    fn share_out(
        &mut self,
        plan: &Plan,
        there: &HashMap<LayerId, LayerRecord>,
        work: &mut Work,
    ) -> Result<(), LoadError> {
        let mut first_use = HashMap::new();
        for (number, place) in plan.places().iter().enumerate() {
            if there.contains_key(&place.id()) {
                work.shelf().set_standing(number);
                continue;
            }
            let LayerData::Passed(Ticket(ticket)) = place.data else {
                work.add(number, None);
                continue;
            };
            let first = *first_use.entry(ticket).or_insert(number);
            match self.passed.get_mut(ticket) {
                Some(Passed::Staged(staged)) => match staged.take() {
                    Some(staged) => work.shelf().put(number, *staged),
                    // It passed once, and is needed again: then the store has it.
                    None => work.add(number, Some(first)),
                },
                _ => work.add(number, None),
            }
        }
        Ok(())
    }

    /// Reads a layer from the source, or from one that the store has under another chain.
    fn make(&self, plan: &Plan, number: usize) -> Result<StagedLayer, LoadError> {
        let not_a_layer = |member: &str| LoadError::NotALayer {
            member: member.to_owned(),
        };
        let place = plan.places().get(number).ok_or_else(|| not_a_layer(""))?;
        let inline = place.blob.as_ref().and_then(|blob| blob.inline.as_deref());
        let staged = match (place.data, inline) {
            (LayerData::There(key), _) => {
                Some(self.read(place, self.opener.open(key, self.observer)?)?)
            }
            (LayerData::Absent, Some(inline)) => Some(self.read(place, Box::new(inline))?),
            _ => self
                .graph
                .stage_from_known(self.session, &plan.descriptor(place), self.observer)
                .map_err(|source| self.refused(&place.name, source))?,
        };
        staged.ok_or_else(|| LoadError::LayerGone {
            member: place.name.clone(),
            diff_id: place.diff_id,
        })
    }

    /// Reads a layer from the source; it must be all that the source says of it.
    fn read(&self, place: &Place, bytes: LayerBytes<'_>) -> Result<StagedLayer, LoadError> {
        let mut transport = Transport::new(bytes, place.blob.as_deref());
        let diff_id = Some(&place.diff_id);
        let staged = self
            .graph
            .stage(self.session, &mut transport, diff_id, self.observer);
        if self.observer.cancelled() {
            return Err(LoadError::Cancelled);
        }
        self.finish(transport, place)?;
        staged.map_err(|source| self.refused(&place.name, source))
    }

    /// Reads a layer of the source that need not be made, and compares it with what it should be.
    fn compare(&mut self, place: &Place) -> Result<(), LoadError> {
        let key = match place.data {
            LayerData::There(key) => key,
            LayerData::Passed(Ticket(ticket)) => {
                let passed = self.passed.get_mut(ticket);
                return passed.map_or(Ok(()), |passed| passed.check(&place.name, place.diff_id));
            }
            LayerData::Absent => return Ok(()),
        };
        let bytes = self.opener.open(key, self.observer)?;
        let mut transport = Transport::new(bytes, place.blob.as_deref());
        let actual = members::diff_id(&mut transport, self.observer);
        self.finish(transport, place)?;
        let actual = actual.map_err(|source| LoadError::ReadLayer {
            member: place.name.clone(),
            source,
        })?;
        let (expected, actual) = (place.diff_id, actual.ok_or(LoadError::Cancelled)?);
        if actual != expected {
            let source = RegisterError::DiffIdMismatch { expected, actual };
            return Err(self.refused(&place.name, source));
        }
        Ok(())
    }

    /// Ends a layer's transport: it must have been what was promised.
    fn finish<R: Read>(&self, transport: Transport<'_, R>, place: &Place) -> Result<(), LoadError> {
        let told = transport.finish(&place.name);
        let told = told.map_err(|source| LoadError::Blob {
            member: place.name.clone(),
            source,
        })?;
        if let Some(message) = told {
            self.warn(message);
        }
        Ok(())
    }

    fn refused(&self, member: &str, source: RegisterError) -> LoadError {
        if self.observer.cancelled() {
            return LoadError::Cancelled;
        }
        LoadError::Layer {
            member: member.to_owned(),
            source: Box::new(source),
        }
    }

    /// What became of the layers of each image: one that is new counts for the first image
    /// that has it.
    fn stacks(
        &self,
        plan: &Plan,
        there: &HashMap<LayerId, LayerRecord>,
        published: &[(usize, Registered)],
    ) -> Vec<Stack> {
        let published: HashMap<LayerId, &Registered> = published
            .iter()
            .map(|(_, layer)| layer)
            .chain(self.early.values())
            .map(|layer| (layer.id, layer))
            .collect();
        let mut counted = HashSet::new();
        let stack = |numbers: &Vec<usize>| {
            let mut stack = Stack::default();
            for place in numbers
                .iter()
                .filter_map(|number| plan.places().get(*number))
            {
                let id = place.id();
                let layer = published.get(&id);
                match layer.filter(|layer| layer.new && counted.insert(id)) {
                    Some(layer) => {
                        stack.new += 1;
                        stack.bytes += layer.tar_size;
                    }
                    None => stack.reused += 1,
                }
                let size = layer
                    .map(|layer| layer.size)
                    .or_else(|| there.get(&id).map(|layer| layer.size));
                stack.size += size.flatten().unwrap_or(0);
                stack.layers.push(id);
            }
            stack
        };
        plan.stacks().iter().map(stack).collect()
    }
}

/// The placer as its workers see it.
struct PlacerHands<'a> {
    placer: &'a Placer<'a>,
    plan: &'a Plan,
}

impl Hands for PlacerHands<'_> {
    fn make(&self, number: usize) -> Result<StagedLayer, LoadError> {
        self.placer.make(self.plan, number)
    }

    fn publish(&self, batch: Batch) -> Result<Vec<(usize, Registered)>, LoadError> {
        let at = (self.placer.graph, self.placer.session);
        shelf::publish(at, self.plan, batch, self.placer.observer)
    }

    fn observer(&self) -> &dyn Observer {
        self.placer.observer
    }
}
