//! A reader of OCI layouts that shares no code with the writer.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use lith_store::{DiffId, Digest};
use serde_json::Value;

use crate::support::members;

/// Files by path.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// The regular files of an archive, none of them there twice.
pub(crate) fn files_of_tar(archive: &[u8]) -> Files {
    let mut names = crate::support::order(archive);
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count, "a member is there twice");
    let regular = members(archive).into_iter();
    regular
        .map(|(name, (_, _, content))| (name, content))
        .collect()
}

/// All files below a folder.
pub(crate) fn files_of_dir(folder: &Path) -> Files {
    fn walk(folder: &Path, prefix: &str, files: &mut Files) {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
            match entry.file_type().unwrap().is_dir() {
                true => walk(&entry.path(), &format!("{name}/"), files),
                false => {
                    files.insert(name, fs::read(entry.path()).unwrap());
                }
            }
        }
    }
    let mut files = Files::new();
    walk(folder, "", &mut files);
    files
}

/// An image as a layout has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) name: Option<String>,
    pub(crate) config: Vec<u8>,
    /// Uncompressed.
    pub(crate) layers: Vec<Vec<u8>>,
    pub(crate) media_types: Vec<String>,
}

/// The images of a layout; checks every digest and every size on the way.
pub(crate) fn images(files: &Files) -> Vec<Found> {
    let version: Value = serde_json::from_slice(&files["oci-layout"]).unwrap();
    assert_eq!(version["imageLayoutVersion"], "1.0.0");
    for (name, content) in files {
        if let Some(hex) = name.strip_prefix("blobs/sha256/") {
            assert_eq!(Digest::of(content).hex(), hex, "{name}");
        }
    }
    let blob = |descriptor: &Value| -> Vec<u8> {
        let digest = descriptor["digest"].as_str().unwrap();
        let hex = digest.strip_prefix("sha256:").unwrap();
        let content = &files[&format!("blobs/sha256/{hex}")];
        assert_eq!(descriptor["size"], content.len());
        content.clone()
    };
    let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
    assert_eq!(index["schemaVersion"], 2);
    let entries = index["manifests"].as_array().unwrap().iter();
    entries.map(|entry| image(entry, &blob)).collect()
}

fn image(entry: &Value, blob: &dyn Fn(&Value) -> Vec<u8>) -> Found {
    let annotations = &entry["annotations"];
    let name = annotations["org.opencontainers.image.ref.name"].as_str();
    let manifest: Value = serde_json::from_slice(&blob(entry)).unwrap();
    assert_eq!(manifest["mediaType"], entry["mediaType"]);
    image_of(&manifest, name, blob)
}

/// The image that a manifest describes.
pub(crate) fn image_of(
    manifest: &Value,
    name: Option<&str>,
    blob: &dyn Fn(&Value) -> Vec<u8>,
) -> Found {
    assert_eq!(manifest["schemaVersion"], 2);
    let config = blob(&manifest["config"]);
    let parsed: Value = serde_json::from_slice(&config).unwrap();
    let diff_ids = parsed["rootfs"]["diff_ids"].as_array().unwrap();
    let described = manifest["layers"].as_array().unwrap();
    assert_eq!(diff_ids.len(), described.len());
    let mut layers = Vec::new();
    let mut media_types = Vec::new();
    for (layer, diff_id) in described.iter().zip(diff_ids) {
        let media_type = layer["mediaType"].as_str().unwrap().to_owned();
        let content = inflate(&media_type, &blob(layer));
        assert_eq!(
            DiffId::of_bytes(&content).to_string(),
            diff_id.as_str().unwrap()
        );
        layers.push(content);
        media_types.push(media_type);
    }
    Found {
        name: name.map(str::to_owned),
        config,
        layers,
        media_types,
    }
}

/// Trusts the media type, as a strict reader does.
fn inflate(media_type: &str, bytes: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    if media_type.ends_with("gzip") {
        flate2::read::GzDecoder::new(bytes)
            .read_to_end(&mut content)
            .unwrap();
    } else if media_type.ends_with("zstd") {
        content = zstd::decode_all(bytes).unwrap();
    } else {
        assert!(media_type.ends_with("tar"), "{media_type}");
        content.extend_from_slice(bytes);
    }
    content
}
