//! What OCI layouts and docker's folders hold, read by code that shares nothing with lith.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::read::Archive;
use super::write::{sha256, sha256_of};

/// The annotations that hold an image's name, the better one first.
const NAMES: [&str; 2] = [
    "io.containerd.image.name",
    "org.opencontainers.image.ref.name",
];

/// What an image is, whatever format it is in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Told {
    /// SHA-256 of the config, as hex.
    pub(crate) id: String,
    /// Bottom first, with their algorithm.
    pub(crate) diff_ids: Vec<String>,
    /// Full names, sorted.
    pub(crate) names: Vec<String>,
}

impl Told {
    /// The images of a docker-archive, sorted; every layer is what its config says.
    pub(crate) fn of_archive(path: &Path) -> Result<Vec<Told>> {
        let archive = Archive::open(path)?;
        archive.check()?;
        let told = |image: &super::read::Image| Told {
            id: image.id.clone(),
            diff_ids: image.diff_ids.clone(),
            names: image.names.clone(),
        };
        Ok(sorted(archive.images.iter().map(told).collect()))
    }

    /// The images of an OCI layout, sorted; every blob is what its descriptor says, every layer
    /// what its config says. A name without a repository counts as none.
    pub(crate) fn of_layout(folder: &Path) -> Result<Vec<Told>> {
        let what = || format!("reading the OCI layout {}", folder.display());
        let index = fs::read(folder.join("index.json")).with_context(what)?;
        let index: Value = serde_json::from_slice(&index).with_context(what)?;
        let entries = index["manifests"].as_array().with_context(what)?;
        let mut images: Vec<Told> = Vec::new();
        for entry in entries {
            let blobs = |digest: &str| folder.join("blobs").join(digest.replace(':', "/"));
            let manifest = blob(&blobs, entry).with_context(what)?;
            let (id, diff_ids) = image(&blobs, &manifest).with_context(what)?;
            let name = NAMES
                .iter()
                .find_map(|key| entry["annotations"][key].as_str());
            let name = name.filter(|name| name.contains(['/', ':']));
            let name = name.map(super::normalise);
            match images.iter_mut().find(|told| told.id == id) {
                Some(told) => told.names.extend(name),
                None => images.push(Told {
                    id,
                    diff_ids,
                    names: name.into_iter().collect(),
                }),
            }
        }
        Ok(sorted(images))
    }

    /// The image of one of the folders that skopeo calls `dir`; it has no name.
    pub(crate) fn of_docker_dir(folder: &Path) -> Result<Vec<Told>> {
        let what = || format!("reading the folder {}", folder.display());
        let manifest = fs::read(folder.join("manifest.json")).with_context(what)?;
        let blobs = |digest: &str| folder.join(digest.trim_start_matches("sha256:"));
        let (id, diff_ids) = image(&blobs, &manifest).with_context(what)?;
        Ok(vec![Told {
            id,
            diff_ids,
            names: Vec::new(),
        }])
    }

    /// The same image without its names.
    pub(crate) fn nameless(&self) -> Told {
        Told {
            names: Vec::new(),
            ..self.clone()
        }
    }
}

fn sorted(mut images: Vec<Told>) -> Vec<Told> {
    for image in &mut images {
        image.names.sort();
        image.names.dedup();
    }
    images.sort();
    images
}

/// Where the blob with a digest is.
type Blobs<'a> = &'a dyn Fn(&str) -> std::path::PathBuf;

/// The bytes that a descriptor is of.
fn blob(blobs: Blobs<'_>, descriptor: &Value) -> Result<Vec<u8>> {
    let digest = descriptor["digest"].as_str().context("no digest")?;
    let bytes = fs::read(blobs(digest)).with_context(|| format!("blob {digest}"))?;
    ensure!(
        format!("sha256:{}", sha256(&bytes)) == digest,
        "blob {digest} is something else"
    );
    let size = descriptor["size"].as_u64();
    ensure!(
        size == Some(bytes.len() as u64),
        "blob {digest} has {} bytes, its descriptor says {size:?}",
        bytes.len()
    );
    Ok(bytes)
}

/// The ID and the diff IDs of a manifest's image.
fn image(blobs: Blobs<'_>, manifest: &[u8]) -> Result<(String, Vec<String>)> {
    let manifest: Value = serde_json::from_slice(manifest).context("the manifest is no JSON")?;
    let config = blob(blobs, &manifest["config"]).context("the config")?;
    let parsed: Value = serde_json::from_slice(&config).context("the config is no JSON")?;
    let diff_ids = parsed["rootfs"]["diff_ids"].as_array();
    let diff_ids = diff_ids.context("the config has no diff IDs")?.iter();
    let diff_ids: Vec<String> = diff_ids
        .filter_map(|digest| digest.as_str().map(str::to_owned))
        .collect();
    let layers = manifest["layers"].as_array().context("no layers")?;
    ensure!(
        layers.len() == diff_ids.len(),
        "{} layers, {} diff IDs",
        layers.len(),
        diff_ids.len()
    );
    for (layer, diff_id) in layers.iter().zip(&diff_ids) {
        blob(blobs, layer).context("a layer")?;
        let digest = layer["digest"].as_str().unwrap_or_default();
        let found = format!("sha256:{}", sha256_of(unpacked(&blobs(digest))?)?);
        ensure!(
            found == *diff_id,
            "layer {digest} unpacks to {found}, the config says {diff_id}"
        );
    }
    Ok((sha256(&config), diff_ids))
}

/// A file's content, decompressed where it is compressed.
fn unpacked(path: &Path) -> Result<Box<dyn Read>> {
    let mut head = [0; 4];
    let read = File::open(path)?.read(&mut head)?;
    let file = File::open(path)?;
    Ok(match head.get(..read) {
        Some([0x1f, 0x8b, ..]) => Box::new(flate2::read::MultiGzDecoder::new(file)),
        Some([0x28, 0xb5, 0x2f, 0xfd]) => Box::new(zstd::Decoder::new(file)?),
        Some(_) => Box::new(file),
        None => bail!("{} cannot be read", path.display()),
    })
}
