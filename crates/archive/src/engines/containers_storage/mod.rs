//! podman's, buildah's and CRI-O's store: containers-storage, with the overlay or vfs driver.
//!
//! ```text
//! ROOT/storage.lock
//!      DRIVER-images/images.json, images.lock     the images: ID, names, top layer
//!      DRIVER-images/<image ID>/<big data>        config, manifest, signatures
//!      DRIVER-layers/layers.json, layers.lock     the layers: ID, parent, digests
//!      DRIVER-layers/<layer ID>.tar-split.gz      the record of each layer
//!      overlay/<layer ID>/diff                    what the layer adds
//!      vfs/dir/<layer ID>                         the layer with all below it
//! RUN/DRIVER-layers/volatile-layers.json          layers that do not outlive the machine
//! ```
//!
//! What is not obvious (podman 4.3.1):
//! - A layer's ID is its diff ID only at the bottom; further up it is the SHA-256 of
//!   `<parent ID>+<diff ID>` in hex digits, which is no chain ID of anyone else's.
//! - Names may have digests (`name@sha256:...`) after a pull by digest; these are no tags.
//! - Steps of a build are images without names, and so is an image whose name went to another one:
//!   nothing tells them apart, so all of them are loaded when all images are.
//! - The config is big data whose name is the image ID as a digest, so its file name is base64. An
//!   image that was pulled with an old manifest (schema 1) has none that would give its ID.
//! - buildah's and podman's commits write records, too. Layers without one come from containers
//!   (which are layers without being images), from partial pulls and from very old versions.
//! - `storage.lock` is only held for moments while the other lists are loaded, and always for
//!   writing, even to read: taking it as a reader would protect nothing.
//! - Reading commands open every list for writing once at their start.

mod documents;
mod lock;

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use lith_graph::Observer;
use lith_store::{Digest, ImageId};

use self::documents::{Image, Layer};
use super::layers::{StoredLayer, StoredLayers};
use super::pick::{self, Listed};
use super::{EngineError, config};
use crate::config::ConfigFacts;
use crate::folder::Folder;
use crate::source::{
    Ask, Description, ImageSource, LayerData, LayerKey, LayerOpener, PassingLayers, SourceImage,
    SourceLayer,
};
use crate::{LoadError, StorageSpec, Wanted};

/// What the drivers are called whose layers can be read.
const DRIVERS: &[&str] = &["overlay", "vfs"];

/// Largest list that is read: a layer takes about 600 bytes of one.
const MAX_LIST: u64 = 256 << 20;

/// Images of a containers-storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainersStorage {
    /// Which store.
    pub store: StorageSpec,
    /// One of its images; all when there is none.
    pub image: Option<Wanted>,
}

impl ImageSource for ContainersStorage {
    fn describe(
        self: Box<Self>,
        _: &mut dyn PassingLayers,
        ask: &Ask<'_>,
    ) -> Result<(Description, Box<dyn LayerOpener>), LoadError> {
        let store = Folder::open(&self.store.root)?;
        let driver = driver(&store, self.store.driver.as_deref())?;
        let mut warnings = Vec::new();
        let images = self.images(&store, driver, ask, &mut warnings)?;
        let layers = Layers::read(&store, driver, self.store.run.as_deref(), ask.observer)?;
        let mut found = Found {
            store: &store,
            driver,
            layers: &layers,
            keys: HashMap::new(),
            stored: Vec::new(),
        };
        let images = images.into_iter().map(|image| found.image(image));
        let images = images.collect::<Result<_, _>>()?;
        let lock = format!("{driver}-layers/layers.lock");
        let layers = found.stored;
        let opener = StoredLayers {
            store,
            layers,
            hold: Some(Box::new(move |store, observer| {
                Ok(Box::new(lock::shared(store, &lock, observer)?))
            })),
        };
        let description = Description {
            indexes: Vec::new(),
            images,
            warnings,
            cut_off: None,
        };
        Ok((description, Box::new(opener)))
    }
}

/// An image that was picked, with its config.
struct Picked {
    listed: Listed,
    id: ImageId,
    top: Option<String>,
    config: Vec<u8>,
    facts: ConfigFacts,
}

