//! Writes docker-archives in the layout of older engines: a folder for each layer, members in
//! the order of their paths.
//!
//! The order of members mixes layers of all images, so the images have to be known before the
//! first layer: this is no writer that takes what comes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{BufRead, Write};

use lith_store::{DiffId, Reference};

use super::docker_v1;
use super::manifest::{self, OutItem};
use super::v1::V1Layer;
use crate::compress::{Layer, Written};
use crate::images::{Added, Contents};
use crate::tar_writer::{Attributes, TarWriter};
use crate::{ConfigError, WriteError};

/// An archive of which everything is known but the layers.
pub(crate) struct DirsArchive {
    members: Vec<Member>,
}

struct Member {
    path: String,
    /// Of the image that it was made for.
    mtime: u64,
    body: Body,
}

enum Body {
    Folder,
    Bytes(Vec<u8>),
    Layer(DiffId),
    Link(String),
}

/// What the files of an image lie in: folders by v1 ID, and files beside them.
#[derive(Default)]
struct Tree {
    /// By path; a folder's own is written without the slash, so that folders stand where
    /// walking a file system would meet them.
    members: BTreeMap<Vec<String>, Member>,
    /// Where each layer's real file lies.
    layers: HashMap<DiffId, String>,
}

impl DirsArchive {
    /// Plans an archive of the images, whose layers need not be there yet.
    pub(crate) fn plan(contents: &Contents) -> Result<DirsArchive, WriteError> {
        let mut tree = Tree::default();
        let mut items = Vec::new();
        let mut tops = HashMap::new();
        for added in &contents.images {
            let stack = docker_v1::layers(&added.image.config, &added.facts.diff_ids);
            let stack = stack.map_err(|source| WriteError::Config {
                image: added.id,
                source: ConfigError::Json(source),
            })?;
            tree.image(added, &stack);
            items.push(item(added, contents, &stack));
            if let Some(top) = stack.last() {
                tops.insert(added.id, top.id.clone());
            }
        }
        let manifest = format!("{}\n", manifest::write(&items));
        tree.file("manifest.json", 0, manifest.into_bytes());
        let repositories = contents.repositories(Reference::familiar_repository, |added| {
            tops.get(&added.id).cloned()
        });
        if !repositories.is_empty() {
            let repositories = format!("{}\n", manifest::repositories(&repositories));
            tree.file("repositories", 0, repositories.into_bytes());
        }
        Ok(DirsArchive {
            members: tree.members.into_values().collect(),
        })
    }

    /// The layers in the order in which they are written, each once.
    pub(crate) fn layers(&self) -> Vec<DiffId> {
        let layers = self.members.iter().filter_map(|member| match member.body {
            Body::Layer(diff_id) => Some(diff_id),
            _ => None,
        });
        layers.collect()
    }

    /// Starts to write.
    pub(crate) fn begin<W: Write>(self, tar: TarWriter<W>) -> DirsWriter<W> {
        DirsWriter {
            tar,
            members: self.members.into_iter(),
            written: HashSet::new(),
        }
    }
}

impl Tree {
    fn image(&mut self, added: &Added, stack: &[V1Layer]) {
        let mtime = seconds(added.facts.created.as_deref());
        for layer in stack {
            let folder = vec![layer.id.clone()];
            if self.members.contains_key(&folder) {
                continue;
            }
            self.add(folder, format!("{}/", layer.id), mtime, Body::Folder);
            self.file(&format!("{}/VERSION", layer.id), mtime, b"1.0".to_vec());
            let json = layer.json.clone().into_bytes();
            self.file(&format!("{}/json", layer.id), mtime, json);
            let path = format!("{}/layer.tar", layer.id);
            let body = match self.layers.get(&layer.diff_id) {
                Some(first) => Body::Link(format!("../{first}")),
                None => {
                    self.layers.insert(layer.diff_id, path.clone());
                    Body::Layer(layer.diff_id)
                }
            };
            let key = vec![layer.id.clone(), "layer.tar".to_owned()];
            self.add(key, path, mtime, body);
        }
        let config = added.image.config.clone();
        self.file(&format!("{}.json", added.id.hex()), mtime, config);
    }

