//! Saving: images out of the store into an archive.

use std::collections::BTreeMap;
use std::io::{self, Write};

use lith_graph::{Event, Graph, Metered, Observer};
use lith_store::{DiffId, EventKind, LayerId, LayerRecord, Reference};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::docker_archive::LAYER_SOURCES;
use crate::json;
use crate::select::SelectedImage;
use crate::sink::ImageSink;
use crate::{ArchiveImage, DockerArchiveWriter, SaveError, Selection, WriteError};

/// How to save.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct SaveOptions {
    /// Further names, for a selection of one image. They come first.
    pub tags: Vec<Reference>,
}

/// What a save has done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SaveReport {
    /// How many images were written.
    pub images: usize,
    /// How many layers, each counted once.
    pub layers: usize,
    /// Bytes of the archive.
    pub bytes: u64,
}

/// Writes the selected images to `out` as a docker-archive in the default layout.
///
/// The bytes depend only on what is stored and asked for. Every layer is checked while it is
/// read.
///
/// # Errors
/// Stops at the first layer that is damaged; `out` holds a part of an archive then, and it is
/// up to the caller not to let that be taken for one.
pub fn save(
    graph: &Graph,
    selection: &Selection,
    out: &mut dyn Write,
    options: &SaveOptions,
    observer: &dyn Observer,
) -> Result<SaveReport, SaveError> {
    let images = with_tags(selection.images(), &options.tags)?;
    let writer = DockerArchiveWriter::new(Counted { out, bytes: 0 });
    let layers = fill(graph, &images, &writer, observer)?;
    let bytes = writer.close()?.bytes;
    for image in &images {
        let name = image.names.first().map(Reference::to_string);
        let recorded =
            graph
                .store()
                .record_event(EventKind::Save, Some(&image.record.id), name.as_deref());
        if let Err(error) = recorded {
            tracing::warn!(%error, "cannot record an event");
        }
    }
    Ok(SaveReport {
        images: images.len(),
        layers,
        bytes,
    })
}

fn with_tags(
    images: &[SelectedImage],
    tags: &[Reference],
) -> Result<Vec<SelectedImage>, SaveError> {
    let mut images = images.to_vec();
    if tags.is_empty() {
        return Ok(images);
    }
    if let Some(tag) = tags
        .iter()
        .find(|tag| tag.tag().is_none() || tag.digest().is_some())
    {
        return Err(SaveError::NotATag {
            name: tag.to_string(),
        });
    }
    match &mut images[..] {
        [image] => {
            let own = std::mem::replace(&mut image.names, tags.to_vec());
            image
                .names
                .extend(own.into_iter().filter(|name| !tags.contains(name)));
        }
        images => {
            return Err(SaveError::TagsNeedOneImage {
                images: images.len(),
            });
        }
    }
    Ok(images)
}

/// Gives the sink all layers in order of their first use, then all images; returns the
/// number of layers.
fn fill(
    graph: &Graph,
    images: &[SelectedImage],
    sink: &dyn ImageSink,
    observer: &dyn Observer,
) -> Result<usize, SaveError> {
    let mut layers = 0;
    for image in images {
        for id in &image.record.layers {
            let layer = layer(graph, image, id)?;
            let diff_id = diff_id(image, &layer)?;
            if !sink.has_layer(&diff_id)? {
                put_layer(graph, &layer, &diff_id, sink, observer)?;
                layers += 1;
            }
        }
    }
    for image in images {
        sink.put_image(&ArchiveImage {
            config: image.record.config.clone(),
            names: image.names.clone(),
            parent: image.record.parent,
            layer_sources: layer_sources(image)?,
        })?;
    }
    Ok(layers)
}

fn layer(graph: &Graph, image: &SelectedImage, id: &LayerId) -> Result<LayerRecord, SaveError> {
    graph
        .store()
        .layer(id)?
        .ok_or_else(|| damaged(image, format!("its layer {id} is not there")))
}

fn diff_id(image: &SelectedImage, layer: &LayerRecord) -> Result<DiffId, SaveError> {
    let unknown = || {
        damaged(
            image,
            format!("the diff ID of its layer {} is unknown", layer.id),
        )
    };
    layer.diff_id.ok_or_else(unknown)
}

fn damaged(image: &SelectedImage, reason: String) -> SaveError {
    SaveError::Image {
        image: image.record.id,
        reason,
    }
}

fn put_layer(
    graph: &Graph,
    layer: &LayerRecord,
    diff_id: &DiffId,
    sink: &dyn ImageSink,
    observer: &dyn Observer,
) -> Result<(), SaveError> {
    let label = diff_id.to_string();
    observer.event(&Event::LayerStart {
        label: &label,
        total: Some(layer.tar_size),
    });
    let stream = graph.tar_layer(&layer.id)?;
    let mut metered = Metered::new(stream, &label, observer);
    match sink.put_layer(diff_id, layer.tar_size, &mut metered) {
        Ok(_) => {}
        Err(_) if observer.cancelled() => return Err(SaveError::Cancelled),
        Err(WriteError::Content { source, .. }) => {
            return Err(SaveError::Layer {
                layer: layer.id,
                source,
            });
        }
        Err(error) => return Err(error.into()),
    }
    observer.event(&Event::LayerDone {
        label: &label,
        bytes: layer.tar_size,
        reused: false,
    });
    Ok(())
}

/// What the image came with, for those layers of which it holds for what is written: layers
/// that live elsewhere, and layers that are transported as they are here, uncompressed.
fn layer_sources(image: &SelectedImage) -> Result<BTreeMap<DiffId, String>, SaveError> {
    let Some(bytes) = image.record.extra.get(LAYER_SOURCES) else {
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
        if elsewhere || source.digest.as_deref() == Some(&diff_id.to_string()) {
            kept.insert(diff_id, json::compact(raw.get()));
        }
    }
    Ok(kept)
}

/// Counts what is written.
struct Counted<'a> {
    out: &'a mut dyn Write,
    bytes: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let written = self.out.write(buf)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
