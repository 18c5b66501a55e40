//! Containers: named members, whatever they lie in. A container knows no format.
//!
//! What a container holds is found out by [`crate::detect`] and read by that format's describer,
//! both through [`Contents`].

#![allow(
    dead_code,
    reason = "what the reader of OCI layouts asks for is here before it"
)]

mod blob;
mod bytes;
mod file;
mod folder;
mod header;
mod named;
mod names;
mod outer;
mod pax;
mod stream;

use std::io::Read;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use lith_graph::Observer;
use lith_store::DiffId;

pub use blob::BlobError;
pub(crate) use blob::{Blob, Verified, diff_id};
pub(crate) use bytes::read_full;
pub(crate) use file::TarFile;
pub(crate) use folder::Tree;
pub(crate) use names::clean;
pub(crate) use stream::TarStream;

use crate::LoadError;
use crate::detect;
use crate::error::text;
use crate::json::MAX_DOCUMENT;
use crate::source::{Ask, Description, ImageSource, LayerData, LayerOpener, PassingLayers};

/// More would only compete for the disk.
const MAX_THREADS: usize = 4;

/// Lists of images grow with the images, unlike any other document.
const LISTS: [&[u8]; 2] = [b"manifest.json", b"repositories"];
const MAX_LIST: u64 = 32 << 20;

/// How large a document may be, by its cleaned name.
fn limit(name: &[u8]) -> u64 {
    if LISTS.contains(&name) {
        MAX_LIST
    } else {
        MAX_DOCUMENT
    }
}

/// The members of a container by path; links are followed, within the container.
///
/// Of a container that passes once, only what has passed is there.
pub(crate) trait Contents {
    /// The bytes of a document, under its own name; none when there is no such member.
    ///
    /// # Errors
    /// Paths that lead outside, members that are no regular files, documents that are too large.
    fn document(&self, path: &[u8], wanted_by: &str) -> Result<Option<Document>, LoadError>;

    /// Where the bytes of a layer are, under the member's own name; none when there is no
    /// such member.
    ///
    /// # Errors
    /// Paths that lead outside, members that are no regular files.
    fn layer(&self, path: &[u8], wanted_by: &str) -> Result<Option<FoundLayer>, LoadError>;

    /// The diff IDs of layers that were found: what has not passed is read now, several at a
    /// time.
    ///
    /// # Errors
    /// Content that cannot be read, or that is no layer.
    fn diff_ids(
        &self,
        layers: &[FoundLayer],
        observer: &dyn Observer,
    ) -> Result<Vec<DiffId>, LoadError>;

    /// True when something has this cleaned name.
    fn has(&self, name: &[u8]) -> bool;

    /// All cleaned names, in no order; of a folder those at most one folder deep.
    fn names(&self) -> Result<Vec<Vec<u8>>, LoadError>;
}

/// A document and the name of the member that it is.
pub(crate) struct Document {
    pub(crate) member: Vec<u8>,
    pub(crate) bytes: Vec<u8>,
}

/// A layer that a container has.
#[derive(Debug, Clone)]
pub(crate) struct FoundLayer {
    pub(crate) member: Vec<u8>,
    pub(crate) data: LayerData,
    /// Bytes as transported.
    pub(crate) size: u64,
    /// The transported bytes, where they passed and their name said that they are a blob.
    ///
    /// A layer that is there is checked while it is read: see [`Verified`].
    pub(crate) passed: Option<Blob>,
}

/// A container that can be read.
pub(crate) trait Container: Contents + Sized {
    /// Finds the members; returns where the container was cut off.
    ///
    /// One that passes only once hands what may be a layer to `passing`, and announces the
    /// images when enough has passed to describe them.
    fn read(
        &mut self,
        passing: &mut dyn PassingLayers,
        ask: &Ask<'_>,
    ) -> Result<Option<u64>, LoadError>;

    /// What opens the layers that are there.
    fn into_opener(self) -> Box<dyn LayerOpener>;
}

/// The images in a container, whichever format it holds.
pub(crate) struct Contained<C>(pub(crate) C);

impl<C: Container> ImageSource for Contained<C> {
    fn describe(
        self: Box<Self>,
        passing: &mut dyn PassingLayers,
        ask: &Ask<'_>,
    ) -> Result<(Description, Box<dyn LayerOpener>), LoadError> {
        let mut container = self.0;
        let cut_off = container.read(passing, ask)?;
        let described = detect::describe(&container, cut_off, ask);
        let described = described.map_err(|error| explain(error, cut_off))?;
        let described = Description {
            cut_off,
            ..described
        };
        Ok((described, container.into_opener()))
    }
}

/// Says that a container without its end mark was cut off, where that explains an error.
fn explain(error: LoadError, cut_off: Option<u64>) -> LoadError {
    match (error, cut_off) {
        (LoadError::NoManifest { .. }, Some(0)) => LoadError::Empty,
        (LoadError::NoManifest { .. }, Some(offset)) => LoadError::Truncated {
            offset,
            missing: "manifest.json or index.json".into(),
        },
        (LoadError::MissingMember { member, .. }, Some(offset)) => LoadError::Truncated {
            offset,
            missing: format!("member {member}"),
        },
        (error, _) => error,
    }
}

/// The diff IDs of layers whose bytes are there, each read by one of several threads.
fn diff_ids_of<R: Read + Send>(
    layers: &[FoundLayer],
    open: impl Fn(&FoundLayer) -> Result<R, LoadError> + Sync,
    observer: &dyn Observer,
) -> Result<Vec<DiffId>, LoadError> {
    let read = |layer: &FoundLayer| {
        let read = blob::diff_id(open(layer)?, observer);
        let read = read.map_err(|source| LoadError::ReadLayer {
            member: text(&layer.member),
            source,
        })?;
        read.ok_or(LoadError::Cancelled)
    };
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let done: Vec<OnceLock<Result<DiffId, LoadError>>> =
        layers.iter().map(|_| OnceLock::new()).collect();
    let work = || {
        while !failed.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let (Some(layer), Some(slot)) = (layers.get(number), done.get(number)) else {
                return;
            };
            let result = read(layer);
            failed.fetch_or(result.is_err(), Ordering::Relaxed);
            // Each number is given out once.
            let _ = slot.set(result);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = threads.min(MAX_THREADS).min(layers.len());
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    let (mut ids, mut first) = (Vec::with_capacity(layers.len()), None);
    for result in done.into_iter().filter_map(OnceLock::into_inner) {
        match result {
            Ok(id) => ids.push(id),
            Err(error) => {
                first.get_or_insert(error);
            }
        }
    }
    first.map_or(Ok(ids), Err)
}

fn not_a_layer(layer: &FoundLayer) -> LoadError {
    LoadError::NotALayer {
        member: text(&layer.member),
    }
}
