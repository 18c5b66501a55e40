//! What intents about images announce: nobody but the recovery touches what they have half done.

use std::collections::{BTreeMap, BTreeSet};

use crate::digest::{ImageId, LayerId};
use crate::error::StoreError;
use crate::intent::{Intent, PlannedName};
use crate::reference::Reference;
use crate::root::Root;
use crate::session;

/// What a session had begun to publish: it appears with all the rest of its batch, or not at
/// all, when that session is recovered.
#[derive(Default)]
pub(crate) struct Pending {
    pub(crate) images: BTreeSet<ImageId>,
    /// What living sessions are publishing or removing: folders and rows differ until they are
    /// done with it, and they see to both.
    pub(crate) at_work: AtWork,
    names: BTreeMap<Reference, PlannedName>,
}

/// What living sessions are at.
#[derive(Default)]
pub(crate) struct AtWork {
    pub(crate) layers: BTreeSet<LayerId>,
    pub(crate) images: BTreeSet<ImageId>,
}

impl AtWork {
    fn add(&mut self, intent: &Intent) {
        match intent {
            Intent::Layer { id, .. } | Intent::RemoveLayer { id, .. } => {
                self.layers.insert(*id);
            }
            Intent::Layers { layers } => self.layers.extend(layers.iter().map(|(id, _)| *id)),
            Intent::RemoveImage { id } => {
                self.images.insert(*id);
            }
            _ => {}
        }
    }
}

impl Pending {
    pub(crate) fn read(root: &Root) -> Result<Pending, StoreError> {
        let mut pending = Pending::default();
        for id in session::ids_in(&root.staging())? {
            let alive = session::is_alive(root, &id)?;
            for intent in crate::intent::peek_all(&root.session(&id))? {
                // One that is torn was not synced, and those of images are.
                let plan = match intent {
                    Ok(Intent::Images(plan)) => plan,
                    Ok(intent) => {
                        if alive {
                            pending.at_work.add(&intent);
                        }
                        continue;
                    }
                    Err(_) => continue,
                };
                pending.images.extend(plan.images);
                pending.images.extend(plan.adopted);
                let names = plan.names.into_iter();
                pending
                    .names
                    .extend(names.map(|plan| (plan.name.clone(), plan)));
            }
        }
        Ok(pending)
    }

    /// The plan for a name whose file says already what was planned.
    pub(crate) fn of_name(&self, name: &Reference, image: &ImageId) -> Option<&PlannedName> {
        self.names.get(name).filter(|plan| plan.image == *image)
    }
}
