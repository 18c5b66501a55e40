//! What a caller wants published, and what of it has to be done.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::digest::{ImageId, LayerId};
use crate::error::{StoreError, is_there};
use crate::images::publish::PublishedImage;
use crate::images::{ImageError, ImageRecord, batch, folder, restore, table};
use crate::intent::{PlannedImages, PlannedName};
use crate::layers::{self, Published};
use crate::names::{self, NameError};
use crate::reference::Reference;
use crate::session::Session;
use crate::store::Store;

/// An image to be published, with the names it gets.
pub(crate) struct Wanted<'a> {
    pub(crate) record: &'a ImageRecord,
    pub(crate) names: &'a [Reference],
}

/// What one call is to publish.
pub(crate) struct Request<'a> {
    store: &'a Store,
    session: &'a Session,
    wanted: Vec<Wanted<'a>>,
    /// Every image once.
    records: BTreeMap<ImageId, &'a ImageRecord>,
    /// Every name once, with the last image that gives it.
    targets: BTreeMap<&'a Reference, ImageId>,
    /// The folder in staging.
    pub(crate) folder: PathBuf,
    staged: RefCell<Staged<'a>>,
}

#[derive(Default)]
struct Staged<'a> {
    images: BTreeSet<ImageId>,
    names: BTreeSet<&'a Reference>,
}

/// What has to be done at one moment.
struct Needs<'a> {
    /// The images that are not listed.
    images: BTreeSet<ImageId>,
    /// The names that do not point where they should.
    names: Vec<PlannedName>,
    /// What all names point to for everybody who asks.
    listed: BTreeMap<&'a Reference, ImageId>,
}

/// What is to be done, and said.
pub(crate) struct Planned<'a> {
    pub(crate) plan: PlannedImages,
    /// The images in the plan.
    pub(crate) records: Vec<Cow<'a, ImageRecord>>,
    /// Images that were there and lack something, as they are to be when all else is published.
    pub(crate) behind: Vec<ImageRecord>,
    /// What is to be said of each wanted image.
    pub(crate) done: Vec<PublishedImage>,
}

