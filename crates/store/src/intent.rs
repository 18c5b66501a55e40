//! Intents: word left in a session's folder of what is about to be done.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::digest::{ImageId, LayerId};
use crate::effects::Effects;
use crate::error::{IoContext, StoreError};
use crate::reference::Reference;

const PREFIX: &str = "intent-";

/// What a session is about to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "intent")]
#[non_exhaustive]
pub enum Intent {
    /// A layer is about to be published with the driver's tree `cache`. Found in a dead
    /// session: a tree that no layer uses is abandoned.
    Layer {
        /// The layer.
        id: LayerId,
        /// The driver's ID of its tree.
        cache: String,
    },
    /// Layers are about to be published together, parents before children: as
    /// [`Intent::Layer`] for each.
    Layers {
        /// The layers with the driver's IDs of their trees.
        layers: Vec<(LayerId, String)>,
    },
    /// A layer is about to be removed.
    RemoveLayer {
        /// The layer.
        id: LayerId,
        /// The driver's ID of its tree.
        cache: String,
    },
    /// What a layer says of itself is about to change.
    DescribeLayer {
        /// The layer.
        id: LayerId,
    },
    /// Images are about to be published and named, all or none.
    Images(PlannedImages),
    /// Images that are there are about to get what they lacked: a manifest, members.
    CompleteImages {
        /// The images.
        images: Vec<ImageId>,
    },
    /// An image is about to be removed.
    RemoveImage {
        /// The image.
        id: ImageId,
    },
    /// A name is about to be set, moved or removed.
    Name {
        /// The name.
        name: Reference,
    },
    /// The store is about to get another driver, whose trees are all there. Found in a dead session of a
    /// store that has got it: the trees of the former driver are to be removed, by who knows drivers.
    SwitchDriver {
        /// The driver until then.
        from: String,
        /// The driver from then on.
        to: String,
    },
}

/// Images that are to be published together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedImages {
    /// The folder in the session's staging that holds them, by the hex digits of their IDs, and
    /// the files of their names below `names`. Named `undone-…` when it is being undone.
    pub folder: String,
    /// The images in it.
    pub images: Vec<ImageId>,
    /// Images whose folders stood in their place already, without a row.
    pub adopted: Vec<ImageId>,
    /// The names that are to be set, for these images and for others that are there.
    pub names: Vec<PlannedName>,
}

impl Intent {
    /// The driver's trees that appear or go with what is intended.
    pub fn trees(&self) -> Vec<&str> {
        match self {
            Intent::Layer { cache, .. } | Intent::RemoveLayer { cache, .. } => vec![cache],
            Intent::Layers { layers } => layers.iter().map(|(_, cache)| cache.as_str()).collect(),
            _ => Vec::new(),
        }
    }
}

/// A name that an image is to get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedName {
    /// The name.
    pub name: Reference,
    /// The image.
    pub image: ImageId,
    /// What it pointed to when this was planned: whoever finishes the plan later leaves
    /// alone what has moved since.
    pub before: Option<ImageId>,
}

/// An intent on disk, until it is [done](IntentGuard::done).
///
/// Dropping leaves it there: whoever finds the session dead acts on it.
#[derive(Debug)]
#[must_use = "an intent that is not marked as done is acted upon by the next recovery"]
pub struct IntentGuard {
    effects: Arc<Effects>,
    path: PathBuf,
}

impl IntentGuard {
    /// Removes the intent: what it announced is done, or wholly undone.
    ///
    /// # Errors
    /// The file system's.
    pub fn done(self) -> Result<(), StoreError> {
        self.effects.remove_file(&self.path).map(drop)
    }

    /// As [`IntentGuard::done`] where failing must not hide how the work itself ended: an
    /// intent that stays is looked at once more, and found to be done.
    pub(crate) fn settled(self) {
        let path = self.path.clone();
        if let Err(error) = self.done() {
            tracing::warn!(intent = %path.display(), %error, "cannot remove intent");
        }
    }
}

/// Writes an intent; it appears in one rename.
pub(crate) fn leave(
    effects: &Arc<Effects>,
    dir: &Path,
    number: u64,
    intent: &Intent,
    synced: bool,
) -> Result<IntentGuard, StoreError> {
    let path = dir.join(format!("{PREFIX}{number:08}.json"));
    let draft = dir.join(format!(".{PREFIX}{number:08}"));
    let text = serde_json::to_vec(intent)
        .map_err(io::Error::from)
        .at("describe", &path)?;
    if synced {
        effects.write_synced(&draft, &text)?;
    } else {
        effects.write_new(&draft, &text)?;
    }
    effects.rename(&draft, &path)?;
    let parents = [Some(dir), dir.parent()].into_iter().flatten();
    for folder in parents.filter(|_| synced) {
        if let Err(error) = effects.sync_dir(folder) {
            // Nothing of what it says is going to be done.
            effects.remove_file(&path)?;
            return Err(error);
        }
    }
    Ok(IntentGuard {
        effects: Arc::clone(effects),
        path,
    })
}

/// Tells whether a session's folder holds an intent.
pub(crate) fn any_left(dir: &Path) -> Result<bool, StoreError> {
    Ok(!paths(dir)?.is_empty())
}

/// An intent that was found, or what is wrong with its file.
pub(crate) type Found = (Result<Intent, StoreError>, IntentGuard);

/// Reads the intents of somebody else's session; those that are done meanwhile are left out.
///
/// Each on its own: one that cannot be read must not hide the others.
pub(crate) fn peek_all(dir: &Path) -> Result<Vec<Result<Intent, StoreError>>, StoreError> {
    let mut intents = Vec::new();
    for path in paths(dir)? {
        match fs::read(&path) {
            Ok(text) => {
                let intent = serde_json::from_slice(&text);
                intents.push(intent.map_err(|error| not_an_intent(&path, &error)));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).at("read", &path),
        }
    }
    Ok(intents)
}

fn not_an_intent(path: &Path, error: &serde_json::Error) -> StoreError {
    StoreError::Damaged {
        path: path.to_owned(),
        reason: format!("not an intent: {error}"),
    }
}

/// Reads the intents of a session, in the order in which they were left.
pub(crate) fn read_all(effects: &Arc<Effects>, dir: &Path) -> Result<Vec<Found>, StoreError> {
    let mut intents = Vec::new();
    for path in paths(dir)? {
        let text = fs::read(&path).at("read", &path)?;
        let intent = serde_json::from_slice(&text).map_err(|error| not_an_intent(&path, &error));
        intents.push((
            intent,
            IntentGuard {
                effects: Arc::clone(effects),
                path,
            },
        ));
    }
    Ok(intents)
}

fn paths(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.at("read folder", dir)?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry.at("read folder", dir)?;
        if entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with(PREFIX))
        {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}
