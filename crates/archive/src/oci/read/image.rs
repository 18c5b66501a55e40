//! From a manifest and its config to an image.

use std::collections::BTreeMap;
use std::sync::Arc;

use lith_store::{DiffId, Digest, ImageId};

use super::Reader;
use super::blobs::{self, expect, promised};
use crate::oci::{Descriptor, Document, Kind, Manifest};
use crate::source::{LayerData, SourceBlob, SourceImage, SourceLayer, SourceManifest};
use crate::{LoadError, config};

impl Reader<'_> {
    /// Reads an image, which has no names then; none when the manifest is that of something
    /// else.
    pub(crate) fn image(
        &mut self,
        descriptor: &Descriptor,
        wanted_by: &str,
    ) -> Result<Option<SourceImage>, LoadError> {
        let (bytes, document) = self.blobs.manifest(descriptor, wanted_by)?;
        let label = format!("manifest {}", descriptor.digest);
        match document {
            Document::Manifest(manifest) => {
                let mut image = self.image_of(bytes, &manifest, &label)?;
                if let Some(image) = &mut image {
                    image.platform.clone_from(&descriptor.platform);
                }
                Ok(image)
            }
            Document::Index(_) => Err(LoadError::OtherKind {
                member: label,
                expected: "a manifest",
                found: "an index",
            }),
        }
    }

    /// The same for a manifest that was read.
    pub(crate) fn image_of(
        &mut self,
        bytes: Vec<u8>,
        manifest: &Manifest,
        label: &str,
    ) -> Result<Option<SourceImage>, LoadError> {
        if manifest.config.media_type.kind() != Kind::Config {
            let kind = manifest.artifact_type.as_deref();
            let kind = kind.unwrap_or(manifest.config.media_type.as_str());
            self.left_out
                .push(format!("{label} is left out: {kind:?} is not an image"));
            return Ok(None);
        }
        let config = self.blobs.config(&manifest.config, label)?;
        let member = self.blobs.places.blob(&manifest.config.digest);
        let facts = config::parse(&config).map_err(|source| LoadError::Config {
            member: member.clone(),
            source,
        })?;
        if manifest.layers.len() != facts.diff_ids.len() {
            return Err(LoadError::LayerCount {
                config: member,
                layers: manifest.layers.len(),
                diff_ids: facts.diff_ids.len(),
            });
        }
        // The bytes of configs are counted with those of all documents.
        self.tally.count(manifest.layers.len(), 0)?;
        let layers = manifest.layers.iter().zip(&facts.diff_ids);
        let layers = layers.map(|(descriptor, diff_id)| self.layer(descriptor, *diff_id, label));
        Ok(Some(SourceImage {
            id: ImageId::of_bytes(&config),
            names: Vec::new(),
            layers: layers.collect::<Result<_, _>>()?,
            parent: None,
            extra: BTreeMap::new(),
            config,
            facts,
            manifest: Some(SourceManifest {
                digest: Digest::of(&bytes),
                media_type: manifest.media_type.clone(),
                bytes,
            }),
            platform: None,
        }))
    }

    fn layer(
        &mut self,
        descriptor: &Descriptor,
        diff_id: DiffId,
        label: &str,
    ) -> Result<SourceLayer, LoadError> {
        let path = self.blobs.places.blob(&descriptor.digest);
        let found = self.blobs.contents.layer(path.as_bytes(), label)?;
        let blob = Some(Arc::new(SourceBlob {
            expected: promised(descriptor),
            media_type: descriptor.media_type.clone(),
            urls: descriptor.urls.clone(),
            inline: descriptor.inline(),
        }));
        let Some(found) = found else {
            return Ok(SourceLayer {
                diff_id,
                name: path,
                data: LayerData::Absent,
                size: None,
                blob,
            });
        };
        let name = self.tally.layer(found.member, diff_id)?;
        check_size(found.size, descriptor, &name)?;
        match (found.data, &found.passed) {
            (_, Some(passed)) => expect(passed, descriptor, &name)?,
            // It passed under a name that promised no digest: now it is too late.
            (LayerData::Passed(_), None) => {
                return Err(LoadError::Unverified { member: name });
            }
            _ => {}
        }
        Ok(SourceLayer {
            diff_id,
            name,
            data: found.data,
            size: Some(found.size),
            blob,
        })
    }
}

fn check_size(size: u64, descriptor: &Descriptor, name: &str) -> Result<(), LoadError> {
    let found = crate::members::Blob {
        size,
        ..blobs::promised(descriptor)
    };
    expect(&found, descriptor, name)
}
