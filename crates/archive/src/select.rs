//! Which images: names and IDs as people write them.

pub(crate) mod platform;
mod similar;

use std::fmt;
use std::path::{Path, PathBuf};

use lith_graph::Graph;
use lith_store::{
    Digest, ImageId, ImageRecord, ImageSummary, IndexMember, ParseReferenceError, Reference,
    RetainError, Session, Store,
};

use crate::{RemoveError, SelectError};

/// Images that were asked for; their layers are held for as long as this lives.
///
/// Layers of an image that is removed meanwhile go when this is dropped.
pub struct Selection {
    graph: Graph,
    images: Vec<SelectedImage>,
    indexes: Vec<SelectedIndex>,
    staging: PathBuf,
    hold: Option<Session>,
}

/// One image that was asked for.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SelectedImage {
    /// The image with its documents.
    pub record: ImageRecord,
    /// The names it was asked by; none when it was asked by ID or digest.
    pub names: Vec<Reference>,
}

/// An index that was asked for: an image for several platforms.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SelectedIndex {
    /// The index with its documents.
    pub record: ImageRecord,
    /// The names it was asked by; none when it was asked by ID or digest.
    pub names: Vec<Reference>,
    /// Its images, in its order, each once.
    pub images: Vec<ImageRecord>,
}

impl SelectedIndex {
    /// The images that the index has here, for which platforms.
    pub(crate) fn members(&self) -> &[IndexMember] {
        let index = self.record.index.as_ref();
        index.map_or(&[], |index| &index.members)
    }
}

impl Selection {
    /// The images in the order asked, each once.
    pub fn images(&self) -> &[SelectedImage] {
        &self.images
    }

    /// The indexes in the order asked, each once.
    pub fn indexes(&self) -> &[SelectedIndex] {
        &self.indexes
    }

    /// All images that are held, those of indexes included.
    fn held(&self) -> impl Iterator<Item = &ImageRecord> {
        let images = self.images.iter().map(|image| &image.record);
        images.chain(self.indexes.iter().flat_map(|index| &index.images))
    }

    /// A folder of the store's staging that is there for as long as this lives.
    pub(crate) fn staging(&self) -> &Path {
        &self.staging
    }

    /// Lets go of the layers, and then looks: whoever removes an image does it the other way
    /// round, so that one of the two sees that nobody needs its layers any more.
    fn end(&self, hold: Session) -> Result<(), RemoveError> {
        hold.end()?;
        let store = self.graph.store();
        let mut freed = Vec::new();
        for record in self.held() {
            if !store.has_image(&record.id)? {
                freed.extend(record.layers.iter().rev());
            }
        }
        if freed.is_empty() {
            return Ok(());
        }
        let session = store.begin_small()?;
        for layer in freed {
            self.graph.sweep_unclaimed(&session, &[layer])?;
        }
        Ok(session.end()?)
    }
}

impl Drop for Selection {
    fn drop(&mut self) {
        if let Some(hold) = self.hold.take()
            && let Err(error) = self.end(hold)
        {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "layers of a removed image are left");
        }
    }
}

impl fmt::Debug for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Selection")
            .field("images", &self.images)
            .field("indexes", &self.indexes)
            .finish_non_exhaustive()
    }
}

/// What a text on the command line stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The image.
    pub id: ImageId,
    /// The name that led there; none for IDs and digests.
    pub name: Option<Reference>,
}

/// Finds the images that `wanted` stand for and holds their layers.
///
/// A bare name stands for all its tags; the same image asked twice is one with all the names.
/// 64 hex digits are always an ID; a name wins over the start of an ID.
///
/// # Errors
/// The first one that leads to nothing, or to several; nothing is held then.
pub fn select(graph: &Graph, wanted: &[String]) -> Result<Selection, SelectError> {
    select_with(graph, wanted, resolve)
}

/// As [`select()`], for a format that holds one image: a bare name that stands for several
/// tags is refused.
///
/// # Errors
/// [`SelectError::SeveralTags`], which lists them, and those of [`select()`].
pub fn select_single(graph: &Graph, wanted: &[String]) -> Result<Selection, SelectError> {
    select_with(graph, wanted, |store, text| {
        let found = resolve(store, text)?;
        match found.len() {
            0 | 1 => Ok(found),
            _ => Err(several_tags(text, found)),
        }
    })
}

