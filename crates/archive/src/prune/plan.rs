//! What nobody needs: decided from one look at everything, before anything is done.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use lith_graph::{Graph, GraphError};
use lith_store::{ImageId, ImageSummary, LayerId, LayerUse};

use super::{PruneReport, PrunedImage, PrunedLayer};
use crate::disk;
use crate::kept::{Because, Kept};
use crate::mounted::{self, MountedImage};
use crate::writable::{self, WritableImage};

/// What is to go, and what is not, and why.
pub(super) struct Plan {
    /// Indexes before their members, which go with them.
    pub(super) images: Vec<PrunedImage>,
    /// Children before their parents.
    pub(super) layers: Vec<PrunedLayer>,
    pub(super) kept: Vec<Kept>,
    /// The top layer of each image that is to go.
    pub(super) tops: HashMap<ImageId, LayerId>,
}

impl Plan {
    /// The report of having done it.
    pub(super) fn into_report(self) -> PruneReport {
        let mut report = PruneReport {
            kept: self.kept,
            ..PruneReport::default()
        };
        self.images
            .into_iter()
            .for_each(|image| report.add_image(image));
        self.layers
            .into_iter()
            .for_each(|layer| report.add_layer(layer));
        report
    }
}

/// Makes the plan.
pub(super) fn make(graph: &Graph, all: bool) -> Result<Plan, GraphError> {
    let store = graph.store();
    // Images first: one that is published after its layers were listed is not in the plan.
    let images = store.images()?;
    let uses = store.layer_uses()?;
    let shown = Shown {
        mounts: mounted::mounts(graph)?,
        written: writable::writable_images(graph)?,
    };
    let decided = decide(&images, &uses, &shown, all);
    let mut plan = Plan {
        images: Vec::new(),
        layers: Vec::new(),
        kept: decided.kept,
        tops: decided.tops,
    };
    let (indexes, images): (Vec<ImageSummary>, Vec<ImageSummary>) = images
        .into_iter()
        .filter(|image| decided.images.contains(&image.id))
        .partition(|image| !image.members.is_empty());
    for image in indexes.into_iter().chain(images) {
        plan.images.push(PrunedImage {
            disk: disk::of_image(store, &image.id)?,
            id: image.id,
            names: image.names,
        });
    }
    for one in uses.iter().rev() {
        let id = one.layer.id;
        if !decided.layers.contains(&id) {
            continue;
        }
        match graph.disk(&id) {
            Ok(disk) => plan.layers.push(PrunedLayer { id, disk }),
            // Removed by another process since.
            Err(_) if !store.has_layer(&id)? => {}
            Err(error) => return Err(error),
        }
    }
    Ok(plan)
}

/// What shows images and layers to people, outside the index.
struct Shown {
    mounts: Vec<MountedImage>,
    written: Vec<WritableImage>,
}

#[derive(Default)]
struct Decided {
    images: BTreeSet<ImageId>,
    layers: BTreeSet<LayerId>,
    kept: Vec<Kept>,
    tops: HashMap<ImageId, LayerId>,
}

fn decide(images: &[ImageSummary], uses: &[LayerUse], shown: &Shown, all: bool) -> Decided {
    let mut decided = Decided::default();
    for (image, because) in decide_images(images, uses, shown, all) {
        match because {
            Verdict::Goes => drop(decided.images.insert(image)),
            Verdict::Stays => {}
            Verdict::Kept(because) => decided.kept.push(Kept::image(image, because)),
        }
    }
    decide_layers(uses, shown, &mut decided);
    // Parents come before their children, so the last one is the top.
    for one in uses {
        for image in one
            .images
            .iter()
            .filter(|image| decided.images.contains(image))
        {
            decided.tops.insert(*image, one.layer.id);
        }
    }
    decided
}

enum Verdict {
    Goes,
    /// As everybody expects.
    Stays,
    /// Although it was asked for.
    Kept(Because),
}

fn decide_images(
    images: &[ImageSummary],
    uses: &[LayerUse],
    shown: &Shown,
    all: bool,
) -> BTreeMap<ImageId, Verdict> {
    let mut holders = HashMap::new();
    for one in uses {
        for image in &one.images {
            // The last layer wins: who holds the top holds the image.
            holders.insert(image, one.held_by.as_slice());
        }
    }
    let mut verdicts = BTreeMap::new();
    let mut stay: Vec<&ImageSummary> = Vec::new();
    for image in images {
        // Who shows or holds one of its images shows or holds the index.
        let members = image.members.iter().map(|member| &member.image);
        let ids: Vec<&ImageId> = members.chain([&image.id]).collect();
        let places = mounted::places(&shown.mounts, &ids);
        let written = writable::over_images(&shown.written, &ids);
        let sessions = ids.iter().filter_map(|id| holders.get(id).copied());
        let sessions: Vec<_> = sessions.flatten().cloned().collect();
        let verdict = if !all && !image.names.is_empty() {
            Verdict::Stays
        } else if !places.is_empty() {
            Verdict::Kept(Because::Mounted(places))
        } else if !written.is_empty() {
            Verdict::Kept(Because::Written(written))
        } else if !sessions.is_empty() {
            Verdict::Kept(Because::Sessions(sessions))
        } else {
            Verdict::Goes
        };
        if !matches!(verdict, Verdict::Goes) {
            stay.push(image);
        }
        verdicts.insert(image.id, verdict);
    }
    let by_id: HashMap<ImageId, &ImageSummary> =
        images.iter().map(|image| (image.id, image)).collect();
    while let Some(child) = stay.pop() {
        for member in &child.members {
            if let Some(verdict @ Verdict::Goes) = verdicts.get_mut(&member.image) {
                *verdict = match all {
                    true => Verdict::Kept(Because::Indexes(vec![child.id])),
                    false => Verdict::Stays,
                };
                stay.extend(by_id.get(&member.image).copied());
            }
        }
        let parent = child.parent.and_then(|parent| by_id.get(&parent).copied());
        if let Some(parent) = parent
            && let Some(verdict @ Verdict::Goes) = verdicts.get_mut(&parent.id)
        {
            *verdict = Verdict::Kept(Because::Parent(vec![child.id]));
            stay.push(parent);
        }
    }
    verdicts
}

/// Children come first here: it is they that keep a layer.
fn decide_layers(uses: &[LayerUse], shown: &Shown, decided: &mut Decided) {
    let mut needed: BTreeSet<LayerId> = BTreeSet::new();
    for one in uses.iter().rev() {
        let id = one.layer.id;
        let written = writable::on_layer(&shown.written, &id);
        let mounts = shown.mounts.iter();
        let places: Vec<_> = mounts
            .filter(|mount| mount.writable.is_none() && mount.layer == Some(id))
            .map(|mount| mount.target.clone())
            .collect();
        let of_image = one
            .images
            .iter()
            .any(|image| !decided.images.contains(image));
        let because = if of_image || needed.contains(&id) {
            None
        } else if !places.is_empty() {
            Some(Because::Mounted(places))
        } else if !written.is_empty() {
            Some(Because::Written(written))
        } else if !one.held_by.is_empty() {
            Some(Because::Sessions(one.held_by.clone()))
        } else if one.kept {
            Some(Because::Owner)
        } else {
            decided.layers.insert(id);
            continue;
        };
        needed.extend(one.layer.parent);
        decided
            .kept
            .extend(because.map(|because| Kept::layer(id, because)));
    }
}
