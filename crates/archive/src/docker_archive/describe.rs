//! From `manifest.json` and configs to images, whatever the members are read from.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use lith_store::{DiffId, ImageId, Reference};
use serde_json::value::RawValue;

use super::beside;
use super::manifest::{self, Item};
use crate::LoadError;
use crate::config::{self, ConfigFacts};
use crate::error::text;
use crate::json;
use crate::members::{self, Blob, Contents};
use crate::oci::Descriptor;
use crate::source::{Description, LayerData, SourceBlob, SourceImage, SourceLayer};
use crate::tally::Tally;

const MANIFEST: &[u8] = b"manifest.json";

/// Who needs the manifest.
const WANTED_BY: &str = "docker-archive";

/// Name under which an image keeps where its layers come from.
pub(crate) const LAYER_SOURCES: &str = "layer-sources.json";

/// Documents that the manifest names and that are not there; none without a manifest.
pub(crate) fn lacking(contents: &dyn Contents) -> Option<HashSet<Vec<u8>>> {
    let manifest = contents.document(MANIFEST, WANTED_BY).ok()??;
    let items = manifest::parse(&manifest.bytes).unwrap_or_default();
    let configs = items.into_iter().filter_map(|item| item.config);
    let configs = configs.filter_map(|path| members::clean(path.as_bytes()).ok());
    Some(configs.filter(|config| !contents.has(config)).collect())
}

/// Reads the images of a `manifest.json`.
pub(crate) fn describe(contents: &dyn Contents) -> Result<Description, LoadError> {
    let manifest = contents.document(MANIFEST, WANTED_BY)?;
    let manifest = manifest.ok_or(LoadError::NoManifest { members: 0 })?;
    let items = manifest::parse(&manifest.bytes).map_err(|source| LoadError::Document {
        member: text(&manifest.member),
        source,
    })?;
    if items.is_empty() {
        return Err(LoadError::HoldsNoImage);
    }
    let mut describer = Describer {
        contents,
        tally: Tally::default(),
        warnings: Vec::new(),
    };
    let items = items.into_iter().enumerate();
    let images = items.map(|(index, item)| describer.image(index, item));
    let mut images = images.collect::<Result<Vec<_>, _>>()?;
    let mut warnings = describer.warnings;
    warnings.extend(beside::add(contents, &mut images)?);
    Ok(Description {
        indexes: Vec::new(),
        images,
        warnings,
        cut_off: None,
    })
}

struct Describer<'a> {
    contents: &'a dyn Contents,
    tally: Tally,
    warnings: Vec<String>,
}