fn several_tags(wanted: &str, found: Vec<Resolved>) -> SelectError {
    let tags = found.into_iter().filter_map(|found| found.name);
    SelectError::SeveralTags {
        wanted: wanted.to_owned(),
        tags: tags.map(|name| name.familiar()).collect(),
    }
}

fn select_with(
    graph: &Graph,
    wanted: &[String],
    resolve: impl Fn(&Store, &str) -> Result<Vec<Resolved>, SelectError>,
) -> Result<Selection, SelectError> {
    let store = graph.store();
    let hold = store.begin_small()?;
    let mut selection = Selection {
        graph: graph.clone(),
        images: Vec::new(),
        indexes: Vec::new(),
        staging: hold.dir().to_owned(),
        hold: None,
    };
    let filled = selection.fill(&hold, wanted, resolve);
    selection.hold = Some(hold);
    filled.map(|()| selection)
}

impl Selection {
    fn fill(
        &mut self,
        hold: &Session,
        wanted: &[String],
        resolve: impl Fn(&Store, &str) -> Result<Vec<Resolved>, SelectError>,
    ) -> Result<(), SelectError> {
        let graph = self.graph.clone();
        let store = graph.store();
        for text in wanted {
            for found in resolve(store, text)? {
                if self.names_of(&found.id).is_none() {
                    let record = held(store, hold, &found.id, text)?;
                    self.add(store, hold, record, text)?;
                }
                if let (Some(name), Some(names)) = (found.name, self.names_of(&found.id))
                    && !names.contains(&name)
                {
                    names.push(name);
                }
            }
        }
        Ok(())
    }

    /// The names by which something that was selected was asked for.
    fn names_of(&mut self, id: &ImageId) -> Option<&mut Vec<Reference>> {
        let images = self.images.iter_mut();
        let images = images.map(|image| (image.record.id, &mut image.names));
        let indexes = self.indexes.iter_mut();
        let indexes = indexes.map(|index| (index.record.id, &mut index.names));
        let mut all = images.chain(indexes);
        all.find(|(other, _)| other == id).map(|(_, names)| names)
    }

    /// Adds an image, or an index with its images.
    fn add(
        &mut self,
        store: &Store,
        hold: &Session,
        record: ImageRecord,
        wanted: &str,
    ) -> Result<(), SelectError> {
        let names = Vec::new();
        match &record.index {
            None => self.images.push(SelectedImage { record, names }),
            Some(index) => {
                let mut images: Vec<ImageRecord> = Vec::with_capacity(index.members.len());
                for member in &index.members {
                    if !images.iter().any(|image| image.id == member.image) {
                        images.push(held(store, hold, &member.image, wanted)?);
                    }
                }
                self.indexes.push(SelectedIndex {
                    record,
                    names,
                    images,
                });
            }
        }
        Ok(())
    }
}

fn gone(wanted: &str) -> SelectError {
    SelectError::NotFound {
        wanted: wanted.to_owned(),
        similar: Vec::new(),
    }
}

/// Reads an image and holds its layers.
fn held(
    store: &Store,
    hold: &Session,
    id: &ImageId,
    wanted: &str,
) -> Result<ImageRecord, SelectError> {
    let record = store.image(id)?.ok_or_else(|| gone(wanted))?;
    match store.retain(hold, &record.layers) {
        Ok(()) => Ok(record),
        // Removed in this moment, unless the image is still there and damaged.
        Err(RetainError::Missing { .. }) if store.image(id)?.is_none() => Err(gone(wanted)),
        Err(error) => Err(error.into()),
    }
}

