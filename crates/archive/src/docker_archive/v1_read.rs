//! Archives with v1 images only: `repositories`, and for each image a folder with `json` and
//! `layer.tar`. Nobody says which layers those are, so they are hashed first.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use lith_store::{DiffId, Digest, ImageId, Reference};

use super::v1_config::{self, V1Json};
use crate::LoadError;
use crate::config;
use crate::error::text;
use crate::members::{Contents, FoundLayer};
use crate::source::{Ask, Description, SourceImage, SourceLayer};
use crate::tally::Tally;

const REPOSITORIES: &[u8] = b"repositories";

/// Bytes of v1 JSON that are kept.
const MAX_JSON: usize = 64 << 20;

/// True for cleaned names that archives with v1 images have, and hardly anything else.
pub(crate) fn is_v1(name: &[u8]) -> bool {
    let is_id = |folder: &[u8]| Digest::from_hex(&text(folder)).is_ok();
    name == REPOSITORIES || folder_of(name).is_some_and(is_id)
}

/// The folder of a file that makes it the folder of a v1 image.
fn folder_of(name: &[u8]) -> Option<&[u8]> {
    let folder = name
        .strip_suffix(b"/layer.tar")
        .or_else(|| name.strip_suffix(b"/json"))?;
    (!folder.contains(&b'/')).then_some(folder)
}

/// Describes every image that is no other one's parent, and every one with a name.
pub(crate) fn describe(contents: &dyn Contents, ask: &Ask<'_>) -> Result<Description, LoadError> {
    let names = names(contents)?;
    let folders = Folders::read(contents)?;
    if folders.by_id.is_empty() && names.is_empty() {
        return Err(LoadError::HoldsNoImage);
    }
    folders.check_parents()?;
    for id in names.keys() {
        if !folders.by_id.contains_key(id) {
            return Err(missing(&format!("{id}/json"), "repositories"));
        }
    }
    let layers = folders.layers(contents, ask)?;
    let parents: HashSet<&String> = folders
        .by_id
        .values()
        .filter_map(|folder| folder.v1.parent.as_ref())
        .collect();
    let is_image = |id: &String| !parents.contains(id) || names.contains_key(id);
    let images: Vec<&String> = folders.by_id.keys().filter(|id| is_image(id)).collect();
    let mut describer = Describer {
        folders: &folders,
        layers: &layers,
        names: &names,
        ids: HashMap::new(),
        tally: Tally::default(),
    };
    let mut described = BTreeMap::new();
    // Parents first, which their children name.
    for id in folders.by_depth(images) {
        let image = describer.image(id)?;
        described.insert(id, image);
    }
    Ok(Description {
        indexes: Vec::new(),
        images: described.into_values().collect(),
        warnings: Vec::new(),
        cut_off: None,
    })
}

/// The names of images by their v1 IDs.
fn names(contents: &dyn Contents) -> Result<BTreeMap<String, Vec<Reference>>, LoadError> {
    let mut names: BTreeMap<String, Vec<Reference>> = BTreeMap::new();
    let Some(document) = contents.document(REPOSITORIES, "the archive")? else {
        return Ok(names);
    };
    let member = text(&document.member);
    let parsed: Option<BTreeMap<String, Option<BTreeMap<String, String>>>> =
        serde_json::from_slice(&document.bytes).map_err(|source| LoadError::Document {
            member: member.clone(),
            source,
        })?;
    for (repository, tags) in parsed.unwrap_or_default() {
        for (tag, id) in tags.unwrap_or_default() {
            let name = Reference::parse(&format!("{repository}:{tag}"));
            let name = name.map_err(|source| LoadError::Name {
                config: member.clone(),
                source,
            })?;
            check_id(&id, "repositories")?;
            names.entry(id).or_default().push(name);
        }
    }
    Ok(names)
}

fn check_id(id: &str, wanted_by: &str) -> Result<(), LoadError> {
    if Digest::from_hex(id).is_ok() {
        return Ok(());
    }
    Err(LoadError::V1Id {
        id: id.to_owned(),
        wanted_by: wanted_by.to_owned(),
    })
}

fn missing(member: &str, wanted_by: &str) -> LoadError {
    LoadError::MissingMember {
        member: member.to_owned(),
        wanted_by: wanted_by.to_owned(),
    }
}

/// The folders of an archive.
struct Folders {
    by_id: BTreeMap<String, Folder>,
}

struct Folder {
    json: Vec<u8>,
    v1: V1Json,
}

impl Folders {
    fn read(contents: &dyn Contents) -> Result<Folders, LoadError> {
        let names = contents.names()?;
        let ids: BTreeSet<&[u8]> = names.iter().filter_map(|name| folder_of(name)).collect();
        let mut by_id = BTreeMap::new();
        let mut bytes = 0;
        for id in ids {
            let id = text(id);
            check_id(&id, "the archive")?;
            let member = format!("{id}/json");
            let document = contents.document(member.as_bytes(), "the archive")?;
            let json = document
                .ok_or_else(|| missing(&member, "the archive"))?
                .bytes;
            bytes += json.len();
            if bytes > MAX_JSON {
                return Err(LoadError::TooMany {
                    what: "bytes of v1 JSON",
                    limit: MAX_JSON,
                });
            }
            let v1 = v1_config::parse(&json);
            let v1 = v1.map_err(|source| LoadError::Document { member, source })?;
            if let Some(other) = v1.id.as_ref().filter(|other| **other != id) {
                return Err(LoadError::V1OtherId {
                    folder: id,
                    id: other.clone(),
                });
            }
            by_id.insert(id, Folder { json, v1 });
        }
        Ok(Folders { by_id })
    }

