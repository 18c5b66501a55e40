//! Saving: images out of the store, in any format.

mod chosen;

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use lith_graph::compression::Compression;
use lith_graph::{Event, Graph, Metered, Observer};
use lith_store::{DiffId, EventKind, ImageId, ImageRecord, LayerId, LayerRecord, Reference};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::compress::{Layer, Written};
use crate::docker_archive::LAYER_SOURCES;
use crate::events;
use crate::json;
use crate::oci::{Document, Manifest, Platform};
use crate::sink::{self, ImageSink};
use crate::{
    ArchiveImage, ArchiveIndex, CopiedImage, DockerLayout, Format, LayerCompression, SaveError,
    SelectedImage, Selection, Target, WriteError, report,
};
use chosen::Chosen;

/// How to save.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct SaveOptions {
    /// The name of the image, instead of those it was asked by, for a selection of one.
    pub name: Option<Reference>,
    /// What an index of the OCI calls the image instead, where that is no name of an image: a
    /// tag alone, say. For a selection of one.
    pub index_name: Option<String>,
    /// Further names, for a selection of one image. They come first.
    pub tags: Vec<Reference>,
    /// The format.
    pub format: Format,
    /// How layers are compressed; what the format is used to, when it is not said: nothing
    /// for docker-archives, and gzip for others, unless an image came with a manifest that
    /// says otherwise.
    pub compression: Option<LayerCompression>,
    /// How a docker-archive is laid out.
    pub docker_layout: DockerLayout,
    /// Of images for several platforms, writes only the image for this one. Formats that hold no
    /// indexes get this machine's when nothing is said.
    pub platform: Option<Platform>,
}

/// What a save has done.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SaveReport {
    /// The images that were written.
    pub images: Vec<CopiedImage>,
    /// How many layers, each counted once.
    pub layers: usize,
    /// Bytes of the archive, or of all files that were written to a folder.
    pub bytes: u64,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// Writes the selected images to `target`.
///
/// The bytes depend only on what is stored and asked for. Every layer is checked while it is
/// read.
///
/// # Errors
/// Stops at the first layer that is damaged. A stream or file holds a part of an archive then,
/// and it is up to the caller not to let that be taken for one; a folder is not there, or as
/// it was before.
pub fn save(
    graph: &Graph,
    selection: &Selection,
    target: Target<'_>,
    options: &SaveOptions,
    observer: &dyn Observer,
) -> Result<SaveReport, SaveError> {
    let since = Instant::now();
    let Chosen {
        images,
        indexes,
        members,
    } = Chosen::of(selection, options)?;
    let named = images
        .iter()
        .filter(|image| !members.contains(&image.record.id));
    let labels = named.map(|image| label(&image.names, &image.record.id));
    let indexed = indexes.iter();
    let indexed = indexed.map(|index| label(&index.names, &index.id()));
    check(&labels.chain(indexed).collect::<Vec<_>>(), options)?;
    let mut warnings = Vec::new();
    let options = &adjusted(options, &mut warnings);
    let signed = images.iter();
    let signed = signed.map(|image| (&image.record.id, &image.record.extra));
    warnings.extend(dropped_signatures(signed, options.format));
    let sink = sink::open(target, options, selection.staging(), observer)?;
    let mut work = Work {
        graph,
        images: &images,
        indexes: &indexes,
        options,
        observer,
        sink,
    };
    let (written, layers) = work.fill()?;
    if observer.cancelled() {
        return Err(SaveError::Cancelled);
    }
    let outcome = work.sink.finish()?;
    warnings.extend(outcome.warnings);
    for message in &warnings {
        observer.event(&Event::Warning { message });
    }
    let saved = images.iter();
    let saved = saved.map(|image| (image.record.id, image.names.as_slice()));
    let indexed = indexes.iter();
    let indexed = indexed.map(|index| (index.id(), index.names.as_slice()));
    let saved: Vec<(ImageId, &[Reference])> = saved.chain(indexed).collect();
    let saved = saved.iter().map(|(id, names)| (id, *names));
    events::record(graph, EventKind::Save, saved);
    Ok(SaveReport {
        images: report::images(
            (&written, &indexes),
            &layers,
            outcome.manifests,
            since.elapsed().as_secs_f64(),
        ),
        layers: layers.len(),
        bytes: outcome.bytes,
        warnings,
    })
}

/// What an image is called in a text: its name or its ID.
pub(crate) fn label(names: &[Reference], id: &ImageId) -> String {
    match names.first() {
        Some(name) => name.familiar(),
        None => id.to_string(),
    }
}

/// Refuses what the format cannot do before anything is written; images are what they are
/// called.
pub(crate) fn check(images: &[String], options: &SaveOptions) -> Result<(), SaveError> {
    let format = options.format;
    if options.index_name.is_some() && images.len() > 1 {
        let images = images.len();
        return Err(SaveError::TagsNeedOneImage { images });
    }
    if options.docker_layout != DockerLayout::Default && format != Format::DockerArchive {
        return Err(SaveError::Layout { format });
    }
    if !format.takes_several() && images.len() > 1 {
        let several = Format::ALL
            .into_iter()
            .filter(|other| other.takes_several());
        return Err(SaveError::OneImage {
            format,
            images: images.to_vec(),
            several: several.collect(),
        });
    }
    Ok(())
}

