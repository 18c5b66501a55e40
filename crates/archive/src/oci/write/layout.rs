//! From images to the documents of a layout, wherever its blobs lie.

use lith_graph::compression::Compression;
use lith_store::{Digest, ImageId, Reference};

use super::whole;
use crate::WriteError;
use crate::compress::Written;
use crate::images::{Added, Contents};
use crate::oci::{
    Descriptor, Document, IMAGE_NAME, Index, Manifest, MediaType, Platform, REF_NAME,
};

/// The only version of the layout.
pub(super) const LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// Where documents go, by their digest.
pub(crate) trait Blobs {
    /// Writes a document, unless a blob of this digest is there.
    fn document(&mut self, digest: &Digest, bytes: &[u8]) -> Result<(), WriteError>;
}

/// Whose documents are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    Oci,
    /// Docker's schema 2; manifests of the OCI that images came with are taken, too.
    Docker,
}

/// An image whose documents are known, or an index of images.
pub(crate) struct Described {
    /// The manifest's, or the index's.
    pub(crate) descriptor: Descriptor,
    pub(crate) manifest: Vec<u8>,
    pub(crate) names: Vec<Reference>,
    /// What the index calls it beside.
    pub(crate) index_name: Option<String>,
    /// It is the one that the image came with.
    pub(crate) as_it_came: bool,
}

/// What a save has made.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Bytes written.
    pub(crate) bytes: u64,
    /// The digests of the images' manifests, for formats that have them.
    pub(crate) manifests: Vec<(ImageId, Digest)>,
    pub(crate) warnings: Vec<String>,
}

/// Writes the documents of all images and indexes of a layout; gives what its `index.json` lists.
pub(super) fn write(
    contents: &Contents,
    blobs: &mut dyn Blobs,
    outcome: &mut Outcome,
) -> Result<Vec<Described>, WriteError> {
    let images = describe(contents, Flavour::Oci, blobs, outcome)?;
    for image in &images {
        blobs.document(&image.descriptor.digest, &image.manifest)?;
    }
    let indexes = whole::write(contents, &images, blobs, outcome)?;
    let added = contents.images.iter().zip(images);
    let own = added.filter(|(added, _)| !contents.is_only_member(added));
    let own = own.map(|(_, described)| described);
    Ok(own.chain(indexes).collect())
}

/// Writes the configs of all images, and makes their manifests.
pub(crate) fn describe(
    contents: &Contents,
    flavour: Flavour,
    blobs: &mut dyn Blobs,
    outcome: &mut Outcome,
) -> Result<Vec<Described>, WriteError> {
    let mut all = Vec::with_capacity(contents.images.len());
    for added in &contents.images {
        blobs.document(added.id.digest(), &added.image.config)?;
        let described = image(added, contents, flavour, &mut outcome.warnings);
        outcome
            .manifests
            .push((added.id, described.descriptor.digest));
        all.push(described);
    }
    Ok(all)
}

fn image(
    added: &Added,
    contents: &Contents,
    flavour: Flavour,
    warnings: &mut Vec<String>,
) -> Described {
    let layers: Vec<&Written> = added.layers(contents).map(|(_, written)| written).collect();
    let (manifest, media_type, as_it_came) = match came(added, &layers, flavour) {
        Came::Fits(bytes, media_type) => (bytes, media_type, true),
        other => {
            let manifest = made(added, &layers, flavour);
            let bytes = manifest.to_json().into_bytes();
            if let Came::Not(reason) = other {
                let (label, digest) = (label(added), Digest::of(&bytes));
                warnings.push(format!(
                    "{label} is written with a new manifest, {digest}: {reason}"
                ));
            }
            (bytes, manifest.media_type, false)
        }
    };
    let size = manifest.len() as u64;
    let mut descriptor = Descriptor::new(media_type, Digest::of(&manifest), size);
    descriptor.platform = Platform::of_config(&added.facts);
    Described {
        descriptor,
        manifest,
        names: added.image.names.clone(),
        index_name: added.image.index_name.clone(),
        as_it_came,
    }
}

