//! Small docker-archives, made by hand.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// An entry of a layer: a name, and a file's content or nothing for a folder.
pub(crate) type Entry<'a> = (&'a str, Option<&'a [u8]>);

pub(crate) fn layer(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_mtime(1_500_000_000);
        header.set_uid(7);
        header.set_gid(8);
        let content = content.unwrap_or_else(|| {
            header.set_entry_type(tar::EntryType::Directory);
            &[]
        });
        header.set_mode(if header.entry_type().is_dir() {
            0o750
        } else {
            0o640
        });
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, name, content).unwrap();
    }
    builder.into_inner().unwrap()
}

/// One image: its layers, what its config says of them, and its names.
pub(crate) struct Image {
    pub(crate) layers: Vec<Vec<u8>>,
    pub(crate) names: Vec<&'static str>,
    /// Tells images of the same layers apart.
    pub(crate) author: &'static str,
}

impl Image {
    pub(crate) fn config(&self) -> Vec<u8> {
        let diff_ids: Vec<String> = self
            .layers
            .iter()
            .map(|layer| format!("sha256:{}", sha256(layer)))
            .collect();
        // Spaces that no encoder writes show whether the bytes survive.
        let config: Value = json!({
            "architecture": "amd64", "os": "linux", "created": "2020-01-02T03:04:05Z",
            "author": self.author, "config": {"Cmd": ["sh"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        format!("{config:#} \n").into_bytes()
    }

    /// The member's name of a layer.
    pub(crate) fn member(layer: &[u8]) -> String {
        format!("{}.tar", sha256(layer))
    }
}

pub(crate) fn append(builder: &mut tar::Builder<Vec<u8>>, name: &str, content: &[u8]) {
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o444);
    header.set_size(content.len() as u64);
    builder.append_data(&mut header, name, content).unwrap();
}

/// The archive of one image, its manifest last.
pub(crate) fn docker_archive(image: &Image) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut members = Vec::new();
    for layer in &image.layers {
        let member = Image::member(layer);
        if !members.contains(&member) {
            append(&mut builder, &member, layer);
        }
        members.push(member);
    }
    let config = image.config();
    let config_name = format!("{}.json", sha256(&config));
    append(&mut builder, &config_name, &config);
    let manifest = json!([{"Config": config_name, "RepoTags": image.names, "Layers": members}]);
    append(
        &mut builder,
        "manifest.json",
        manifest.to_string().as_bytes(),
    );
    builder.into_inner().unwrap()
}

/// All regular members of an archive.
pub(crate) fn members(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(archive);
    let mut members = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.header().entry_type().is_file() {
            let name = entry.path().unwrap().to_string_lossy().into_owned();
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
            members.push((name, content));
        }
    }
    members
}