impl Describer<'_> {
    fn image(&mut self, index: usize, item: Item) -> Result<SourceImage, LoadError> {
        let path = item.config.filter(|path| !path.is_empty());
        let path = path.ok_or(LoadError::NoConfig { index })?;
        let config = self.contents.document(path.as_bytes(), "manifest.json")?;
        let config = config.ok_or_else(|| LoadError::MissingMember {
            member: path.clone(),
            wanted_by: "manifest.json".into(),
        })?;
        let member = text(&config.member);
        let id = ImageId::of_bytes(&config.bytes);
        self.check_name(&config.member, &id)?;
        let facts = config::parse(&config.bytes).map_err(|source| LoadError::Config {
            member: member.clone(),
            source,
        })?;
        let layers = item.layers.unwrap_or_default();
        if layers.len() != facts.diff_ids.len() {
            return Err(LoadError::LayerCount {
                config: member,
                layers: layers.len(),
                diff_ids: facts.diff_ids.len(),
            });
        }
        self.tally.count(layers.len(), config.bytes.len())?;
        let sources = item.layer_sources.unwrap_or_default();
        let layers = layers.iter().zip(&facts.diff_ids);
        let layers = layers.map(|(path, diff_id)| self.layer(path, *diff_id, &sources));
        Ok(SourceImage {
            id,
            layers: layers.collect::<Result<_, _>>()?,
            names: names(item.repo_tags.unwrap_or_default(), &member)?,
            parent: parent(item.parent, &id)?,
            extra: layer_sources(&sources, &facts)?,
            config: config.bytes,
            facts,
            manifest: None,
            platform: None,
        })
    }

    /// A config is what its bytes are, but a name that is a digest should be theirs.
    fn check_name(&mut self, member: &[u8], id: &ImageId) -> Result<(), LoadError> {
        let name = member
            .rsplit(|byte| *byte == b'/')
            .next()
            .unwrap_or_default();
        let stem = name.strip_suffix(b".json").unwrap_or(name);
        let stem = stem.strip_prefix(b"sha256:").unwrap_or(stem);
        let named = std::str::from_utf8(stem)
            .ok()
            .and_then(|hex| ImageId::from_hex(hex).ok());
        if named.is_none_or(|named| named == *id) {
            return Ok(());
        }
        if member.starts_with(b"blobs/sha256/") {
            return Err(LoadError::ContentMismatch {
                member: text(member),
                actual: *id,
            });
        }
        self.warnings.push(format!(
            "config {} has digest {id}: it was changed",
            text(member)
        ));
        Ok(())
    }

    fn layer(
        &mut self,
        path: &str,
        diff_id: DiffId,
        sources: &LayerSources,
    ) -> Result<SourceLayer, LoadError> {
        let found = self.contents.layer(path.as_bytes(), "manifest.json")?;
        let Some(found) = found else {
            return Ok(SourceLayer {
                diff_id,
                name: path.to_owned(),
                data: LayerData::Absent,
                size: None,
                blob: elsewhere(diff_id, sources),
            });
        };
        let name = self.tally.layer(found.member, diff_id)?;
        Ok(SourceLayer {
            diff_id,
            name,
            data: found.data,
            size: Some(found.size),
            blob: None,
        })
    }
}

fn names(tags: Vec<String>, config: &str) -> Result<Vec<Reference>, LoadError> {
    let mut names = Vec::new();
    for tag in tags {
        let name = Reference::parse(&tag).map_err(|source| LoadError::Name {
            config: config.to_owned(),
            source,
        })?;
        if name.tag().is_none() || name.digest().is_some() {
            return Err(LoadError::NotATag { name });
        }
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

fn parent(text: Option<String>, image: &ImageId) -> Result<Option<ImageId>, LoadError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let parent = text.parse().map_err(|source| LoadError::Digest {
        wanted_by: "Parent in manifest.json".into(),
        source,
    })?;
    // Some engines name the image itself.
    Ok(Some(parent).filter(|parent| parent != image))
}

/// Where layers come from, by diff ID; newer engines list those that are embedded, too.
type LayerSources = BTreeMap<String, Box<RawValue>>;

/// Where else a layer can be had; it is never fetched.
fn elsewhere(diff_id: DiffId, sources: &LayerSources) -> Option<Arc<SourceBlob>> {
    let source = sources.get(&diff_id.to_string())?;
    let source: Descriptor = json::parse_object(source.get().as_bytes()).ok()?;
    if source.urls.is_empty() {
        return None;
    }
    Some(Arc::new(SourceBlob {
        expected: Blob {
            digest: source.digest,
            size: source.size,
        },
        media_type: source.media_type,
        urls: source.urls,
        inline: None,
    }))
}

/// Keeps where the image's layers come from.
fn layer_sources(
    sources: &LayerSources,
    facts: &ConfigFacts,
) -> Result<BTreeMap<String, Vec<u8>>, LoadError> {
    let mut kept = Vec::new();
    for (key, source) in sources {
        let diff_id: DiffId = key.parse().map_err(|source| LoadError::Digest {
            wanted_by: "LayerSources in manifest.json".into(),
            source,
        })?;
        if facts.diff_ids.contains(&diff_id) {
            kept.push((key.as_str(), json::compact(source.get())));
        }
    }
    if kept.is_empty() {
        return Ok(BTreeMap::new());
    }
    Ok([(LAYER_SOURCES.to_owned(), json::object(kept).into_bytes())].into())
}