/// What the format makes of the options.
pub(crate) fn adjusted(options: &SaveOptions, warnings: &mut Vec<String>) -> SaveOptions {
    let mut options = options.clone();
    if options.format == Format::DockerDir
        && matches!(options.compression, Some(LayerCompression::Zstd { .. }))
    {
        warnings.push("docker-dir knows no zstd: layers are compressed with gzip".to_owned());
        options.compression = Some(LayerCompression::Gzip);
    }
    options
}

impl SaveOptions {
    /// How layers are compressed of which nothing else is said.
    pub(crate) fn usual(&self) -> LayerCompression {
        let usual = match self.format {
            Format::DockerArchive | Format::DockerDaemon => LayerCompression::None,
            _ => LayerCompression::Gzip,
        };
        self.compression.unwrap_or(usual)
    }
}

/// A save that is under way.
struct Work<'a> {
    graph: &'a Graph,
    images: &'a [SelectedImage],
    indexes: &'a [ArchiveIndex],
    options: &'a SaveOptions,
    observer: &'a dyn Observer,
    sink: Box<dyn ImageSink + 'a>,
}

/// A layer to be saved.
struct Needed {
    record: LayerRecord,
    compression: LayerCompression,
}

impl Work<'_> {
    /// Gives the sink all layers, then all images; returns the images, and how many bytes were
    /// written of each layer.
    fn fill(&mut self) -> Result<(Vec<ArchiveImage>, HashMap<DiffId, u64>), SaveError> {
        let images = self.images.iter().map(|image| self.archive_image(image));
        let images: Vec<ArchiveImage> = images.collect::<Result<_, _>>()?;
        let (used, needed) = self.layers(&images)?;
        let order = self.sink.begin(&images)?.unwrap_or(used);
        let mut layers = HashMap::new();
        for diff_id in &order {
            let Some(needed) = needed.get(diff_id) else {
                continue;
            };
            if !self.sink.has_layer(diff_id)? {
                let written = self.put_layer(needed, diff_id)?;
                layers.insert(*diff_id, written.size);
            }
        }
        for image in &images {
            if self.observer.cancelled() {
                return Err(SaveError::Cancelled);
            }
            self.sink.put_image(image)?;
        }
        for index in self.indexes {
            self.sink.put_index(index)?;
        }
        Ok((images, layers))
    }

    fn archive_image(&self, image: &SelectedImage) -> Result<ArchiveImage, SaveError> {
        let record = &image.record;
        Ok(ArchiveImage {
            config: record.config.clone(),
            names: image.names.clone(),
            parent: record.parent,
            layer_sources: layer_sources(&record.id, &record.extra, self.options.usual())?,
            manifest: self.manifest(record),
            index_name: match self.is_member(&record.id) {
                true => None,
                false => self.options.index_name.clone(),
            },
            signatures: signatures(&record.extra),
        })
    }

    fn is_member(&self, id: &ImageId) -> bool {
        self.indexes.iter().any(|index| index.lists(id).is_some())
    }

    /// The manifest of an image: the one that its index lists, or else the one it came with.
    fn manifest(&self, record: &ImageRecord) -> Option<Vec<u8>> {
        let indexes = self.indexes.iter();
        let mut indexes = indexes.filter_map(|index| index.blobs.get(index.lists(&record.id)?));
        indexes.next().or(record.manifest.as_ref()).cloned()
    }

    /// All layers in order of their first use, and what is to be done with each.
    fn layers(
        &self,
        images: &[ArchiveImage],
    ) -> Result<(Vec<DiffId>, HashMap<DiffId, Needed>), SaveError> {
        let mut order = Vec::new();
        let mut needed: HashMap<DiffId, Needed> = HashMap::new();
        let mut seen: HashMap<LayerId, DiffId> = HashMap::new();
        for (image, written) in self.images.iter().zip(images) {
            let came = self.came(written);
            for (position, id) in image.record.layers.iter().enumerate() {
                if seen.contains_key(id) {
                    continue;
                }
                let record = layer(self.graph, image, id)?;
                let diff_id = diff_id(image, &record)?;
                seen.insert(*id, diff_id);
                if let std::collections::hash_map::Entry::Vacant(vacant) = needed.entry(diff_id) {
                    let compression = self.compression(came.as_deref(), position);
                    vacant.insert(Needed {
                        record,
                        compression,
                    });
                    order.push(diff_id);
                }
            }
        }
        Ok((order, needed))
    }

    /// The manifest that an image came with, when it may be written again.
    fn came(&self, image: &ArchiveImage) -> Option<Box<Manifest>> {
        if matches!(
            self.options.format,
            Format::DockerArchive | Format::DockerDaemon
        ) {
            return None;
        }
        match Document::parse(image.manifest.as_deref()?) {
            Ok(Document::Manifest(manifest)) => Some(manifest),
            _ => None,
        }
    }

    /// As the layer came, so that the manifest may hold again; what was asked for goes before.
    fn compression(&self, came: Option<&Manifest>, position: usize) -> LayerCompression {
        let usual = self.options.usual();
        if self.options.compression.is_some() {
            return usual;
        }
        let came = came.and_then(|manifest| manifest.layers.get(position));
        match came.and_then(|layer| layer.media_type.compression()) {
            Some(Compression::None) => LayerCompression::None,
            Some(Compression::Zstd) if self.options.format != Format::DockerDir => {
                LayerCompression::ZSTD
            }
            _ => usual,
        }
    }

    fn put_layer(&mut self, needed: &Needed, diff_id: &DiffId) -> Result<Written, SaveError> {
        let (record, observer) = (&needed.record, self.observer);
        let label = diff_id.to_string();
        observer.event(&Event::LayerStart {
            label: &label,
            total: Some(record.tar_size),
        });
        let stream = self.graph.tar_layer(&record.id)?;
        let mut metered = Metered::new(stream, &label, observer);
        let layer = Layer::tar(*diff_id, record.tar_size, needed.compression);
        let written = match self.sink.put_layer(layer, &mut metered) {
            Ok(written) => written,
            Err(_) if observer.cancelled() => return Err(SaveError::Cancelled),
            Err(WriteError::Content { source, .. }) => {
                return Err(SaveError::Layer {
                    layer: record.id,
                    source,
                });
            }
            Err(error) => return Err(error.into()),
        };
        observer.event(&Event::LayerDone {
            label: &label,
            bytes: record.tar_size,
            reused: false,
        });
        Ok(written)
    }
}