impl ContainersStorage {
    /// Reads the list of images and the configs of those that are wanted.
    fn images(
        &self,
        store: &Folder,
        driver: &str,
        ask: &Ask<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<Picked>, LoadError> {
        let folder = format!("{driver}-images");
        let _held = lock::shared(store, &format!("{folder}/images.lock"), ask.observer)?;
        let images: Vec<Image> = list(store, &format!("{folder}/images.json"))?.unwrap_or_default();
        let listed: Vec<Listed> = images.iter().map(|image| listed(image, warnings)).collect();
        let path = self.store.root.as_path();
        let picked: BTreeSet<usize> = pick::pick(path, &listed, self.image.as_ref(), ask.images)?;
        let all = images.into_iter().zip(listed).enumerate();
        let chosen = all.filter(|(index, _)| picked.contains(index));
        chosen
            .map(|(_, (image, listed))| picked_image(store, &folder, image, listed))
            .collect()
    }
}

fn picked_image(
    store: &Folder,
    folder: &str,
    image: Image,
    listed: Listed,
) -> Result<Picked, LoadError> {
    let id = listed.id.ok_or_else(|| EngineError::BadId {
        path: store.path(&format!("{folder}/images.json")),
        what: "the ID of an image",
        text: image.id.clone(),
    })?;
    let file = documents::big_data_file(&id.to_string());
    let file = format!("{folder}/{}/{file}", id.hex());
    let (config, facts) = config::read(store, &file, id)?;
    Ok(Picked {
        listed,
        id,
        top: image.layer.filter(|layer| !layer.is_empty()),
        config,
        facts,
    })
}

fn listed(image: &Image, warnings: &mut Vec<String>) -> Listed {
    let names = image.names.iter().flatten().map(String::as_str);
    let mut digests: Vec<Digest> = image.manifests().filter_map(|d| d.parse().ok()).collect();
    digests.sort_unstable();
    digests.dedup();
    Listed {
        id: ImageId::from_hex(&image.id).ok(),
        text: image.id.clone(),
        names: pick::names(names, &image.id, warnings),
        digests,
    }
}

/// The layers of a store by ID.
struct Layers {
    by_id: HashMap<String, Layer>,
    path: PathBuf,
}

impl Layers {
    fn read(
        store: &Folder,
        driver: &str,
        run: Option<&Path>,
        observer: &dyn Observer,
    ) -> Result<Layers, LoadError> {
        let folder = format!("{driver}-layers");
        let main = format!("{folder}/layers.json");
        let volatile = format!("{folder}/volatile-layers.json");
        let _held = lock::shared(store, &format!("{folder}/layers.lock"), observer)?;
        let mut all: Vec<Layer> = list(store, &main)?.unwrap_or_default();
        all.extend(list(store, &volatile)?.unwrap_or_default());
        if let Some(run) = run.filter(|run| run.is_dir()) {
            let run = Folder::open(run)?;
            all.extend(list(&run, &volatile)?.unwrap_or_default());
        }
        let mut by_id = HashMap::new();
        for layer in all {
            by_id.entry(layer.id.clone()).or_insert(layer);
        }
        let path = store.path(&main);
        Ok(Layers { by_id, path })
    }

    /// The layers of an image, bottom first.
    fn chain(&self, image: ImageId, top: Option<&str>) -> Result<Vec<&Layer>, EngineError> {
        let mut chain = Vec::new();
        let mut next = top;
        while let Some(id) = next {
            let layer = self.by_id.get(id).ok_or_else(|| EngineError::NoLayer {
                image,
                layer: id.to_owned(),
                path: self.path.clone(),
            })?;
            if Digest::from_hex(id).is_err() {
                return Err(EngineError::BadId {
                    path: self.path.clone(),
                    what: "the ID of a layer",
                    text: id.to_owned(),
                });
            }
            if chain.len() >= self.by_id.len() {
                let layer = id.to_owned();
                return Err(EngineError::Loop { layer });
            }
            chain.push(layer);
            next = layer.parent.as_deref().filter(|parent| !parent.is_empty());
        }
        chain.reverse();
        Ok(chain)
    }
}

/// Images and layers as they are found.
struct Found<'a> {
    store: &'a Folder,
    driver: &'a str,
    layers: &'a Layers,
    keys: HashMap<String, LayerKey>,
    stored: Vec<StoredLayer>,
}

