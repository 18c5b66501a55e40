//! What the images of a source add up to while they are described.

use std::collections::HashMap;

use lith_store::DiffId;

use crate::LoadError;
use crate::error::text;

/// Layers of all images, and bytes of all configs, that are read: a small source can name the
/// same ones over and over.
const MAX_LAYERS: usize = 1 << 20;
const MAX_CONFIGS: usize = 256 << 20;

/// Counts images, and remembers what each of their layers is.
#[derive(Default)]
pub(crate) struct Tally {
    layers: usize,
    /// Bytes.
    configs: usize,
    /// What each member with a layer has been said to be.
    diff_ids: HashMap<Vec<u8>, DiffId>,
}

impl Tally {
    /// Counts an image with so many layers, and so many bytes of config that are kept for it.
    pub(crate) fn count(&mut self, layers: usize, config: usize) -> Result<(), LoadError> {
        self.layers += layers;
        self.configs += config;
        let too_many = |what, limit| Err(LoadError::TooMany { what, limit });
        if self.layers > MAX_LAYERS {
            return too_many("layers of images", MAX_LAYERS);
        }
        if self.configs > MAX_CONFIGS {
            return too_many("bytes of configs", MAX_CONFIGS);
        }
        Ok(())
    }

    /// Takes note of what a member is, which is the same for all images; gives its name as text.
    pub(crate) fn layer(&mut self, member: Vec<u8>, diff_id: DiffId) -> Result<String, LoadError> {
        let name = text(&member);
        let first = *self.diff_ids.entry(member).or_insert(diff_id);
        if first != diff_id {
            return Err(LoadError::TwoDiffIds {
                member: name,
                first,
                second: diff_id,
            });
        }
        Ok(name)
    }
}