/// Says of which images signatures are not written, since the format has no place for them.
pub(crate) fn dropped_signatures<'a>(
    images: impl Iterator<Item = (&'a ImageId, &'a BTreeMap<String, Vec<u8>>)>,
    format: Format,
) -> Vec<String> {
    let count = |extra: &BTreeMap<String, Vec<u8>>| {
        let names = extra.keys();
        names.filter(|name| is_signature(name)).count()
    };
    let images = images.filter(|_| format != Format::DockerDir);
    let signed = images.filter(|(_, extra)| count(extra) > 0);
    signed
        .map(|(id, extra)| {
            let number = count(extra);
            format!("{number} signatures of {id} are left out: {format} has no place for them")
        })
        .collect()
}

/// The signatures that an image came with.
pub(crate) fn signatures(extra: &BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
    let signatures = extra.iter().filter(|(name, _)| is_signature(name));
    signatures
        .map(|(name, bytes)| (name.clone(), bytes.clone()))
        .collect()
}

/// True for the name of a signature in a docker-dir.
fn is_signature(name: &str) -> bool {
    let number = name.strip_prefix("signature-");
    number.is_some_and(|number| {
        !number.is_empty()
            && number.len() < 10
            && number.bytes().all(|digit| digit.is_ascii_digit())
    })
}

fn layer(graph: &Graph, image: &SelectedImage, id: &LayerId) -> Result<LayerRecord, SaveError> {
    graph
        .store()
        .layer(id)?
        .ok_or_else(|| damaged(&image.record.id, format!("its layer {id} is not there")))
}

fn diff_id(image: &SelectedImage, layer: &LayerRecord) -> Result<DiffId, SaveError> {
    let unknown = || {
        damaged(
            &image.record.id,
            format!("the diff ID of its layer {} is unknown", layer.id),
        )
    };
    layer.diff_id.ok_or_else(unknown)
}

fn damaged(image: &ImageId, reason: String) -> SaveError {
    let image = *image;
    SaveError::Image { image, reason }
}

/// What the image came with, for those layers of which it holds for what is written: layers
/// that live elsewhere, and layers that are transported as they are here, uncompressed.
pub(crate) fn layer_sources(
    image: &ImageId,
    extra: &BTreeMap<String, Vec<u8>>,
    compression: LayerCompression,
) -> Result<BTreeMap<DiffId, String>, SaveError> {
    let Some(bytes) = extra.get(LAYER_SOURCES) else {
        return Ok(BTreeMap::new());
    };
    #[derive(serde::Deserialize)]
    struct Source {
        digest: Option<String>,
        urls: Option<Vec<String>>,
    }
    let all: BTreeMap<DiffId, &RawValue> = serde_json::from_slice(bytes)
        .map_err(|error| damaged(image, format!("{LAYER_SOURCES}: {error}")))?;
    let mut kept = BTreeMap::new();
    for (diff_id, raw) in all {
        let Ok(source) = json::parse_object::<Source>(raw.get().as_bytes()) else {
            continue;
        };
        let elsewhere = source.urls.is_some_and(|urls| !urls.is_empty());
        let as_it_is = compression == LayerCompression::None
            && source.digest.as_deref() == Some(&diff_id.to_string());
        if elsewhere || as_it_is {
            kept.insert(diff_id, json::compact(raw.get()));
        }
    }
    Ok(kept)
}
