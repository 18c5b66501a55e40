//! Writes docker-archives with any number of images, from layers made on the spot.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::write::{config, member, sha256};

/// When everything in a made layer was changed last.
const TIME: u64 = 1_700_000_000;

/// A layer as a tar in memory.
#[derive(Debug)]
pub(crate) struct Layer {
    bytes: Vec<u8>,
    /// SHA-256 of the tar, as hex.
    pub(crate) diff_id: String,
}

impl Layer {
    /// Files with their contents, in this order; a name with a slash at its end is a folder.
    pub(crate) fn new<N: AsRef<str>, C: AsRef<[u8]>>(entries: &[(N, C)]) -> Result<Layer> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, content) in entries {
            let (name, content) = (name.as_ref(), content.as_ref());
            let mut header = tar::Header::new_ustar();
            let folder = name.ends_with('/');
            header.set_entry_type(match folder {
                true => tar::EntryType::Directory,
                false => tar::EntryType::Regular,
            });
            header.set_mode(if folder { 0o755 } else { 0o644 });
            header.set_size(content.len() as u64);
            header.set_mtime(TIME);
            tar.append_data(&mut header, name, content)?;
        }
        let bytes = tar.into_inner()?;
        let diff_id = sha256(&bytes);
        Ok(Layer { bytes, diff_id })
    }

    /// Its entries alone: another tar may follow them.
    pub(crate) fn without_end(&self) -> &[u8] {
        let end = self.bytes.len().saturating_sub(2 * 512);
        self.bytes.get(..end).unwrap_or_default()
    }
}

/// The IDs of a stack's layers, bottom first, as hex: each is made of the one below and of what
/// is added.
pub(crate) fn chain_ids(diff_ids: &[&str]) -> Vec<String> {
    let mut chain: Vec<String> = Vec::new();
    for diff_id in diff_ids {
        let id = match chain.last() {
            None => (*diff_id).to_owned(),
            Some(below) => hex::encode(Sha256::digest(format!("sha256:{below} sha256:{diff_id}"))),
        };
        chain.push(id);
    }
    chain
}

/// An archive that is being written; layers that images share are in it once.
pub(crate) struct Bundle {
    tar: tar::Builder<BufWriter<File>>,
    written: HashSet<String>,
    manifest: Vec<Value>,
}

impl Bundle {
    pub(crate) fn create(out: &Path) -> Result<Bundle> {
        let file = File::create(out).with_context(|| format!("cannot create {}", out.display()))?;
        Ok(Bundle {
            tar: tar::Builder::new(BufWriter::with_capacity(1 << 20, file)),
            written: HashSet::new(),
            manifest: Vec::new(),
        })
    }

    /// Adds an image; gives its ID, as hex.
    pub(crate) fn image(&mut self, names: &[&str], layers: &[&Layer]) -> Result<String> {
        let mut members = Vec::new();
        for layer in layers {
            let name = format!("{}.tar", layer.diff_id);
            if self.written.insert(layer.diff_id.clone()) {
                member(&mut self.tar, &name, &layer.bytes)?;
            }
            members.push(name);
        }
        let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.diff_id.as_str()).collect();
        let config = config(&["/bin/true"], &diff_ids);
        let id = sha256(&config);
        let name = format!("{id}.json");
        member(&mut self.tar, &name, &config)?;
        self.manifest
            .push(json!({ "Config": name, "RepoTags": names, "Layers": members }));
        Ok(id)
    }

    /// Writes `manifest.json` and the end.
    pub(crate) fn finish(mut self) -> Result<()> {
        let manifest = Value::Array(self.manifest).to_string();
        member(&mut self.tar, "manifest.json", manifest.as_bytes())?;
        let file = self.tar.into_inner()?;
        file.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::Archive;

    #[test]
    fn images_share_what_they_have_in_common() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("several.tar");
        let base = Layer::new(&[("etc/", ""), ("etc/name", "base")]).unwrap();
        let own = Layer::new(&[("own", "1")]).unwrap();
        let mut bundle = Bundle::create(&path).unwrap();
        let one = bundle.image(&["one:1"], &[&base]).unwrap();
        let two = bundle.image(&["two:1", "two:2"], &[&base, &own]).unwrap();
        bundle.finish().unwrap();
        let archive = Archive::open(&path).unwrap();
        archive.check().unwrap();
        let ids: Vec<&str> = archive
            .images
            .iter()
            .map(|image| image.id.as_str())
            .collect();
        assert_eq!(ids, [one, two]);
        let [first, second] = &archive.images[..] else {
            panic!("two images")
        };
        assert_eq!(second.names.len(), 2);
        assert_eq!(first.layers[0].offset, second.layers[0].offset);
    }

    #[test]
    fn a_chain_begins_with_the_first_diff_id() {
        let [a, b] = ["a".repeat(64), "b".repeat(64)];
        let chain = chain_ids(&[&a, &b]);
        assert_eq!(chain[0], a);
        assert_eq!(
            chain[1],
            sha256(format!("sha256:{a} sha256:{b}").as_bytes())
        );
    }
}