impl<'a> Request<'a> {
    /// Checks what can be without looking at the store.
    pub(crate) fn new(
        store: &'a Store,
        session: &'a Session,
        wanted: Vec<Wanted<'a>>,
    ) -> Result<Request<'a>, ImageError> {
        let mut records: BTreeMap<ImageId, &ImageRecord> = BTreeMap::new();
        let mut targets = BTreeMap::new();
        for Wanted { record, names } in &wanted {
            for name in *names {
                names::check(name).map_err(wrap)?;
                targets.insert(name, record.id);
            }
            match records.get(&record.id) {
                Some(first) if first.document() == record.document() => {
                    if first.layers != record.layers || first.index != record.index {
                        return Err(other_layers(record, first.layers.clone()));
                    }
                }
                _ => {
                    check(record)?;
                    records.insert(record.id, record);
                }
            }
        }
        Ok(Request {
            store,
            session,
            wanted,
            records,
            targets,
            folder: session.fresh_path("images"),
            staged: RefCell::default(),
        })
    }

    /// The images to be locked: those that are published, and members, which must stay.
    pub(crate) fn images(&self) -> impl Iterator<Item = &ImageId> {
        let members = self.records.values().flat_map(|record| record.members());
        self.records
            .keys()
            .chain(members.map(|member| &member.image))
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &Reference> {
        self.targets.keys().copied()
    }

    /// Writes into staging what the store lacks now.
    pub(crate) fn stage_lacking(&self) -> Result<(), ImageError> {
        let needs = self.needs()?;
        self.stage(&needs)
    }

    fn stage(&self, needs: &Needs<'a>) -> Result<(), ImageError> {
        let mut staged = self.staged.borrow_mut();
        let images: Vec<&ImageRecord> = needs
            .images
            .iter()
            .filter(|id| !staged.images.contains(*id))
            .filter_map(|id| self.records.get(id).copied())
            .collect();
        let names: Vec<(&'a Reference, &ImageId)> = needs
            .names
            .iter()
            .filter_map(|plan| self.targets.get_key_value(&plan.name))
            .map(|(name, image)| (*name, image))
            .filter(|(name, _)| !staged.names.contains(name))
            .collect();
        batch::stage(self.store.effects(), &self.folder, &images, &names)?;
        staged.images.extend(images.iter().map(|record| record.id));
        staged.names.extend(names.into_iter().map(|(name, _)| name));
        Ok(())
    }

    /// Plans what is to be done, and sees to it that all of it is staged. Wants the locks of
    /// images and names held, so that it stays true.
    pub(crate) fn plan(&self) -> Result<Planned<'a>, ImageError> {
        let needs = self.needs()?;
        let listed = self
            .records
            .values()
            .filter(|record| !needs.images.contains(&record.id));
        let listed: Vec<&ImageRecord> = listed.copied().collect();
        let mut behind = restore::damaged(self.store, self.session, &listed)?;
        // What somebody else removed or moved since.
        self.stage(&needs)?;
        let mut adopted = self.adopt_leftovers(&needs.images)?;
        for (id, found) in &adopted {
            let record = self.records.get(id);
            behind.extend(record.and_then(|record| restore::beyond(found.clone(), record)));
        }
        let plan = PlannedImages {
            folder: self
                .folder
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default(),
            images: needs
                .images
                .iter()
                .filter(|id| !adopted.contains_key(*id))
                .copied()
                .collect(),
            adopted: adopted.keys().copied().collect(),
            names: needs.names,
        };
        let done = self.outcome(&plan, needs.listed);
        let record = |id: &ImageId| match adopted.remove(id) {
            Some(found) => Some(Cow::Owned(found)),
            None => self.records.get(id).map(|record| Cow::Borrowed(*record)),
        };
        let records = needs.images.iter().filter_map(record).collect();
        Ok(Planned {
            plan,
            records,
            behind,
            done,
        })
    }

    fn needs(&self) -> Result<Needs<'a>, ImageError> {
        let mut needs = self.store.index().read("find images", |view| {
            let mut listed = BTreeMap::new();
            for name in self.targets.keys() {
                if let Some(image) = names::find(view, name)? {
                    listed.insert(*name, image);
                }
            }
            Ok::<_, ImageError>(Needs {
                images: self.lacking(view)?,
                names: Vec::new(),
                listed,
            })
        })?;
        for (name, image) in &self.targets {
            // The folders are the truth.
            let before = match names::read(&self.store.root().name(name), name) {
                // Healed by being written anew.
                Err(StoreError::Damaged { .. }) => None,
                other => other?,
            };
            if before == Some(*image) && needs.listed.get(name) == Some(image) {
                continue;
            }
            needs.names.push(PlannedName {
                name: (*name).clone(),
                image: *image,
                before,
            });
        }
        Ok(needs)
    }

    /// The images that are not listed. Those that are must have the same layers, those that
    /// are not must find theirs; members must be listed or in here.
    fn lacking(&self, view: &crate::index::View<'_>) -> Result<BTreeSet<ImageId>, ImageError> {
        let mut lacking = BTreeSet::new();
        let mut there: BTreeSet<&LayerId> = BTreeSet::new();
        for (id, record) in &self.records {
            self.check_members(view, record)?;
            if table::exists(view, id)? {
                let found = table::layers(view, id)?;
                if found != record.layers {
                    return Err(other_layers(record, found));
                }
                continue;
            }
            let mut missing = Vec::new();
            for layer in &record.layers {
                if there.contains(layer) || layers::table::exists(view, layer)? {
                    there.insert(layer);
                } else {
                    missing.push(*layer);
                }
            }
            if !missing.is_empty() {
                return Err(ImageError::MissingLayers {
                    image: *id,
                    missing,
                });
            }
            lacking.insert(*id);
        }
        Ok(lacking)
    }

    fn check_members(
        &self,
        view: &crate::index::View<'_>,
        record: &ImageRecord,
    ) -> Result<(), ImageError> {
        let mut missing = Vec::new();
        for member in record.members() {
            if !self.records.contains_key(&member.image) && !table::exists(view, &member.image)? {
                missing.push(member.image);
            }
        }
        match missing.is_empty() {
            true => Ok(()),
            false => Err(ImageError::MissingMembers {
                index: record.id,
                missing,
            }),
        }
    }

    /// What a process that died between folder and row left in the place of an image. It
    /// appeared complete, so it is adopted; what cannot be is put out of the way.
    fn adopt_leftovers(
        &self,
        lacking: &BTreeSet<ImageId>,
    ) -> Result<BTreeMap<ImageId, ImageRecord>, ImageError> {
        let mut adopted = BTreeMap::new();
        for id in lacking {
            let place = self.store.root().image(id);
            if !is_there(&place)? {
                continue;
            }
            match (folder::read_if_whole(&place, id)?, self.records.get(id)) {
                (Some(found), Some(record)) if found.layers == record.layers => {
                    adopted.insert(*id, found);
                }
                _ => {
                    tracing::warn!(image = %id, "replacing a leftover of this image");
                    let aside = self.session.fresh_path("leftover");
                    self.store.effects().rename(&place, &aside)?;
                }
            }
        }
        Ok(adopted)
    }

    /// What is said of each image, as if they had been published one after the other.
    fn outcome(
        &self,
        plan: &PlannedImages,
        mut listed: BTreeMap<&'a Reference, ImageId>,
    ) -> Vec<PublishedImage> {
        let mut new: BTreeSet<&ImageId> = plan.images.iter().collect();
        let say = |Wanted { record, names }: &Wanted<'a>| {
            let mut moved = Vec::new();
            for name in *names {
                let before = listed.insert(name, record.id);
                moved.extend(
                    before
                        .filter(|before| *before != record.id)
                        .map(|before| (name.clone(), before)),
                );
            }
            PublishedImage {
                published: if new.remove(&record.id) {
                    Published::New
                } else {
                    Published::AlreadyThere
                },
                moved,
            }
        };
        self.wanted.iter().map(say).collect()
    }
}

fn check(record: &ImageRecord) -> Result<(), ImageError> {
    folder::check_names(record)?;
    if let Some(index) = &record.index
        && (index.members.is_empty() || !record.config.is_empty() || !record.layers.is_empty())
    {
        return Err(ImageError::NoIndex { index: record.id });
    }
    let found = ImageId::of_bytes(record.document());
    if found != record.id {
        return Err(ImageError::ConfigDigest {
            expected: record.id,
            found,
        });
    }
    Ok(())
}

fn wrap(error: NameError) -> ImageError {
    match error {
        NameError::Store(error) => ImageError::Store(error),
        error => ImageError::Name(Box::new(error)),
    }
}

fn other_layers(record: &ImageRecord, found: Vec<LayerId>) -> ImageError {
    ImageError::OtherLayers {
        image: record.id,
        expected: record.layers.clone(),
        found,
    }
}
