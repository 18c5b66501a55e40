//! What intents about images announce: nobody but the recovery touches what they have half done.

use std::collections::{BTreeMap, BTreeSet};

use crate::digest::ImageId;
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
    names: BTreeMap<Reference, PlannedName>,
}

impl Pending {
    pub(crate) fn read(root: &Root) -> Result<Pending, StoreError> {
        let mut pending = Pending::default();
        for id in session::ids_in(&root.staging())? {
            for intent in crate::intent::peek_all(&root.session(&id))? {
                // One that is torn was not synced, and those of images are.
                let Ok(Intent::Images(plan)) = intent else {
                    continue;
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
