//! Stores of other engines, made by hand: small, and with whatever damage a test wants.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use lith_archive::{Defaults, Input, LoadError, LoadOptions, LoadReport, Location, load};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::{Image, Root};

/// A store in a folder of its own.
pub(crate) struct Made {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) images: Vec<Value>,
    pub(crate) layers: Vec<Value>,
}

impl Made {
    /// A containers-storage of the overlay driver.
    pub(crate) fn storage(images: &[(&Image, &[&str])]) -> Made {
        let folder = tempfile::tempdir().unwrap();
        let mut made = Made {
            folder,
            images: Vec::new(),
            layers: Vec::new(),
        };
        for (image, names) in images {
            made.add(image, names);
        }
        for lock in ["overlay-images/images.lock", "overlay-layers/layers.lock"] {
            made.write(lock, &[7; 64]);
        }
        made.write_lists();
        made
    }

    fn add(&mut self, image: &Image, names: &[&str]) {
        let mut parent: Option<String> = None;
        for (index, tar) in image.layers.iter().enumerate() {
            let diff = image.diff_id(index).hex();
            let id = match &parent {
                None => diff.clone(),
                Some(parent) => hex::encode(Sha256::digest(format!("{parent}+{diff}"))),
            };
            if !self.layers.iter().any(|layer| layer["id"] == json!(id)) {
                let mut layer = json!({"id": id, "diff-digest": format!("sha256:{diff}")});
                if let Some(parent) = &parent {
                    layer["parent"] = json!(parent);
                }
                self.layers.push(layer);
                self.write(&format!("overlay-layers/{id}.tar-split.gz"), &record(tar));
                extract(tar, &self.path(&format!("overlay/{id}/diff")));
            }
            parent = Some(id);
        }
        let id = image.id();
        let file = base64(&format!("sha256:{}", id.hex()));
        self.write(
            &format!("overlay-images/{}/={file}", id.hex()),
            &image.config,
        );
        let mut listed = json!({"id": id.hex(), "names": names, "created": "2026-01-01T00:00:00Z"});
        if let Some(top) = parent {
            listed["layer"] = json!(top);
        }
        self.images.push(listed);
    }

    /// Writes the lists as they stand in here.
    pub(crate) fn write_lists(&self) {
        let images = serde_json::to_vec(&self.images).unwrap();
        self.write("overlay-images/images.json", &images);
        let layers = serde_json::to_vec(&self.layers).unwrap();
        self.write("overlay-layers/layers.json", &layers);
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    pub(crate) fn write(&self, below: &str, content: &[u8]) {
        let path = self.path(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Where the files of an image's layer are.
    pub(crate) fn tree(&self, layer: usize) -> PathBuf {
        let id = self.layers[layer]["id"].as_str().unwrap();
        self.path(&format!("overlay/{id}/diff"))
    }

    /// The location of this store, with a name or without.
    pub(crate) fn location(&self, name: &str) -> String {
        let root = self.folder.path().display();
        format!("containers-storage:[overlay@{root}]{name}")
    }

    /// Loads from it into a new store; afterwards it is as it was.
    pub(crate) fn load(&self, name: &str) -> Result<LoadReport, LoadError> {
        load_from(&Root::new(), &self.location(name), &[], self.folder.path())
    }

    /// Asserts that loading fails and keeps nothing; gives the error with its causes.
    pub(crate) fn fails(&self, name: &str) -> (LoadError, String) {
        let root = Root::new();
        let error = load_from(&root, &self.location(name), &[], self.folder.path()).unwrap_err();
        root.assert_empty(&error.to_string());
        let text = causes(&error);
        (error, text)
    }
}

/// Loads from a location and asserts that nothing in `untouched` was written.
pub(crate) fn load_from(
    root: &Root,
    location: &str,
    images: &[&str],
    untouched: &Path,
) -> Result<LoadReport, LoadError> {
    let before = snapshot(untouched);
    let mut options = LoadOptions::default();
    options.images = images.iter().map(|image| (*image).to_owned()).collect();
    let location = Location::parse(location.as_ref()).unwrap();
    let report = Input::at(location, &Defaults::default())
        .and_then(|input| load(&root.graph, input, &options, &()));
    assert_eq!(snapshot(untouched), before, "the other store was written");
    report
}

/// Everything in a folder, with what changes when it is written.
fn snapshot(folder: &Path) -> Vec<(PathBuf, u64, i64, i64)> {
    let mut all = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            if metadata.is_dir() {
                folders.push(path.clone());
            }
            all.push((
                path,
                metadata.len(),
                metadata.ctime(),
                metadata.ctime_nsec(),
            ));
        }
    }
    all.sort();
    all
}

/// An error with its causes on one line.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    text
}

/// The record of a tar, as engines keep it.
pub(crate) fn record(tar: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    lith_tarsplit::disassemble(&mut &*tar, &mut gzip, None).unwrap();
    gzip.finish().unwrap()
}

/// Extracts regular files, folders and links.
pub(crate) fn extract(tar: &[u8], to: &Path) {
    fs::create_dir_all(to).unwrap();
    tar::Archive::new(tar).unpack(to).unwrap();
}

/// Base64 with another tool than the one under test.
fn base64(text: &str) -> String {
    let mut command = std::process::Command::new("base64");
    command.arg("-w0");
    command.stdin(std::process::Stdio::piped());
    command.stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let mut out = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut out)
        .unwrap();
    child.wait().unwrap();
    out.trim().to_owned()
}
