//! Which layers images need: each chain once, parents before children.

use std::collections::HashMap;
use std::sync::Arc;

use lith_graph::Descriptor;
use lith_store::{ChainId, DiffId, LayerId};

use crate::source::{LayerData, SourceBlob, SourceImage};

/// The layers that images need, numbered in the order of first need.
pub(super) struct Plan {
    places: Vec<Place>,
    /// For each image its layers, bottom first.
    stacks: Vec<Vec<usize>>,
}

/// A layer's place in the graph.
pub(super) struct Place {
    pub(super) chain: ChainId,
    pub(super) parent: Option<usize>,
    pub(super) children: Vec<usize>,
    pub(super) diff_id: DiffId,
    /// What the source calls the layer, and where it has the bytes.
    pub(super) name: String,
    pub(super) data: LayerData,
    pub(super) blob: Option<Arc<SourceBlob>>,
}

impl Plan {
    pub(super) fn of(images: &[SourceImage]) -> Plan {
        let mut plan = Plan {
            places: Vec::new(),
            stacks: Vec::with_capacity(images.len()),
        };
        let mut numbers = HashMap::new();
        for image in images {
            let stack = plan.add(image, &mut numbers);
            plan.stacks.push(stack);
        }
        plan
    }

    fn add(&mut self, image: &SourceImage, numbers: &mut HashMap<ChainId, usize>) -> Vec<usize> {
        let diff_ids: Vec<DiffId> = image.layers.iter().map(|layer| layer.diff_id).collect();
        let mut parent = None;
        let mut stack = Vec::with_capacity(diff_ids.len());
        for (layer, chain) in image.layers.iter().zip(ChainId::chain(&diff_ids)) {
            let number = *numbers.entry(chain).or_insert(self.places.len());
            match self.places.get_mut(number) {
                // Another image's manifest may know where it is.
                Some(place) if place.data == LayerData::Absent && !place.is_inline() => {
                    place.data = layer.data;
                    place.blob.clone_from(&layer.blob);
                    place.name.clone_from(&layer.name);
                }
                Some(_) => {}
                None => {
                    self.places.push(Place {
                        chain,
                        parent,
                        children: Vec::new(),
                        diff_id: layer.diff_id,
                        name: layer.name.clone(),
                        data: layer.data,
                        blob: layer.blob.clone(),
                    });
                    if let Some(parent) = parent.and_then(|parent| self.places.get_mut(parent)) {
                        parent.children.push(number);
                    }
                }
            }
            stack.push(number);
            parent = Some(number);
        }
        stack
    }

    /// All places, by number.
    pub(super) fn places(&self) -> &[Place] {
        &self.places
    }

    /// For each image the numbers of its layers, bottom first.
    pub(super) fn stacks(&self) -> &[Vec<usize>] {
        &self.stacks
    }

    /// As what the layer of a place is registered.
    pub(super) fn descriptor(&self, place: &Place) -> Descriptor {
        let parent = place.parent.and_then(|parent| self.places.get(parent));
        Descriptor::chain(parent.map(|parent| &parent.chain), &place.diff_id)
    }
}

impl Place {
    /// True when the manifest itself has the bytes.
    pub(super) fn is_inline(&self) -> bool {
        self.blob.as_ref().is_some_and(|blob| blob.inline.is_some())
    }

    pub(super) fn id(&self) -> LayerId {
        LayerId::from(&self.chain)
    }
}