fn label(added: &Added) -> String {
    match added.image.names.first() {
        Some(name) => name.familiar(),
        None => added.id.to_string(),
    }
}

/// What becomes of the manifest that an image came with.
enum Came {
    /// It describes what is written.
    Fits(Vec<u8>, MediaType),
    /// It does not, for this reason.
    Not(String),
    Without,
}

fn came(added: &Added, layers: &[&Written], flavour: Flavour) -> Came {
    let Some(bytes) = &added.image.manifest else {
        return Came::Without;
    };
    let manifest = match Document::parse(bytes) {
        Ok(Document::Manifest(manifest)) => manifest,
        Ok(Document::Index(_)) => return Came::Not("the one it came with is an index".into()),
        Err(error) => return Came::Not(format!("the one it came with cannot be used: {error}")),
    };
    let docker = manifest.media_type.is_docker() || manifest.config.media_type.is_docker();
    if docker && flavour == Flavour::Oci {
        return Came::Not("the one it came with is Docker's, and this format takes OCI's".into());
    }
    if manifest.config.digest != *added.id.digest() || manifest.layers.len() != layers.len() {
        return Came::Not("the one it came with is of another image".into());
    }
    let same = |(came, written): (&Descriptor, &&Written)| {
        came.digest == written.digest && came.size == written.size
    };
    if !manifest.layers.iter().zip(layers).all(same) {
        return Came::Not("its layers are compressed anew".into());
    }
    Came::Fits(bytes.clone(), manifest.media_type)
}

fn made(added: &Added, layers: &[&Written], flavour: Flavour) -> Manifest {
    let (media_type, config) = match flavour {
        Flavour::Oci => (MediaType::OciManifest, MediaType::OciConfig),
        Flavour::Docker => (MediaType::DockerManifest, MediaType::DockerConfig),
    };
    let size = added.image.config.len() as u64;
    let layers = layers.iter().map(|written| {
        let media_type = layer_type(flavour, written.compression);
        Descriptor::new(media_type, written.digest, written.size)
    });
    Manifest {
        media_type,
        config: Descriptor::new(config, *added.id.digest(), size),
        layers: layers.collect(),
        annotations: Default::default(),
        artifact_type: None,
    }
}

/// The media type of a layer; layers are written in no other compressions than these.
pub(super) fn layer_type(flavour: Flavour, compression: Compression) -> MediaType {
    match (flavour, compression) {
        (Flavour::Oci, Compression::Gzip) => MediaType::OciLayerGzip,
        (Flavour::Oci, Compression::Zstd) => MediaType::OciLayerZstd,
        (Flavour::Oci, _) => MediaType::OciLayer,
        (Flavour::Docker, Compression::Gzip) => MediaType::DockerLayerGzip,
        (Flavour::Docker, _) => MediaType::DockerLayer,
    }
}

/// The entries of an index: one for each name, and one without for an image without.
pub(super) fn entries(images: &[Described]) -> Vec<Descriptor> {
    let mut entries = Vec::new();
    for image in images {
        if image.names.is_empty() && image.index_name.is_none() {
            entries.push(image.descriptor.clone());
        }
        if let Some(name) = &image.index_name {
            let mut entry = image.descriptor.clone();
            entry.annotations.insert(REF_NAME.to_owned(), name.clone());
            entries.push(entry);
        }
        for name in &image.names {
            let mut entry = image.descriptor.clone();
            for key in [IMAGE_NAME, REF_NAME] {
                entry.annotations.insert(key.to_owned(), name.to_string());
            }
            entries.push(entry);
        }
    }
    entries
}

/// An index of a layout that holds nothing else.
pub(super) fn index(entries: Vec<Descriptor>) -> String {
    let index = Index {
        media_type: MediaType::OciIndex,
        manifests: entries,
        annotations: Default::default(),
    };
    index.to_json()
}