    /// Makes sure that every parent is there, and that nobody is his own ancestor.
    fn check_parents(&self) -> Result<(), LoadError> {
        let mut good: HashSet<&str> = HashSet::new();
        for start in self.by_id.keys() {
            let mut path = HashSet::new();
            let mut id = start.as_str();
            while !good.contains(id) {
                if !path.insert(id) {
                    return Err(LoadError::V1Loop { id: id.to_owned() });
                }
                match self.parent(id) {
                    None => break,
                    Some(parent) if self.by_id.contains_key(parent) => id = parent,
                    Some(parent) => {
                        check_id(parent, &format!("{id}/json"))?;
                        return Err(missing(&format!("{parent}/json"), &format!("{id}/json")));
                    }
                }
            }
            good.extend(path);
        }
        Ok(())
    }

    fn parent(&self, id: &str) -> Option<&str> {
        self.by_id.get(id)?.v1.parent.as_deref()
    }

    /// An image and those below it, bottom first.
    fn stack<'a>(&'a self, top: &'a str) -> Vec<&'a str> {
        let mut stack: Vec<&str> = std::iter::successors(Some(top), |id| self.parent(id)).collect();
        stack.reverse();
        stack
    }

    fn by_depth<'a>(&'a self, mut ids: Vec<&'a String>) -> Vec<&'a String> {
        ids.sort_by_cached_key(|id| self.stack(id).len());
        ids
    }

    /// Finds all layers, and hashes each once.
    fn layers(
        &self,
        contents: &dyn Contents,
        ask: &Ask<'_>,
    ) -> Result<HashMap<&str, (DiffId, FoundLayer)>, LoadError> {
        let mut members: BTreeMap<Vec<u8>, FoundLayer> = BTreeMap::new();
        let mut found = Vec::with_capacity(self.by_id.len());
        for id in self.by_id.keys() {
            let path = format!("{id}/layer.tar");
            let layer = contents.layer(path.as_bytes(), &format!("v1 image {id}"))?;
            let layer = layer.ok_or_else(|| missing(&path, &format!("v1 image {id}")))?;
            found.push((id.as_str(), layer.member.clone()));
            members.insert(layer.member.clone(), layer);
        }
        let distinct: Vec<FoundLayer> = members.into_values().collect();
        let ids = contents.diff_ids(&distinct, ask.observer)?;
        let known: HashMap<Vec<u8>, (DiffId, FoundLayer)> = distinct
            .into_iter()
            .zip(ids)
            .map(|(layer, id)| (layer.member.clone(), (id, layer)))
            .collect();
        let known = |(id, member): (_, Vec<u8>)| Some((id, known.get(&member)?.clone()));
        Ok(found.into_iter().filter_map(known).collect())
    }
}

struct Describer<'a> {
    folders: &'a Folders,
    layers: &'a HashMap<&'a str, (DiffId, FoundLayer)>,
    names: &'a BTreeMap<String, Vec<Reference>>,
    /// Of the images that were described.
    ids: HashMap<String, ImageId>,
    tally: Tally,
}

impl Describer<'_> {
    fn image(&mut self, id: &str) -> Result<SourceImage, LoadError> {
        let member = format!("{id}/json");
        let stack = self.folders.stack(id);
        let folders: Vec<&Folder> = stack
            .iter()
            .filter_map(|id| self.folders.by_id.get(*id))
            .collect();
        let history: Vec<&str> = folders.iter().map(|it| it.v1.history.as_str()).collect();
        let top = folders.last().map(|folder| folder.json.as_slice());
        let top = top.unwrap_or_default();
        let history_len: usize = history.iter().map(|entry| entry.len()).sum();
        self.tally.count(stack.len(), top.len() + history_len)?;
        let layers: Vec<SourceLayer> = stack
            .iter()
            .filter_map(|id| self.layers.get(*id))
            .map(|(diff_id, layer)| SourceLayer {
                diff_id: *diff_id,
                name: text(&layer.member),
                data: layer.data,
                size: Some(layer.size),
                blob: None,
            })
            .collect();
        let diff_ids: Vec<DiffId> = layers.iter().map(|layer| layer.diff_id).collect();
        let config = v1_config::config(top, &diff_ids, &history);
        let config = config.map_err(|source| LoadError::Document {
            member: member.clone(),
            source,
        })?;
        let facts =
            config::parse(&config).map_err(|source| LoadError::Config { member, source })?;
        let image = ImageId::of_bytes(&config);
        let ancestors = stack.iter().rev().skip(1);
        let parent = ancestors.filter_map(|id| self.ids.get(*id)).next().copied();
        self.ids.insert(id.to_owned(), image);
        Ok(SourceImage {
            id: image,
            config,
            facts,
            names: self.names.get(id).cloned().unwrap_or_default(),
            layers,
            parent,
            extra: BTreeMap::new(),
            manifest: None,
            platform: None,
        })
    }
}
