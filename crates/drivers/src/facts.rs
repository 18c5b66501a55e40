//! What a driver notes of a layer besides its files: `layer.json` in the layer's folder.

use std::fs::File;
use std::io::{self, Read, Write};

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::error::DriverError;
use crate::home::Home;
use crate::id::CacheId;
use crate::tree::handle;
use crate::work::WorkFolder;

pub(crate) const FACTS: &str = "layer.json";
const VERSION: u32 = 1;
/// A facts file that is longer than this is none of ours.
const LONGEST_FACTS: u64 = 64 * 1024;

/// What a driver must know of a layer besides its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    version: u32,
    /// The layer it stands on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) parent: Option<String>,
    /// Some of those further down, nearest first: see `chain`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) lowers: Vec<String>,
    /// Nothing of the layers below shows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) opaque: bool,
}

impl Facts {
    pub(crate) fn new(parent: Option<&CacheId>, lowers: Vec<String>, opaque: bool) -> Self {
        Self {
            version: VERSION,
            parent: parent.map(CacheId::to_string),
            lowers,
            opaque,
        }
    }
}

impl Home {
    pub(crate) fn facts(&self, id: &CacheId) -> Result<Facts, DriverError> {
        match self.facts_in(id.as_str(), id) {
            Err(DriverError::Damaged { .. }) if !self.exists(id)? => Err(self.missing(id)),
            facts => facts,
        }
    }

    /// Reads the notes in a folder below this one.
    pub(crate) fn facts_in(&self, folder: &str, id: &CacheId) -> Result<Facts, DriverError> {
        let place = format!("{folder}/{FACTS}");
        let fd = handle::open_below(self.fd(), place.as_bytes(), handle::READ);
        let path = self.path.join(place);
        let damaged = |reason: String| DriverError::Damaged {
            id: id.clone(),
            path: path.clone(),
            reason,
        };
        let mut text = Vec::new();
        let file = File::from(fd.map_err(|error| damaged(format!("cannot be opened: {error}")))?);
        file.take(LONGEST_FACTS)
            .read_to_end(&mut text)
            .map_err(|error| DriverError::io("read", &path, error))?;
        let facts: Facts =
            serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        if facts.version != VERSION {
            return Err(damaged(format!(
                "version {} (expected {VERSION})",
                facts.version
            )));
        }
        Ok(facts)
    }

    /// Reads an ID that stands in a layer's facts.
    pub(crate) fn id_in_facts(&self, id: &CacheId, found: &str) -> Result<CacheId, DriverError> {
        found
            .parse()
            .map_err(|error: crate::id::InvalidCacheId| DriverError::Damaged {
                id: id.clone(),
                path: self.layer_path(id).join(FACTS),
                reason: error.to_string(),
            })
    }
}

/// Writes the notes of the layer in a folder of a work folder; where `synced`, waits until they are
/// on the disk.
pub(crate) fn write(work: &WorkFolder, layer: &str, facts: &Facts, synced: bool) -> io::Result<()> {
    let mut text = serde_json::to_vec(facts).map_err(io::Error::other)?;
    text.push(b'\n');
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let path = format!("{layer}/{FACTS}");
    let fd = rustix::fs::openat(work.fd(), path, flags, Mode::RUSR | Mode::WUSR)?;
    let mut file = File::from(fd);
    file.write_all(&text)?;
    if synced { file.sync_all() } else { Ok(()) }
}
