//! docker's own store: images in `image/DRIVER`, layers in the storage driver's folder.
//!
//! ```text
//! ROOT/image/DRIVER/repositories.json                     names
//!      image/DRIVER/imagedb/content/sha256/<image ID>     config
//!      image/DRIVER/imagedb/metadata/sha256/<image ID>/parent
//!      image/DRIVER/layerdb/sha256/<chain ID>/            diff, cache-id, parent, size,
//!                                                         tar-split.json.gz
//!      overlay2/<cache ID>/diff                           what the layer adds
//!      vfs/dir/<cache ID>                                 the layer with all below it
//! ```
//!
//! What is not obvious (docker 20.10):
//! - There are no lock files: the daemon is the only writer and keeps its locks in memory. Layers
//!   and images appear by one rename each, so that reading beside a running daemon sees whole
//!   ones; what it removes meanwhile is an error here that names what is missing.
//! - Layers are found by the chain ID of the config's diff IDs; nothing lists an image's layers.
//! - `repositories.json` has familiar names, those with digests among the tags, and is written
//!   anew as a whole.
//! - Each step of a build leaves an unnamed image, which is the recorded parent of the next. Those
//!   are left out when all images are asked for, as `docker images` does.
//! - With the containerd image store (the default of new installations since docker 29) images
//!   are not kept here at all.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;

use lith_store::{ChainId, DiffId, Digest, ImageId};
use serde::Deserialize;

use super::layers::{StoredLayer, StoredLayers};
use super::pick::{self, Listed};
use super::{EngineError, config};
use crate::config::ConfigFacts;
use crate::folder::Folder;
use crate::source::{
    Ask, Description, ImageSource, LayerData, LayerKey, LayerOpener, PassingLayers, SourceImage,
    SourceLayer,
};
use crate::{LoadError, Wanted, json};

/// What the drivers are called whose layers can be read; the first that is there is taken.
const DRIVERS: &[&str] = &["overlay2", "fuse-overlayfs", "vfs"];

/// Largest list of names that is read.
const MAX_NAMES: u64 = 64 << 20;
/// Files with one ID in them.
const MAX_ID: u64 = 4 << 10;

/// Images of docker's store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerStore {
    /// docker's data root.
    pub root: PathBuf,
    /// One of its images; all when there is none.
    pub image: Option<Wanted>,
}

impl ImageSource for DockerStore {
    fn describe(
        self: Box<Self>,
        _: &mut dyn PassingLayers,
        ask: &Ask<'_>,
    ) -> Result<(Description, Box<dyn LayerOpener>), LoadError> {
        let store = Folder::open(&self.root)?;
        let driver = driver(&store)?;
        let mut warnings = Vec::new();
        let mut found = Found {
            store: &store,
            driver,
            keys: HashMap::new(),
            stored: Vec::new(),
        };
        let listed = found.list(&mut warnings)?;
        let picked = pick::pick(&self.root, &listed, self.image.as_ref(), ask.images)?;
        let named_one = self.image.is_some() || !ask.images.is_empty();
        let steps = if named_one {
            HashSet::new()
        } else {
            found.parents(&listed)?
        };
        let mut images = Vec::new();
        for listed in picked.iter().filter_map(|index| listed.get(*index)) {
            let step = listed.names.is_empty() && listed.id.is_some_and(|id| steps.contains(&id));
            if !step {
                images.push(found.image(listed)?);
            }
        }
        let layers = found.stored;
        let description = Description {
            indexes: Vec::new(),
            images,
            warnings,
            cut_off: None,
        };
        let opener = StoredLayers {
            store,
            layers,
            hold: None,
        };
        Ok((description, Box::new(opener)))
    }
}

/// Names by repository, then by name.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Repositories {
    repositories: Option<BTreeMap<String, BTreeMap<String, String>>>,
}

/// Images and layers as they are found.
struct Found<'a> {
    store: &'a Folder,
    driver: &'static str,
    keys: HashMap<ChainId, LayerKey>,
    stored: Vec<StoredLayer>,
}