    fn file(&mut self, path: &str, mtime: u64, bytes: Vec<u8>) {
        let key = path.split('/').map(str::to_owned).collect();
        self.add(key, path.to_owned(), mtime, Body::Bytes(bytes));
    }

    fn add(&mut self, key: Vec<String>, path: String, mtime: u64, body: Body) {
        self.members.insert(key, Member { path, mtime, body });
    }
}

/// The time of an image as the time of a file; the engine writes 0 for what is before 1970.
fn seconds(created: Option<&str>) -> u64 {
    let time = created.and_then(|text| text.parse::<jiff::Timestamp>().ok());
    time.and_then(|time| u64::try_from(time.as_second()).ok())
        .unwrap_or_default()
}

fn item(added: &Added, contents: &Contents, stack: &[V1Layer]) -> OutItem {
    let names: Vec<String> = added.image.names.iter().map(Reference::familiar).collect();
    let layers: Vec<String> = stack
        .iter()
        .map(|layer| format!("{}/layer.tar", layer.id))
        .collect();
    let sources = added.image.layer_sources.iter();
    OutItem {
        config: format!("{}.json", added.id.hex()),
        repo_tags: Some(names).filter(|names| !names.is_empty()),
        layers: Some(layers).filter(|layers| !layers.is_empty()),
        parent: contents.parent(added).map(|parent| parent.to_string()),
        layer_sources: sources
            .map(|(id, json)| (id.to_string(), json.clone()))
            .collect(),
    }
}

/// An archive being written.
pub(crate) struct DirsWriter<W> {
    tar: TarWriter<W>,
    members: std::vec::IntoIter<Member>,
    written: HashSet<DiffId>,
}

impl<W: Write> DirsWriter<W> {
    pub(crate) fn has_layer(&self, diff_id: &DiffId) -> bool {
        self.written.contains(diff_id)
    }

    /// Writes the next layer, and all that stands before it.
    pub(crate) fn layer(
        &mut self,
        layer: &Layer,
        content: &mut dyn BufRead,
    ) -> Result<Written, WriteError> {
        while let Some(member) = self.members.next() {
            match member.body {
                Body::Layer(diff_id) if diff_id == layer.diff_id => {
                    let path = |_: &_| member.path.clone();
                    let attributes = attributes(0o100_644, member.mtime);
                    let written = self.tar.layer(layer, attributes, &path, content)?;
                    self.written.insert(diff_id);
                    return Ok(written);
                }
                Body::Layer(diff_id) => return Err(missing(&diff_id)),
                _ => self.member(&member)?,
            }
        }
        Err(missing(&layer.diff_id))
    }

    fn member(&mut self, member: &Member) -> Result<(), WriteError> {
        let Member { path, mtime, body } = member;
        let written = match body {
            Body::Folder => self.tar.folder(path, attributes(0o40_755, *mtime)),
            Body::Bytes(bytes) => {
                let attributes = attributes(0o100_644, *mtime);
                self.tar.whole_file(path, attributes, bytes)
            }
            Body::Link(target) => {
                let attributes = attributes(0o120_777, *mtime);
                self.tar.symlink_with(path, target, attributes)
            }
            Body::Layer(diff_id) => return Err(missing(diff_id)),
        };
        written.map_err(|source| WriteError::Output { source })
    }

    /// Writes the rest; says how many bytes the archive has.
    pub(crate) fn finish(mut self) -> Result<u64, WriteError> {
        while let Some(member) = self.members.next() {
            self.member(&member)?;
        }
        let finished = self.tar.finish();
        let (_, bytes) = finished.map_err(|source| WriteError::Output { source })?;
        Ok(bytes)
    }
}

/// The engine keeps what kind of file it is in the mode, too.
fn attributes(mode: u32, mtime: u64) -> Attributes {
    Attributes {
        mode,
        mtime,
        owner: "root",
    }
}

/// Layers have to come in the order of the plan.
fn missing(diff_id: &DiffId) -> WriteError {
    WriteError::OutOfOrder { layer: *diff_id }
}
