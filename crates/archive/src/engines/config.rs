//! The config of an image in an engine's store.

use lith_store::ImageId;

use super::EngineError;
use crate::LoadError;
use crate::config::{self, ConfigFacts};
use crate::folder::Folder;
use crate::json::MAX_DOCUMENT;

/// Reads the config of `image`, which lies at `below` and has to have that digest.
pub(super) fn read(
    store: &Folder,
    below: &str,
    image: ImageId,
) -> Result<(Vec<u8>, ConfigFacts), LoadError> {
    let config = store.read(below, MAX_DOCUMENT).map_err(EngineError::from)?;
    let config = config.ok_or_else(|| EngineError::NoConfig {
        image,
        path: store.path(below),
    })?;
    let actual = ImageId::of_bytes(&config);
    if actual != image {
        return Err(EngineError::ConfigChanged { image, actual }.into());
    }
    let facts = config::parse(&config).map_err(|source| LoadError::Config {
        member: image.to_string(),
        source,
    })?;
    Ok((config, facts))
}
