//! An index beside a `manifest.json`: read for what it adds, and left where it is broken.
//!
//! Engines wrote such indexes without layers, in another order than the images, or with
//! `manifests: null`. Nothing in here is an error, and nothing in it decides anything.

use lith_store::Reference;

use super::INDEX;
use super::blobs::{Blobs, Places};
use super::choose::{MAX_DEPTH, is_no_image};
use super::entries::Entry;
use crate::LoadError;
use crate::members::Contents;
use crate::oci::{Descriptor, Document, Kind, Manifest};

/// Manifests in all indexes.
const MAX_MANIFESTS: usize = 100_000;

/// A manifest that an index lists and the container has.
pub(crate) struct Listed {
    pub(crate) bytes: Vec<u8>,
    pub(crate) manifest: Manifest,
    pub(crate) descriptor: Descriptor,
    /// What the index calls the image.
    pub(crate) names: Vec<Reference>,
}

/// All manifests of images that `index.json` lists and that are there; and what is wrong with
/// the others.
pub(crate) fn listed(contents: &dyn Contents) -> (Vec<Listed>, Vec<String>) {
    let mut walk = Walk {
        blobs: Blobs::new(contents, Places::Layout),
        listed: Vec::new(),
        warnings: Vec::new(),
    };
    let index = match contents.document(INDEX, "the archive") {
        Ok(None) => return (Vec::new(), Vec::new()),
        Ok(Some(index)) => Document::parse(&index.bytes).map_err(|error| error.to_string()),
        Err(error) => Err(told(&error)),
    };
    match index {
        Ok(Document::Index(index)) => {
            for descriptor in index.manifests {
                let (names, _) = Entry {
                    descriptors: vec![descriptor.clone()],
                }
                .names();
                walk.add(descriptor, &names);
            }
        }
        Ok(Document::Manifest(_)) => walk.warn("index.json", "it is a manifest"),
        Err(reason) => walk.warn("index.json", &reason),
    }
    (walk.listed, walk.warnings)
}

struct Walk<'a> {
    blobs: Blobs<'a>,
    listed: Vec<Listed>,
    warnings: Vec<String>,
}

impl Walk<'_> {
    fn warn(&mut self, what: &str, reason: &str) {
        self.warnings
            .push(format!("{what} beside manifest.json is not used: {reason}"));
    }

    /// Adds a manifest, or those of an index, without recursion.
    fn add(&mut self, descriptor: Descriptor, names: &[Reference]) {
        let mut waiting = vec![(descriptor, 0)];
        while let Some((descriptor, depth)) = waiting.pop() {
            if is_no_image(&descriptor) || !is_listable(&descriptor) {
                continue;
            }
            if depth > MAX_DEPTH || self.listed.len() + waiting.len() > MAX_MANIFESTS {
                return self.warn("index.json", "it lists too much");
            }
            match self.blobs.manifest(&descriptor, "index.json") {
                Ok((bytes, Document::Manifest(manifest))) => self.listed.push(Listed {
                    bytes,
                    manifest: *manifest,
                    descriptor,
                    names: names.to_vec(),
                }),
                Ok((_, Document::Index(index))) => {
                    let below = index.manifests.into_iter().rev();
                    waiting.extend(below.map(|descriptor| (descriptor, depth + 1)));
                }
                // What is for other platforms is listed, but not there.
                Err(LoadError::MissingMember { .. }) => {}
                Err(error) => self.warn(&descriptor.digest.to_string(), &told(&error)),
            }
        }
    }
}

fn is_listable(descriptor: &Descriptor) -> bool {
    matches!(descriptor.media_type.kind(), Kind::Manifest | Kind::Index)
}

/// An error with its causes.
fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let causes: Vec<String> = causes.map(ToString::to_string).collect();
    causes.join(": ")
}
