//! A folder with the members as files: an OCI layout, a docker-dir, an archive that was unpacked.
//!
//! The path that the user gave may lead through links. Below it the kernel follows none: what is
//! a link itself is resolved as it would be in an archive, so that nothing leads outside, and
//! blobs are never links.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use lith_graph::Observer;
use lith_store::DiffId;

use super::{Container, Contents, Document, FoundLayer, names};
use crate::LoadError;
use crate::error::text;
use crate::folder::{Folder, FolderError};
use crate::source::{Ask, LayerBytes, LayerData, LayerKey, LayerOpener, PassingLayers};

/// How many links may lead to one file.
const MAX_LINKS: usize = 40;

/// How many files of a folder are listed.
const MAX_LISTED: usize = 1 << 17;

/// Where links are refused.
const BLOBS: &[u8] = b"blobs/";

/// A folder with members.
pub(crate) struct Tree {
    folder: Folder,
    layers: Mutex<Layers>,
}

/// Layers that were found.
#[derive(Default)]
struct Layers {
    paths: Vec<String>,
    keys: HashMap<String, LayerKey>,
}

impl Tree {
    pub(crate) fn open(path: &Path) -> Result<Tree, LoadError> {
        Ok(Tree {
            folder: Folder::open(path)?,
            layers: Mutex::default(),
        })
    }

    /// Opens the regular file that `path` stands for, links followed, under its own name.
    fn find(&self, path: &[u8], wanted_by: &str) -> Result<Option<(String, File)>, LoadError> {
        let bad_path = |path: &[u8], wanted_by: String, reason| LoadError::BadPath {
            path: text(path),
            wanted_by,
            reason,
        };
        let first =
            names::clean(path).map_err(|bad| bad_path(path, wanted_by.to_owned(), bad.reason()))?;
        let mut name = first.clone();
        for step in 0..=MAX_LINKS {
            // A name that is no text is nobody's: documents only have texts.
            let below = std::str::from_utf8(&name)
                .map_err(|_| bad_path(&name, wanted_by.to_owned(), "it is not UTF-8"))?;
            let target = match name.starts_with(BLOBS) {
                true => None,
                false => self.folder.link(below)?,
            };
            let Some(target) = target else {
                return match self.folder.file(below)? {
                    Some(file) => Ok(Some((below.to_owned(), file))),
                    None if step == 0 => Ok(None),
                    None => Err(LoadError::MissingMember {
                        member: text(&name),
                        wanted_by: format!("link {}", text(&first)),
                    }),
                };
            };
            name = names::follow(&name, &target)
                .map_err(|bad| bad_path(&target, format!("link {}", text(&name)), bad.reason()))?;
        }
        let member = text(&first);
        Err(LoadError::LinkLoop { member })
    }

    fn open_layer(&self, key: LayerKey) -> Result<File, LoadError> {
        let layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        let path = layers.paths.get(key.0).cloned().unwrap_or_default();
        drop(layers);
        let file = self.folder.file(&path)?;
        file.ok_or_else(|| LoadError::MissingMember {
            member: path,
            wanted_by: "the image".into(),
        })
    }

    /// Names in a folder below, with its path in front.
    fn list(&self, below: &str, into: &mut Vec<String>) -> Result<(), LoadError> {
        let names = self.folder.names(below)?.unwrap_or_default();
        if into.len() + names.len() > MAX_LISTED {
            return Err(LoadError::TooMany {
                what: "members",
                limit: MAX_LISTED,
            });
        }
        into.extend(names.into_iter().map(|name| match below {
            "" => name,
            below => format!("{below}/{name}"),
        }));
        Ok(())
    }
}

impl Container for Tree {
    /// Nothing is looked at before it is asked for.
    fn read(&mut self, _: &mut dyn PassingLayers, _: &Ask<'_>) -> Result<Option<u64>, LoadError> {
        Ok(None)
    }

    fn into_opener(self) -> Box<dyn LayerOpener> {
        Box::new(self)
    }
}

impl LayerOpener for Tree {
    fn open(&self, layer: LayerKey, _: &dyn Observer) -> Result<LayerBytes<'_>, LoadError> {
        Ok(Box::new(self.open_layer(layer)?))
    }
}

impl Contents for Tree {
    fn document(&self, path: &[u8], wanted_by: &str) -> Result<Option<Document>, LoadError> {
        let Some((name, file)) = self.find(path, wanted_by)? else {
            return Ok(None);
        };
        let limit = super::limit(name.as_bytes());
        let failed = |source| FolderError::Io {
            action: "read",
            path: self.folder.path(&name),
            source,
        };
        let mut bytes = Vec::new();
        let read = (&file).take(limit + 1).read_to_end(&mut bytes);
        read.map_err(failed)?;
        if bytes.len() as u64 > limit {
            let size = file.metadata().map_err(failed)?.len();
            return Err(LoadError::TooLarge {
                member: name,
                size: size.max(limit + 1),
                limit,
            });
        }
        Ok(Some(Document {
            member: name.into_bytes(),
            bytes,
        }))
    }

    fn layer(&self, path: &[u8], wanted_by: &str) -> Result<Option<FoundLayer>, LoadError> {
        let Some((name, file)) = self.find(path, wanted_by)? else {
            return Ok(None);
        };
        let metadata = file.metadata().map_err(|source| FolderError::Io {
            action: "look at",
            path: self.folder.path(&name),
            source,
        })?;
        let mut layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        let Layers { paths, keys } = &mut *layers;
        let key = *keys.entry(name.clone()).or_insert_with(|| {
            paths.push(name.clone());
            LayerKey(paths.len() - 1)
        });
        Ok(Some(FoundLayer {
            member: name.into_bytes(),
            data: LayerData::There(key),
            size: metadata.len(),
            passed: None,
        }))
    }

    fn diff_ids(
        &self,
        layers: &[FoundLayer],
        observer: &dyn Observer,
    ) -> Result<Vec<DiffId>, LoadError> {
        let open = |layer: &FoundLayer| match layer.data {
            LayerData::There(key) => self.open_layer(key),
            _ => Err(super::not_a_layer(layer)),
        };
        super::diff_ids_of(layers, open, observer)
    }

    fn has(&self, name: &[u8]) -> bool {
        let name = std::str::from_utf8(name);
        name.is_ok_and(|name| {
            let link = || matches!(self.folder.link(name), Ok(Some(_)));
            matches!(self.folder.file(name), Ok(Some(_))) || link()
        })
    }

    fn names(&self) -> Result<Vec<Vec<u8>>, LoadError> {
        let mut names = Vec::new();
        self.list("", &mut names)?;
        for folder in names.clone() {
            match self.list(&folder, &mut names) {
                // A file.
                Err(LoadError::Folder(FolderError::Kind { .. })) | Ok(()) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(names.into_iter().map(String::into_bytes).collect())
    }
}