/// Finds the one image that `wanted` stands for.
///
/// A bare name stands for its tag `latest`, or else for its only tag.
///
/// # Errors
/// When it leads to nothing, or to several images.
pub fn resolve_one(store: &Store, wanted: &str) -> Result<Resolved, SelectError> {
    let mut found = resolve(store, wanted)?;
    let latest = |found: &Resolved| {
        found
            .name
            .as_ref()
            .is_some_and(|name| name.tag() == Some("latest"))
    };
    let index = found.iter().position(latest).unwrap_or_default();
    if found.len() > 1 && !found.iter().any(latest) {
        return Err(several_tags(wanted, found));
    }
    if index < found.len() {
        return Ok(found.swap_remove(index));
    }
    Err(not_found(store, wanted)?)
}

/// Finds everything that `wanted` stands for: at least one image.
///
/// # Errors
/// When it leads to nothing, or is the start of several IDs.
pub fn resolve(store: &Store, wanted: &str) -> Result<Vec<Resolved>, SelectError> {
    let by_id = |id| vec![Resolved { id, name: None }];
    if let Some(prefix) = id_prefix(wanted) {
        return match by_prefix(store, prefix)? {
            Some(id) => Ok(by_id(id)),
            None => Err(not_found(store, wanted)?),
        };
    }
    let name = Reference::parse_bare(wanted);
    if let Ok(name) = &name {
        let found = by_name(store, name)?;
        if !found.is_empty() {
            return Ok(found);
        }
    }
    if is_hex(wanted)
        && let Some(id) = by_prefix(store, wanted)?
    {
        return Ok(by_id(id));
    }
    match name {
        // What cannot be a name is told as such, with what is wrong about it.
        Err(source) if !matches!(source, ParseReferenceError::LooksLikeId { .. }) => {
            Err(SelectError::BadName { source })
        }
        _ => Err(not_found(store, wanted)?),
    }
}

/// The hex digits of a text that can only be an ID.
fn id_prefix(text: &str) -> Option<&str> {
    if let Some(hex) = text.strip_prefix("sha256:") {
        return Some(hex);
    }
    Digest::from_hex(text).is_ok().then_some(text)
}

fn is_hex(text: &str) -> bool {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    !text.is_empty() && text.len() <= 64 && text.bytes().all(digit)
}

fn by_prefix(store: &Store, prefix: &str) -> Result<Option<ImageId>, SelectError> {
    if !is_hex(prefix) {
        return Ok(None);
    }
    let mut found = store.images_by_prefix(prefix)?;
    match found.len() {
        0 | 1 => Ok(found.pop()),
        _ => Err(SelectError::Ambiguous {
            prefix: prefix.to_owned(),
            candidates: found,
        }),
    }
}

fn by_name(store: &Store, name: &Reference) -> Result<Vec<Resolved>, SelectError> {
    let named = |(name, id)| Resolved {
        id,
        name: Some(name),
    };
    if let Some(digest) = name.digest() {
        return by_digest(store, name, digest);
    }
    if name.tag().is_some() {
        let id = store.name(name)?;
        return Ok(id.map(|id| named((name.clone(), id))).into_iter().collect());
    }
    let tags = store.tags_of_repository(name)?;
    Ok(tags
        .into_iter()
        .filter(|(name, _)| name.tag().is_some())
        .map(named)
        .collect())
}

/// The image whose manifest has this digest, when the store knows it by that.
fn by_digest(
    store: &Store,
    name: &Reference,
    digest: &Digest,
) -> Result<Vec<Resolved>, SelectError> {
    let found = match store.name(name)? {
        Some(id) => Some(id),
        None => {
            let fits = |image: &ImageSummary| image.manifest.as_ref() == Some(digest);
            let named = store.tags_of_repository(name)?;
            let named: Vec<ImageId> = named.into_iter().map(|(_, id)| id).collect();
            let mut images = store.images_of(&named)?.into_iter();
            images.find(fits).map(|image| image.id)
        }
    };
    Ok(found
        .map(|id| Resolved { id, name: None })
        .into_iter()
        .collect())
}

/// The error for `wanted`, with names that are close to it.
fn not_found(store: &Store, wanted: &str) -> Result<SelectError, SelectError> {
    let names = store.names()?;
    let names: Vec<String> = names.iter().map(|(name, _)| name.familiar()).collect();
    let similar = similar::similar(wanted, &names);
    Ok(SelectError::NotFound {
        wanted: wanted.to_owned(),
        similar,
    })
}