impl Found<'_> {
    fn image(&mut self, image: Picked) -> Result<SourceImage, LoadError> {
        let chain = self.layers.chain(image.id, image.top.as_deref())?;
        if chain.len() != image.facts.diff_ids.len() {
            return Err(LoadError::LayerCount {
                config: image.id.to_string(),
                layers: chain.len(),
                diff_ids: image.facts.diff_ids.len(),
            });
        }
        let mut layers = Vec::new();
        for (layer, diff_id) in chain.into_iter().zip(&image.facts.diff_ids) {
            let said = layer.diff_digest.as_deref().filter(|said| !said.is_empty());
            if let Some(said) = said
                && said != diff_id.to_string()
            {
                return Err(LoadError::from(EngineError::OtherLayer {
                    layer: layer.id.clone(),
                    image: image.id,
                    expected: *diff_id,
                    found: said.to_owned(),
                }));
            }
            layers.push(SourceLayer {
                diff_id: *diff_id,
                name: format!("{} of {}", layer.id, self.store.path("").display()),
                data: LayerData::There(self.key(layer)),
                size: None,
                blob: None,
            });
        }
        Ok(SourceImage {
            id: image.id,
            names: pick::tags(&image.listed.names),
            config: image.config,
            facts: image.facts,
            layers,
            parent: None,
            extra: Default::default(),
            manifest: None,
            platform: None,
        })
    }

    fn key(&mut self, layer: &Layer) -> LayerKey {
        let next = LayerKey(self.stored.len());
        let key = *self.keys.entry(layer.id.clone()).or_insert(next);
        if key == next {
            self.stored.push(self.stored(layer));
        }
        key
    }

    fn stored(&self, layer: &Layer) -> StoredLayer {
        let (id, driver) = (&layer.id, self.driver);
        let in_parts = layer
            .toc_digest
            .as_deref()
            .is_some_and(|toc| !toc.is_empty());
        let (tree, composefs) = match driver {
            "vfs" => (format!("vfs/dir/{id}"), None),
            _ => (
                format!("{driver}/{id}/diff"),
                Some(format!("{driver}/{id}/composefs-data")),
            ),
        };
        StoredLayer {
            id: id.clone(),
            record: format!("{driver}-layers/{id}.tar-split.gz"),
            tree,
            composefs,
            hint: if in_parts {
                "it was fetched in parts (zstd:chunked); fetch the image without that"
            } else {
                "fetch or build the image again"
            },
        }
    }
}

/// The storage driver to read: the one that is asked for, else the only one with images.
fn driver(store: &Folder, asked: Option<&str>) -> Result<&'static str, EngineError> {
    let not_a_store = |reason: String| EngineError::NotAStore {
        path: store.path(""),
        kind: "a containers-storage",
        reason,
    };
    if let Some(asked) = asked {
        // Both names mean the same driver.
        let asked = if asked == "overlay2" {
            "overlay"
        } else {
            asked
        };
        let known = DRIVERS.iter().find(|driver| **driver == asked);
        let known = known.ok_or_else(|| EngineError::Driver {
            driver: asked.to_owned(),
            readable: DRIVERS,
        })?;
        let list = format!("{known}-images/images.json");
        return match store.file(&list)? {
            Some(_) => Ok(known),
            None => Err(not_a_store(format!("it has no {list}"))),
        };
    }
    let mut with_images = Vec::new();
    let mut others = Vec::new();
    for folder in store.names("")?.unwrap_or_default() {
        let Some(name) = folder.strip_suffix("-images") else {
            continue;
        };
        if store.file(&format!("{folder}/images.json"))?.is_none() {
            continue;
        }
        match DRIVERS.iter().find(|driver| **driver == name) {
            Some(driver) => with_images.push(*driver),
            None => others.push(name.to_owned()),
        }
    }
    match (with_images.as_slice(), others.pop()) {
        ([driver], _) => Ok(driver),
        ([], Some(driver)) => Err(EngineError::Driver {
            driver,
            readable: DRIVERS,
        }),
        ([], None) => Err(not_a_store("it has no overlay-images/images.json".into())),
        (several, _) => Err(EngineError::SeveralDrivers {
            path: store.path(""),
            drivers: several.iter().map(|driver| (*driver).to_owned()).collect(),
        }),
    }
}

fn list<T: for<'a> serde::Deserialize<'a>>(
    store: &Folder,
    below: &str,
) -> Result<Option<Vec<T>>, EngineError> {
    let Some(bytes) = store.read(below, MAX_LIST)? else {
        return Ok(None);
    };
    let parsed = documents::parse(&bytes).map_err(|source| EngineError::Document {
        path: store.path(below),
        source,
    })?;
    Ok(Some(parsed))
}
