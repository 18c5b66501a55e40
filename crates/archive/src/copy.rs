//! Copying: from any format to any other, without a store.

mod error;
mod feed;
mod layers;
mod plan;
mod spool;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use lith_graph::{Event, Observer};
use lith_store::{ImageId, Reference};
use serde::{Serialize, Serializer};

use crate::input::Opened;
use crate::load::{Choice, rename};
use crate::oci::Platform;
use crate::save::{adjusted, check, dropped_signatures, label};
use crate::sink::{self, ImageSink};
use crate::source::{Ask, Description, SourceImage, SourceIndex};
use crate::{
    CopiedImage, DockerLayout, Format, Input, LayerCompression, SaveOptions, Target, WriteError,
    report,
};
pub use error::CopyError;
use plan::Plan;
use spool::Spool;

/// What to copy, and how.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CopyOptions {
    /// Only these images of the source, by name or by ID; all when empty.
    pub images: Vec<String>,
    /// Only images for this platform, and of each image for several that one; this machine's
    /// where there are several and nothing is said.
    pub platform: Option<Platform>,
    /// Of an image for several platforms, copies the images for all of them and the index that
    /// lists them. Nothing else than usual where `platform` is given.
    pub all_platforms: bool,
    /// The name of the copy, instead of those that the source gives; for one image.
    pub name: Option<Reference>,
    /// What an index of the OCI calls the copy instead, where that is no name of an image: a tag
    /// alone, say. For one image.
    pub index_name: Option<String>,
    /// Further names, for one image. They come first.
    pub tags: Vec<Reference>,
    /// The format of the copy.
    pub format: Format,
    /// How layers are compressed. When it is not said they stay as they are, where source and
    /// copy both keep them as blobs; else nothing for docker-archives and engines, and gzip for
    /// others. Blobs that are compressed as it says stay as they are, too.
    pub compression: Option<LayerCompression>,
    /// How a docker-archive is laid out.
    pub docker_layout: DockerLayout,
}

/// What a copy has done.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CopyReport {
    /// The images, in the source's order.
    pub images: Vec<CopiedImage>,
    /// Bytes of the archive, or of all files that were written to a folder.
    pub bytes: u64,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// The list of images, as `lith copy --json` shows it.
impl Serialize for CopyReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.images.serialize(serializer)
    }
}

