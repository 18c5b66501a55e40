//! What an `index.json` beside `manifest.json` adds to the images.
//!
//! `manifest.json` and the configs decide. An image takes the manifest that the index lists for
//! it, when that has the same config and the same layers; names only when `manifest.json` has
//! none at all.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use lith_store::{ImageId, Reference};

use crate::LoadError;
use crate::members::{Blob, Contents};
use crate::oci::Descriptor;
use crate::oci::read::beside::{self, Listed};
use crate::source::{LayerData, SourceBlob, SourceImage, SourceLayer, SourceManifest};

/// Adds what the index says and can be trusted with; gives what is wrong with it.
///
/// # Errors
/// Blobs with other content than their names and the index say.
pub(super) fn add(
    contents: &dyn Contents,
    images: &mut [SourceImage],
) -> Result<Vec<String>, LoadError> {
    let (listed, mut warnings) = beside::listed(contents);
    let nameless = images.iter().all(|image| image.names.is_empty());
    let mut taken: HashSet<Reference> = HashSet::new();
    let mut by_id: HashMap<ImageId, Vec<usize>> = HashMap::new();
    for (index, image) in images.iter().enumerate() {
        by_id.entry(image.id).or_default().push(index);
    }
    for listed in listed {
        let id = ImageId::from_bytes(*listed.manifest.config.digest.as_bytes());
        let mut agrees = false;
        for index in by_id.get(&id).into_iter().flatten() {
            let Some(image) = images.get_mut(*index) else {
                continue;
            };
            if !is_of(&listed, image) {
                continue;
            }
            agrees = true;
            take(&listed, image, contents)?;
            if nameless {
                let names = listed.names.iter();
                let free = names.filter(|name| taken.insert((*name).clone()));
                image.names.extend(free.cloned());
            }
        }
        if !agrees && by_id.contains_key(&id) {
            warnings.push(format!(
                "manifest {} in index.json has other layers than manifest.json gives image {id}",
                listed.descriptor.digest
            ));
        }
    }
    Ok(warnings)
}

/// True when a manifest has the image's layers, in their order.
fn is_of(listed: &Listed, image: &SourceImage) -> bool {
    let layers = &listed.manifest.layers;
    let same = |(descriptor, layer): (&Descriptor, &SourceLayer)| {
        // Members are blobs under their digests; elsewhere only an uncompressed layer can be
        // told, by its diff ID.
        let blob = format!("blobs/sha256/{}", descriptor.digest.hex());
        layer.size.is_none_or(|size| size == descriptor.size)
            && (layer.name == blob || descriptor.digest == *layer.diff_id.digest())
    };
    layers.len() == image.layers.len() && layers.iter().zip(&image.layers).all(same)
}

fn take(
    listed: &Listed,
    image: &mut SourceImage,
    contents: &dyn Contents,
) -> Result<(), LoadError> {
    if image.manifest.is_some() {
        return Ok(());
    }
    image.manifest = Some(SourceManifest {
        bytes: listed.bytes.clone(),
        media_type: listed.manifest.media_type.clone(),
        digest: listed.descriptor.digest,
    });
    for (layer, descriptor) in image.layers.iter_mut().zip(&listed.manifest.layers) {
        if layer.blob.is_some() {
            continue;
        }
        let expected = Blob {
            digest: descriptor.digest,
            size: descriptor.size,
        };
        if let LayerData::Passed(_) = layer.data {
            let found = contents.layer(layer.name.as_bytes(), "manifest.json")?;
            // What passed under no digest is known by its diff ID only.
            let Some(passed) = found.and_then(|found| found.passed) else {
                continue;
            };
            passed.check(&expected).map_err(|source| LoadError::Blob {
                member: layer.name.clone(),
                source,
            })?;
        }
        layer.blob = Some(Arc::new(SourceBlob {
            expected,
            media_type: descriptor.media_type.clone(),
            urls: descriptor.urls.clone(),
            inline: None,
        }));
    }
    // Where they disagree, the config's word counts.
    let same =
        |said: &Option<String>, listed: &str| said.as_deref().is_none_or(|said| said == listed);
    image.platform = listed.descriptor.platform.clone().filter(|platform| {
        let facts = &image.facts;
        same(&facts.architecture, &platform.architecture) && same(&facts.os, &platform.os)
    });
    Ok(())
}
