//! The folder of an image: its documents as they came, and what it says of itself.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::{ImageId, LayerId};
use crate::effects::Effects;
use crate::error::{IoContext, StoreError};
use crate::images::{ImageError, ImageIndex, ImageRecord, IndexMember};

const DESCRIPTION: &str = "image.json";
const CONFIG: &str = "config";
const INDEX: &str = "index";
const MANIFEST: &str = "manifest";
const PARENT: &str = "parent";

/// Content of `image.json`.
#[derive(Serialize, Deserialize)]
struct Description {
    id: ImageId,
    layers: Vec<LayerId>,
    created: Option<String>,
    architecture: Option<String>,
    os: Option<String>,
    variant: Option<String>,
    size: u64,
    manifest: bool,
    parent: bool,
    /// Names of the further files.
    files: Vec<String>,
    /// The images of an index.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    members: Vec<IndexMember>,
}

/// Refuses names of further files that are no file names or mean something else.
pub(crate) fn check_names(record: &ImageRecord) -> Result<(), ImageError> {
    match record.extra.keys().find(|name| !is_file_name(name)) {
        Some(name) => Err(ImageError::FileName {
            name: crate::digest::shorten(name),
        }),
        None => Ok(()),
    }
}

fn is_file_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= 128
        && !matches!(name, DESCRIPTION | CONFIG | INDEX | MANIFEST | PARENT)
        && name.bytes().next().is_some_and(plain)
        && name
            .bytes()
            .all(|byte| plain(byte) || matches!(byte, b'.' | b'_' | b'-'))
}

/// Writes the folder `path`, which must not be there; gives the number of files in it. Forcing
/// them to disk is up to the caller.
pub(crate) fn write(
    effects: &Effects,
    path: &Path,
    record: &ImageRecord,
) -> Result<usize, StoreError> {
    let description = Description {
        id: record.id,
        layers: record.layers.clone(),
        created: record.created.clone(),
        architecture: record.architecture.clone(),
        os: record.os.clone(),
        variant: record.variant.clone(),
        size: record.size,
        manifest: record.manifest.is_some(),
        parent: record.parent.is_some(),
        files: record.extra.keys().cloned().collect(),
        members: record.members().to_vec(),
    };
    effects.make_dir(path)?;
    let document = path.join(if record.index.is_some() {
        INDEX
    } else {
        CONFIG
    });
    effects.write_new(&document, record.document())?;
    if let Some(manifest) = &record.manifest {
        effects.write_new(&path.join(MANIFEST), manifest)?;
    }
    if let Some(parent) = &record.parent {
        effects.write_new(&path.join(PARENT), format!("{parent}\n").as_bytes())?;
    }
    for (name, content) in &record.extra {
        effects.write_new(&path.join(name), content)?;
    }
    let place = path.join(DESCRIPTION);
    let mut text = serde_json::to_vec_pretty(&description)
        .map_err(io::Error::from)
        .at("describe", &place)?;
    text.push(b'\n');
    effects.write_new(&place, &text)?;
    let optional = usize::from(description.manifest) + usize::from(description.parent);
    Ok(2 + optional + record.extra.len())
}

/// As [`read`]; `None` when what is there is not that image, whole.
pub(crate) fn read_if_whole(path: &Path, id: &ImageId) -> Result<Option<ImageRecord>, StoreError> {
    match read(path, id) {
        Ok(record) => Ok(Some(record)),
        Err(StoreError::Damaged { .. }) => Ok(None),
        Err(StoreError::Io { source, .. })
            if matches!(
                source.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::NotADirectory
                    | io::ErrorKind::IsADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Reads the folder of the image `id` and checks that it is that image.
pub(crate) fn read(path: &Path, id: &ImageId) -> Result<ImageRecord, StoreError> {
    let description = describe(path, id)?;
    let (config, index) = if description.members.is_empty() {
        (read_document(&path.join(CONFIG), id)?, None)
    } else {
        let document = read_document(&path.join(INDEX), id)?;
        let members = description.members;
        (Vec::new(), Some(ImageIndex { document, members }))
    };
    let optional = |there: bool, name: &str| {
        let place = path.join(name);
        if there {
            fs::read(&place).at("read", &place).map(Some)
        } else {
            Ok(None)
        }
    };
    let manifest = optional(description.manifest, MANIFEST)?;
    let parent = match optional(description.parent, PARENT)? {
        None => None,
        Some(text) => Some(read_parent(&path.join(PARENT), &text)?),
    };
    let mut extra = BTreeMap::new();
    for name in description.files {
        if !is_file_name(&name) {
            let reason = format!("lists a file {:?}", crate::digest::shorten(&name));
            return Err(damaged(path.join(DESCRIPTION), reason));
        }
        let place = path.join(&name);
        let content = fs::read(&place).at("read", &place)?;
        extra.insert(name, content);
    }
    Ok(ImageRecord {
        id: *id,
        config,
        manifest,
        layers: description.layers,
        parent,
        created: description.created,
        architecture: description.architecture,
        os: description.os,
        variant: description.variant,
        size: description.size,
        extra,
        index,
    })
}

fn damaged(path: PathBuf, reason: String) -> StoreError {
    StoreError::Damaged { path, reason }
}

fn describe(path: &Path, id: &ImageId) -> Result<Description, StoreError> {
    let place = path.join(DESCRIPTION);
    let text = fs::read(&place).at("read", &place)?;
    let description: Description = serde_json::from_slice(&text)
        .map_err(|error| damaged(place.clone(), format!("not an image: {error}")))?;
    if description.id != *id {
        let reason = format!("expected image {id}, found {}", description.id);
        return Err(damaged(place, reason));
    }
    Ok(description)
}

/// Reads the document whose digest is the image's ID.
fn read_document(place: &Path, id: &ImageId) -> Result<Vec<u8>, StoreError> {
    let document = fs::read(place).at("read", place)?;
    let found = ImageId::of_bytes(&document);
    if found != *id {
        let reason = format!("expected digest {id}, found {found}");
        return Err(damaged(place.to_owned(), reason));
    }
    Ok(document)
}

fn read_parent(place: &Path, text: &[u8]) -> Result<ImageId, StoreError> {
    let text = String::from_utf8_lossy(text);
    text.trim_end()
        .parse()
        .map_err(|error: crate::ParseDigestError| damaged(place.to_owned(), error.to_string()))
}
