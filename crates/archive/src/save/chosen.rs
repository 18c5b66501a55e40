//! What is written of a selection: which images, under which names.

use std::collections::{BTreeMap, BTreeSet};

use lith_store::{Digest, ImageId, Reference};

use crate::naming;
use crate::select::platform;
use crate::{ArchiveIndex, SaveError, SaveOptions, SelectedImage, SelectedIndex, Selection};

/// What is to be written.
pub(super) struct Chosen {
    pub(super) images: Vec<SelectedImage>,
    pub(super) indexes: Vec<ArchiveIndex>,
    /// Images that are written only because an index has them.
    pub(super) members: BTreeSet<ImageId>,
}

impl Chosen {
    /// Whole indexes where the format takes them and no platform is asked for; else of each one
    /// image.
    pub(super) fn of(selection: &Selection, options: &SaveOptions) -> Result<Chosen, SaveError> {
        let mut chosen = Chosen {
            images: selection.images().to_vec(),
            indexes: Vec::new(),
            members: BTreeSet::new(),
        };
        let whole = options.platform.is_none() && options.format.takes_indexes();
        if let Some(wanted) = &options.platform {
            for image in selection.images() {
                platform::check(&image.record, wanted)?;
            }
        }
        for index in selection.indexes() {
            match whole {
                true => chosen.add_whole(index)?,
                false => chosen.add_one(index, options)?,
            }
        }
        chosen.rename(options)?;
        Ok(chosen)
    }

    /// Adds the image of an index that is for the platform, under the names of the index.
    fn add_one(&mut self, index: &SelectedIndex, options: &SaveOptions) -> Result<(), SaveError> {
        let id = platform::best(&index.record.id, index.members(), options.platform.as_ref())?;
        let there = self.images.iter_mut().find(|image| image.record.id == id);
        if let Some(there) = there {
            let names = index
                .names
                .iter()
                .filter(|name| !there.names.contains(name));
            let names: Vec<Reference> = names.cloned().collect();
            there.names.extend(names);
            return Ok(());
        }
        let record = index.images.iter().find(|record| record.id == id);
        self.images.extend(record.map(|record| SelectedImage {
            record: record.clone(),
            names: index.names.clone(),
        }));
        Ok(())
    }

    fn add_whole(&mut self, index: &SelectedIndex) -> Result<(), SaveError> {
        for record in &index.images {
            if !self.images.iter().any(|image| image.record.id == record.id) {
                self.members.insert(record.id);
                self.images.push(SelectedImage {
                    record: record.clone(),
                    names: Vec::new(),
                });
            }
        }
        let damaged = |reason: String| SaveError::Image {
            image: index.record.id,
            reason,
        };
        let mut blobs = BTreeMap::new();
        for (name, bytes) in &index.record.extra {
            let digest = Digest::of(bytes);
            if digest.hex() != *name {
                return Err(damaged(format!("its file {name} has digest {digest}")));
            }
            blobs.insert(digest, bytes.clone());
        }
        let document = index.record.index.as_ref();
        self.indexes.push(ArchiveIndex {
            document: document.map_or_else(Vec::new, |index| index.document.clone()),
            names: index.names.clone(),
            index_name: None,
            members: index
                .members()
                .iter()
                .map(|member| (member.manifest, member.image))
                .collect(),
            blobs,
        });
        Ok(())
    }

    /// Gives the one image or index there is a name instead of those it was asked by, and further
    /// ones.
    fn rename(&mut self, options: &SaveOptions) -> Result<(), SaveError> {
        if options.name.is_some() || options.index_name.is_some() {
            let names = self.images.iter_mut().map(|image| &mut image.names);
            let indexes = self.indexes.iter_mut().map(|index| &mut index.names);
            names.chain(indexes).for_each(Vec::clear);
        }
        for index in &mut self.indexes {
            index.index_name.clone_from(&options.index_name);
        }
        let tags = options.tags.iter().chain(&options.name);
        let tags: Vec<&Reference> = tags.collect();
        if tags.is_empty() {
            return Ok(());
        }
        if let Some(name) = naming::not_a_tag(tags.iter().copied()) {
            return Err(SaveError::NotATag {
                name: name.to_string(),
            });
        }
        naming::put_first(self.only()?, &tags);
        Ok(())
    }

    /// The names of the only image or index.
    fn only(&mut self) -> Result<&mut Vec<Reference>, SaveError> {
        let members = &self.members;
        let images = self.images.iter_mut();
        let images = images.filter(|image| !members.contains(&image.record.id));
        let images = images.map(|image| &mut image.names);
        let indexes = self.indexes.iter_mut().map(|index| &mut index.names);
        let mut all: Vec<&mut Vec<Reference>> = images.chain(indexes).collect();
        match (all.len(), all.pop()) {
            (1, Some(names)) => Ok(names),
            (images, _) => Err(SaveError::TagsNeedOneImage { images }),
        }
    }
}
