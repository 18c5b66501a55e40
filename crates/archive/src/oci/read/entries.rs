//! Entries of `index.json`: what they are called, and which of them are wanted.

use lith_store::Reference;

use crate::LoadError;
use crate::load::is_called;
use crate::oci::{Descriptor, IMAGE_NAME, Kind, REF_NAME};
use crate::source::Ask;

/// What the index calls by one name: an image, or one for each of several platforms.
pub(super) struct Entry {
    pub(super) descriptors: Vec<Descriptor>,
}

impl Entry {
    /// Puts together what has the same name. What has none stands for itself.
    pub(super) fn all(descriptors: Vec<Descriptor>) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut by_name = std::collections::HashMap::new();
        for descriptor in descriptors {
            let value = |key| descriptor.annotations.get(key).cloned();
            let key = (value(IMAGE_NAME), value(REF_NAME));
            let index = match key {
                (None, None) => entries.len(),
                key => *by_name.entry(key).or_insert(entries.len()),
            };
            match entries.get_mut(index) {
                Some(entry) => entry.descriptors.push(descriptor),
                None => entries.push(Entry {
                    descriptors: vec![descriptor],
                }),
            }
        }
        entries
    }

    /// True when it is an image for several platforms.
    pub(super) fn is_index(&self) -> bool {
        match &self.descriptors[..] {
            [only] => only.media_type.kind() == Kind::Index,
            several => several.len() > 1,
        }
    }

    /// The names as they are written, the better one first.
    fn values(&self) -> impl Iterator<Item = &str> {
        let annotations = self.descriptors.first().map(|first| &first.annotations);
        let keys = [IMAGE_NAME, REF_NAME].into_iter();
        keys.filter_map(move |key| annotations?.get(key).map(String::as_str))
    }

    /// The names that the image gets, and why it gets none though something is written.
    pub(super) fn names(&self) -> (Vec<Reference>, Option<String>) {
        let mut reasons = Vec::new();
        for value in self.values() {
            match name(value) {
                Ok(name) => return (vec![name], None),
                Err(reason) => reasons.push(format!("{value:?} {reason}")),
            }
        }
        let warning = reasons
            .first()
            .map(|reason| format!("{reason}: {} has no name, give it one", self.label()));
        (Vec::new(), warning)
    }

    /// What it is called in messages.
    pub(super) fn label(&self) -> String {
        let digest = self
            .descriptors
            .first()
            .map(|first| first.digest.to_string());
        match (self.values().next(), digest) {
            (Some(value), _) if name(value).is_ok() => value.to_owned(),
            (_, Some(digest)) => digest,
            (value, None) => value.unwrap_or_default().to_owned(),
        }
    }

    /// What can be asked for, for a list of it.
    fn listed(&self) -> String {
        match self.values().next() {
            Some(value) => value.to_owned(),
            None => self.label(),
        }
    }

    fn is_written(&self, text: &str) -> bool {
        self.values().any(|value| value == text)
            || self
                .descriptors
                .iter()
                .any(|descriptor| descriptor.digest.to_string() == text)
    }

    fn is_named(&self, text: &str) -> bool {
        let wanted = Reference::parse(text);
        wanted.is_ok_and(|wanted| self.names().0.contains(&wanted))
    }
}

/// The name that an annotation makes.
fn name(value: &str) -> Result<Reference, &'static str> {
    // A tag alone would become the name of a repository.
    if !value.contains([':', '/']) {
        return Err("names no repository");
    }
    match Reference::parse(value) {
        Ok(name) if name.tag().is_some() && name.digest().is_none() => Ok(name),
        Ok(_) => Err("has a digest and no tag of its own"),
        Err(_) => Err("is not an image name"),
    }
}

/// Leaves only what is asked for, as far as the index tells.
pub(super) fn wanted(entries: Vec<Entry>, ask: &Ask<'_>) -> Result<Vec<Entry>, LoadError> {
    if let Some(text) = ask.entry {
        return one(entries, text);
    }
    let fits = |entry: &Entry, text: &String| is_called(&entry.names().0, "", text);
    let by_name = ask
        .images
        .iter()
        .all(|text| entries.iter().any(|entry| fits(entry, text)));
    if ask.images.is_empty() || !by_name {
        return Ok(entries);
    }
    let mut entries = entries;
    entries.retain(|entry| ask.images.iter().any(|text| fits(entry, text)));
    Ok(entries)
}

fn one(entries: Vec<Entry>, text: &str) -> Result<Vec<Entry>, LoadError> {
    let available = entries.iter().map(Entry::listed).collect();
    let (mut written, others): (Vec<Entry>, Vec<Entry>) = entries
        .into_iter()
        .partition(|entry| entry.is_written(text));
    if written.is_empty() {
        written = others
            .into_iter()
            .filter(|entry| entry.is_named(text))
            .collect();
    }
    if written.is_empty() {
        return Err(LoadError::NotInArchive {
            wanted: text.to_owned(),
            available,
        });
    }
    Ok(written)
}