/// Copies images of `source` to `target`.
///
/// Nothing is unpacked, and no layer is held in memory. Each is checked on its way: what was
/// transported against its digest and size, where the source has them, and the tar against the
/// config. Layers stay as the blobs that they are where both sides have blobs, and then the
/// manifest stays what it was, to the byte.
///
/// What has to wait does so in `waiting`, in files without names:
/// - all layers of a source that passes only once, each until it is written: what they belong to
///   is said at the end;
/// - one layer at a time when its size is not known before, because it is compressed or
///   decompressed on the way, and `target` can only be written forward.
///
/// # Errors
/// Stops at the first layer that cannot be read or is not what it should be. A stream or file
/// holds a part of an archive then, and it is up to the caller not to let that be taken for one;
/// a folder is not there, or as it was before; an engine has taken nothing.
pub fn copy(
    source: Input,
    target: Target<'_>,
    waiting: &Path,
    options: &CopyOptions,
    observer: &dyn Observer,
) -> Result<CopyReport, CopyError> {
    let since = Instant::now();
    let mut warnings = Vec::new();
    let output = &adjusted(&options.output(), &mut warnings);
    check(&[], output)?;
    // What is wrong with the target should not show only when a pipe has passed.
    let mut sink = sink::open(target, output, waiting, observer)?;
    let Opened { source, one, entry } = source.open()?;
    let mut spool = Spool::new(waiting, observer);
    let ask = Ask {
        images: &options.images,
        entry: entry.as_deref(),
        platform: options.platform.as_ref(),
        all_platforms: options.all_platforms,
        cut_off: false,
        observer,
    };
    let (mut described, opener) = source.describe(&mut spool, &ask)?;
    warnings.extend(described.take_warnings());
    let Description {
        mut images,
        mut indexes,
        cut_off,
        ..
    } = described;
    let choice = Choice {
        one: one.as_ref(),
        images: &options.images,
        platform: options.platform.as_ref(),
    };
    choice.apply_to(&mut images, &mut indexes)?;
    if !indexes.is_empty() && !output.format.takes_indexes() {
        return Err(WriteError::NoIndexes.into());
    }
    if options.index_name.is_some() {
        images.iter_mut().for_each(|image| image.names.clear());
        indexes.iter_mut().for_each(|index| index.names.clear());
    }
    rename(
        &mut images,
        &mut indexes,
        options.name.as_ref(),
        &options.tags,
    )?;
    share_names(&mut images, &mut indexes, &mut warnings);
    check(&labels(&images, &indexes), output)?;
    let signed = images.iter().map(|image| (&image.id, &image.extra));
    warnings.extend(dropped_signatures(signed, output.format));
    for message in &warnings {
        observer.event(&Event::Warning { message });
    }
    let told = warnings.len();
    let plan = Plan::new(&images, indexes, cut_off, output)?;
    spool.keep(&plan);
    let order = sink.begin(plan.images())?;
    let work = layers::Work {
        sink: &*sink,
        opener: &*opener,
        spool: &spool,
        output,
        observer,
        warnings: Mutex::default(),
    };
    let written = work.run(&plan.in_order(order))?;
    warnings.extend(work.into_warnings());
    for image in plan.images() {
        sink.put_image(image)?;
    }
    for index in plan.indexes() {
        sink.put_index(index)?;
    }
    if observer.cancelled() {
        return Err(CopyError::Cancelled);
    }
    let outcome = finish(sink, observer)?;
    warnings.extend(outcome.warnings);
    for message in warnings.iter().skip(told) {
        observer.event(&Event::Warning { message });
    }
    let seconds = since.elapsed().as_secs_f64();
    Ok(CopyReport {
        images: report::images(
            (plan.images(), plan.indexes()),
            &written,
            outcome.manifests,
            seconds,
        ),
        bytes: outcome.bytes,
        warnings,
    })
}

impl CopyOptions {
    /// How to write.
    fn output(&self) -> SaveOptions {
        SaveOptions {
            index_name: self.index_name.clone(),
            format: self.format,
            compression: self.compression,
            docker_layout: self.docker_layout,
            ..SaveOptions::default()
        }
    }
}

/// Completes what was written; an engine may be told to stop until the end.
fn finish(
    sink: Box<dyn ImageSink + '_>,
    observer: &dyn Observer,
) -> Result<crate::oci::write::Outcome, CopyError> {
    sink.finish().map_err(|error| match error {
        WriteError::Engine(_) if observer.cancelled() => CopyError::Cancelled,
        error => error.into(),
    })
}

/// Of several images with one name the last has it, as when they are loaded; indexes come last.
fn share_names(
    images: &mut [SourceImage],
    indexes: &mut [SourceIndex],
    warnings: &mut Vec<String>,
) {
    let mut owners: HashMap<Reference, ImageId> = HashMap::new();
    let indexes = indexes.iter_mut().rev();
    let indexes = indexes.map(|index| (index.id, &mut index.names));
    let images = images.iter_mut().rev();
    let images = images.map(|image| (image.id, &mut image.names));
    for (id, names) in indexes.chain(images) {
        names.retain(|name| {
            let owner = *owners.entry(name.clone()).or_insert(id);
            if owner != id {
                let name = name.familiar();
                warnings.push(format!("{name} names {owner}, no longer {id}"));
            }
            owner == id
        });
    }
}

fn labels(images: &[SourceImage], indexes: &[SourceIndex]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let own = images.iter().filter(|image| {
        let in_index = indexes.iter().any(|index| index.has(&image.id));
        (!in_index || !image.names.is_empty()) && seen.insert(image.id)
    });
    let own = own.map(|image| label(&image.names, &image.id));
    let indexes = indexes.iter().map(|index| label(&index.names, &index.id));
    own.chain(indexes).collect()
}