impl Found<'_> {
    /// All images, by ID.
    fn list(&self, warnings: &mut Vec<String>) -> Result<Vec<Listed>, EngineError> {
        let mut names = self.names()?;
        let content = self.store.names(&self.content())?.unwrap_or_default();
        let listed = content.into_iter().map(|hex| {
            let texts = names.remove(&hex).unwrap_or_default();
            let texts = texts.iter().map(String::as_str);
            let names = pick::names(texts, &hex, warnings);
            let digests = names.iter().filter_map(|name| name.digest().copied());
            Listed {
                id: ImageId::from_hex(&hex).ok(),
                digests: digests.collect(),
                text: hex,
                names,
            }
        });
        // The daemon leaves half-written files beside the others, under names that are no IDs.
        let listed = listed.filter(|listed| listed.id.is_some()).collect();
        for (hex, texts) in names {
            for text in texts {
                warnings.push(format!("{text} names image {hex}, which is not there"));
            }
        }
        Ok(listed)
    }

    /// Names by the hex digits of the image that they point to.
    fn names(&self) -> Result<BTreeMap<String, Vec<String>>, EngineError> {
        let below = format!("image/{}/repositories.json", self.driver);
        let Some(bytes) = self.store.read(&below, MAX_NAMES)? else {
            return Ok(BTreeMap::new());
        };
        let read: Repositories =
            json::parse_object(&bytes).map_err(|source| EngineError::Document {
                path: self.store.path(&below),
                source,
            })?;
        let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let all = read
            .repositories
            .unwrap_or_default()
            .into_values()
            .flatten();
        for (name, id) in all {
            let hex = id.strip_prefix("sha256:").unwrap_or(&id).to_owned();
            names.entry(hex).or_default().push(name);
        }
        Ok(names)
    }

    /// Images that others were built on.
    fn parents(&self, listed: &[Listed]) -> Result<HashSet<ImageId>, EngineError> {
        let mut parents = HashSet::new();
        for id in listed.iter().filter_map(|listed| listed.id) {
            parents.extend(self.parent(id)?);
        }
        Ok(parents)
    }

    fn parent(&self, image: ImageId) -> Result<Option<ImageId>, EngineError> {
        let below = format!(
            "image/{}/imagedb/metadata/sha256/{}/parent",
            self.driver,
            image.hex()
        );
        let Some(text) = self.id(&below)? else {
            return Ok(None);
        };
        let parent = text.parse().map_err(|_| EngineError::BadId {
            path: self.store.path(&below),
            what: "the ID of the parent",
            text,
        })?;
        Ok(Some(parent).filter(|parent| *parent != image))
    }

    fn image(&mut self, listed: &Listed) -> Result<SourceImage, LoadError> {
        let below = format!("{}/{}", self.content(), listed.text);
        let id = listed.id.ok_or_else(|| EngineError::BadId {
            path: self.store.path(&self.content()),
            what: "the ID of an image",
            text: listed.text.clone(),
        })?;
        let (config, facts) = config::read(self.store, &below, id)?;
        Ok(SourceImage {
            id,
            layers: self.layers(id, &facts)?,
            names: pick::tags(&listed.names),
            parent: self.parent(id)?,
            config,
            facts,
            extra: BTreeMap::new(),
            manifest: None,
            platform: None,
        })
    }

    fn layers(
        &mut self,
        image: ImageId,
        facts: &ConfigFacts,
    ) -> Result<Vec<SourceLayer>, EngineError> {
        let chain = ChainId::chain(&facts.diff_ids);
        let layers = facts.diff_ids.iter().zip(chain);
        layers
            .map(|(diff_id, chain)| {
                let key = self.key(image, *diff_id, chain)?;
                let name = format!("{} of {}", chain.hex(), self.store.path("").display());
                Ok(SourceLayer {
                    diff_id: *diff_id,
                    name,
                    data: LayerData::There(key),
                    size: None,
                    blob: None,
                })
            })
            .collect()
    }

    fn key(
        &mut self,
        image: ImageId,
        diff_id: DiffId,
        chain: ChainId,
    ) -> Result<LayerKey, EngineError> {
        if let Some(key) = self.keys.get(&chain) {
            return Ok(*key);
        }
        let folder = format!("image/{}/layerdb/sha256/{}", self.driver, chain.hex());
        let no_layer = || EngineError::NoLayer {
            image,
            layer: chain.hex(),
            path: self.store.path(&folder),
        };
        let found = self.id(&format!("{folder}/diff"))?.ok_or_else(no_layer)?;
        if found != diff_id.to_string() {
            return Err(EngineError::OtherLayer {
                layer: chain.hex(),
                image,
                expected: diff_id,
                found,
            });
        }
        let below = format!("{folder}/cache-id");
        let cache = self.id(&below)?.ok_or_else(no_layer)?;
        if Digest::from_hex(&cache).is_err() {
            return Err(EngineError::BadId {
                path: self.store.path(&below),
                what: "the ID of the tree",
                text: cache,
            });
        }
        let key = LayerKey(self.stored.len());
        self.stored.push(StoredLayer {
            id: chain.hex(),
            record: format!("{folder}/tar-split.json.gz"),
            tree: match self.driver {
                "vfs" => format!("vfs/dir/{cache}"),
                driver => format!("{driver}/{cache}/diff"),
            },
            composefs: None,
            hint: "fetch or build the image again",
        });
        self.keys.insert(chain, key);
        Ok(key)
    }

    /// The only content of a small file, without blanks around it.
    fn id(&self, below: &str) -> Result<Option<String>, EngineError> {
        let bytes = self.store.read(below, MAX_ID)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned()))
    }

    fn content(&self) -> String {
        format!("image/{}/imagedb/content/sha256", self.driver)
    }
}

/// The first storage driver that has images here.
fn driver(store: &Folder) -> Result<&'static str, EngineError> {
    let there = store.names("image")?.unwrap_or_default();
    for driver in DRIVERS {
        let content = format!("image/{driver}/imagedb/content/sha256");
        if there.iter().any(|name| name == driver)
            && store
                .names(&content)?
                .is_some_and(|images| !images.is_empty())
        {
            return Ok(driver);
        }
    }
    let known = |name: &&String| DRIVERS.contains(&name.as_str());
    if there.iter().any(|name| known(&name)) {
        let path = store.path("");
        return Err(EngineError::Empty { path });
    }
    match there.into_iter().next() {
        Some(driver) => Err(EngineError::Driver {
            driver,
            readable: DRIVERS,
        }),
        None => Err(EngineError::NotAStore {
            path: store.path(""),
            kind: "docker's store",
            reason: "it has no image folder (the containerd image store keeps images elsewhere)"
                .into(),
        }),
    }
}
