//! Writes a docker-archive from layer files, in the shapes that engines write.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Where members of the archive are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Layout {
    /// `<diff ID hex>.tar` and `<config hex>.json` at the root, as podman and skopeo write.
    Flat,
    /// An OCI layout with a `manifest.json` beside it, as docker 25 and later write.
    Blobs,
}

/// How layers stand inside the archive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Packing {
    Plain,
    Gzip,
    Zstd,
}

/// An image to be written: layers bottom first, as uncompressed tar files.
pub(crate) struct NewImage<'a> {
    pub(crate) name: &'a str,
    pub(crate) layers: &'a [PathBuf],
    /// The command the image starts.
    pub(crate) command: &'a [&'a str],
}

/// Writes `image` to `out`; gives the image's config as it was written.
pub(crate) fn write(
    out: &Path,
    image: &NewImage<'_>,
    layout: Layout,
    packing: Packing,
) -> Result<Vec<u8>> {
    let file = File::create(out).with_context(|| format!("cannot create {}", out.display()))?;
    let mut tar = tar::Builder::new(BufWriter::with_capacity(1 << 20, file));
    let mut layers = Vec::new();
    for path in image.layers {
        layers.push(layer(&mut tar, path, layout, packing)?);
    }
    let diff_ids: Vec<&str> = layers.iter().map(|l| l.diff_id.as_str()).collect();
    let config = config(image.command, &diff_ids);
    let config_member = match layout {
        Layout::Flat => format!("{}.json", sha256(&config)),
        Layout::Blobs => blob(&sha256(&config)),
    };
    member(&mut tar, &config_member, &config)?;
    if layout == Layout::Blobs {
        oci_index(&mut tar, image, &config, &layers)?;
    }
    let members: Vec<&str> = layers.iter().map(|layer| layer.member.as_str()).collect();
    let manifest =
        json!([{ "Config": config_member, "RepoTags": [image.name], "Layers": members }]);
    member(&mut tar, "manifest.json", manifest.to_string().as_bytes())?;
    tar.into_inner()?
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?;
    Ok(config)
}

/// A layer that stands in the archive.
struct Written {
    member: String,
    diff_id: String,
    /// Digest and size of the bytes in the archive.
    stored: String,
    size: u64,
    media_type: &'static str,
}

fn layer<W: Write>(
    tar: &mut tar::Builder<W>,
    path: &Path,
    layout: Layout,
    packing: Packing,
) -> Result<Written> {
    let diff_id = sha256_file(path)?;
    let packed;
    let (source, media_type) = match packing {
        Packing::Plain => (path, "application/vnd.oci.image.layer.v1.tar"),
        Packing::Gzip => {
            packed = path.with_extension("tar.gz");
            let out = BufWriter::new(File::create(&packed)?);
            let mut gzip = flate2::write::GzEncoder::new(out, flate2::Compression::fast());
            io::copy(&mut File::open(path)?, &mut gzip)?;
            gzip.finish()?.flush()?;
            (
                packed.as_path(),
                "application/vnd.oci.image.layer.v1.tar+gzip",
            )
        }
        Packing::Zstd => {
            packed = path.with_extension("tar.zst");
            zstd::stream::copy_encode(File::open(path)?, File::create(&packed)?, 1)?;
            (
                packed.as_path(),
                "application/vnd.oci.image.layer.v1.tar+zstd",
            )
        }
    };
    let stored = sha256_file(source)?;
    let size = source.metadata()?.len();
    let member = match layout {
        Layout::Flat => format!("{diff_id}.tar"),
        Layout::Blobs => blob(&stored),
    };
    let mut file = File::open(source)?;
    let mut header = header(size);
    tar.append_data(&mut header, &member, &mut file)
        .with_context(|| format!("cannot add {}", source.display()))?;
    Ok(Written {
        member,
        diff_id,
        stored,
        size,
        media_type,
    })
}

/// The config of an image that starts `command`; diff IDs as hex.
pub(crate) fn config(command: &[&str], diff_ids: &[&str]) -> Vec<u8> {
    let history: Vec<Value> = diff_ids
        .iter()
        .map(|_| json!({ "created": "2024-05-06T07:08:09Z", "created_by": "cargo xtask" }))
        .collect();
    let diff_ids: Vec<String> = diff_ids.iter().map(|hex| format!("sha256:{hex}")).collect();
    json!({
        "architecture": architecture(),
        "config": { "Cmd": command, "Env": ["PATH=/usr/bin:/bin"] },
        "created": "2024-05-06T07:08:09Z",
        "history": history,
        "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    })
    .to_string()
    .into_bytes()
}

/// This machine's architecture as images name it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn oci_index<W: Write>(
    tar: &mut tar::Builder<W>,
    image: &NewImage<'_>,
    config: &[u8],
    layers: &[Written],
) -> Result<()> {
    let descriptors: Vec<Value> = layers
        .iter()
        .map(|l| json!({ "mediaType": l.media_type, "digest": format!("sha256:{}", l.stored), "size": l.size }))
        .collect();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": format!("sha256:{}", sha256(config)),
            "size": config.len(),
        },
        "layers": descriptors,
    })
    .to_string();
    let digest = sha256(manifest.as_bytes());
    member(tar, &blob(&digest), manifest.as_bytes())?;
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": format!("sha256:{digest}"),
            "size": manifest.len(),
            "annotations": {
                "io.containerd.image.name": super::normalise(image.name),
                "org.opencontainers.image.ref.name": tag(image.name),
            },
        }],
    });
    member(tar, "index.json", index.to_string().as_bytes())?;
    member(tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)
}

/// What stands behind a name's colon.
fn tag(name: &str) -> String {
    let full = super::normalise(name);
    let tag = full.rsplit_once(':').map(|(_, tag)| tag.to_owned());
    tag.unwrap_or(full)
}

fn blob(hex: &str) -> String {
    format!("blobs/sha256/{hex}")
}

fn header(size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o444);
    header.set_entry_type(tar::EntryType::Regular);
    header
}

pub(super) fn member<W: Write>(tar: &mut tar::Builder<W>, name: &str, bytes: &[u8]) -> Result<()> {
    tar.append_data(&mut header(bytes.len() as u64), name, bytes)
        .with_context(|| format!("cannot add {name}"))
}

/// SHA-256 of bytes, as lower-case hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// SHA-256 of all that `source` yields, as lower-case hex.
pub(crate) fn sha256_of(mut source: impl Read) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        let read = source.read(&mut buffer)?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
            return Ok(hex::encode(hash.finalize()));
        };
        hash.update(bytes);
    }
}

/// SHA-256 of a file, as lower-case hex.
pub(crate) fn sha256_file(path: &Path) -> Result<String> {
    File::open(path)
        .and_then(sha256_of)
        .with_context(|| format!("cannot read {}", path.display()))
}
