//! Reads OCI layouts: from `index.json` to images, whatever the members are read from.

pub(crate) mod beside;
mod blobs;
mod choose;
mod entries;
mod image;
#[cfg(test)]
pub(crate) mod tests;
mod whole;

use std::collections::HashMap;

use lith_store::ImageId;
use serde::Deserialize;

pub(crate) use self::blobs::{Blobs, Places};
use self::entries::Entry;
use super::{Document, Index, Platform};
use crate::LoadError;
use crate::json;
use crate::members::Contents;
use crate::source::{Ask, Description, SourceImage, SourceIndex};
use crate::tally::Tally;

pub(crate) const LAYOUT: &[u8] = b"oci-layout";
pub(crate) const INDEX: &[u8] = b"index.json";

/// The only version of the layout.
const VERSION: &str = "1.0.0";

/// Reads the images of an OCI layout, those that are asked for at least.
///
/// # Errors
/// Documents that cannot be trusted, blobs that are not what their descriptors say, images that
/// are not there for the platform.
pub(crate) fn describe(contents: &dyn Contents, ask: &Ask<'_>) -> Result<Description, LoadError> {
    check_version(contents)?;
    let index = read_index(contents)?;
    let entries = entries::wanted(Entry::all(index.manifests), ask)?;
    let mut reader = Reader::new(contents, Places::Layout, ask);
    for entry in &entries {
        reader.add_entry(entry)?;
    }
    reader.finish()
}

/// True when a container is a layout in which some image is one for several platforms.
pub(crate) fn lists_indexes(contents: &dyn Contents) -> bool {
    contents.has(LAYOUT)
        && read_index(contents).is_ok_and(|index| {
            let entries = Entry::all(index.manifests);
            entries.iter().any(Entry::is_index)
        })
}

fn check_version(contents: &dyn Contents) -> Result<(), LoadError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Layout {
        image_layout_version: String,
    }
    let layout = contents.document(LAYOUT, "OCI layout")?;
    let layout = layout.ok_or_else(|| missing("oci-layout", "an OCI layout"))?;
    let layout: Layout =
        json::parse_object(&layout.bytes).map_err(|source| LoadError::Document {
            member: "oci-layout".into(),
            source,
        })?;
    let found = layout.image_layout_version;
    match found == VERSION {
        true => Ok(()),
        false => Err(LoadError::LayoutVersion { found }),
    }
}

fn read_index(contents: &dyn Contents) -> Result<Index, LoadError> {
    let index = contents.document(INDEX, "OCI layout")?;
    let index = index.ok_or_else(|| missing("index.json", "an OCI layout"))?;
    match Document::parse(&index.bytes) {
        Ok(Document::Index(index)) => Ok(index),
        Ok(Document::Manifest(_)) => Err(LoadError::OtherKind {
            member: "index.json".into(),
            expected: "an index",
            found: "a manifest",
        }),
        Err(source) => Err(LoadError::Manifest {
            member: "index.json".into(),
            source,
        }),
    }
}

fn missing(member: &str, wanted_by: &str) -> LoadError {
    LoadError::MissingMember {
        member: member.to_owned(),
        wanted_by: wanted_by.to_owned(),
    }
}

/// Images as they are found.
pub(crate) struct Reader<'a> {
    blobs: Blobs<'a>,
    platform: Option<&'a Platform>,
    /// Whether indexes are taken as a whole.
    pub(crate) whole: bool,
    /// Whether what is missing may have been cut off.
    cut_off: bool,
    images: Vec<SourceImage>,
    indexes: Vec<SourceIndex>,
    by_id: HashMap<ImageId, usize>,
    tally: Tally,
    /// What was left out, and why.
    left_out: Vec<String>,
    warnings: Vec<String>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(contents: &'a dyn Contents, places: Places, ask: &Ask<'a>) -> Reader<'a> {
        Reader {
            blobs: Blobs::new(contents, places),
            platform: ask.platform,
            whole: ask.whole(),
            cut_off: ask.cut_off,
            images: Vec::new(),
            indexes: Vec::new(),
            by_id: HashMap::new(),
            tally: Tally::default(),
            left_out: Vec::new(),
            warnings: Vec::new(),
        }
    }

    fn add_entry(&mut self, entry: &Entry) -> Result<(), LoadError> {
        if self.whole && self.add_whole(entry)? {
            return Ok(());
        }
        let Some((descriptor, wanted_by)) = self.pick(entry)? else {
            return Ok(());
        };
        let Some(mut image) = self.image(&descriptor, &wanted_by)? else {
            return Ok(());
        };
        let (names, nameless) = entry.names();
        self.warnings.extend(nameless);
        image.names = names;
        self.add(image);
        Ok(())
    }

    /// Adds an image, or further names of one that is there.
    pub(crate) fn add(&mut self, image: SourceImage) {
        let index = *self.by_id.entry(image.id).or_insert(self.images.len());
        match self.images.get_mut(index) {
            None => self.images.push(image),
            Some(there) => {
                for name in image.names {
                    if !there.names.contains(&name) {
                        there.names.push(name);
                    }
                }
            }
        }
    }

    pub(crate) fn finish(mut self) -> Result<Description, LoadError> {
        if self.images.is_empty() {
            let left_out = self.left_out;
            return Err(LoadError::NoImages { left_out });
        }
        self.warnings.extend(self.left_out);
        Ok(Description {
            images: self.images,
            indexes: self.indexes,
            warnings: self.warnings,
            cut_off: None,
        })
    }
}
