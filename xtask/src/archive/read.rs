//! Reads a docker-archive and compares two of them, byte for byte.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::normalise;
use super::write::{sha256, sha256_of};

/// A docker-archive with a `manifest.json`, as a plain file.
#[derive(Debug)]
pub(crate) struct Archive {
    path: PathBuf,
    pub(crate) images: Vec<Image>,
}

/// One image of an archive.
#[derive(Debug)]
pub(crate) struct Image {
    /// SHA-256 of the config: the image ID.
    pub(crate) id: String,
    pub(crate) config: Vec<u8>,
    /// Full names, sorted.
    pub(crate) names: Vec<String>,
    pub(crate) diff_ids: Vec<String>,
    pub(crate) layers: Vec<Place>,
}

/// Where a member's bytes are in the archive.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) member: String,
    pub(crate) offset: u64,
    pub(crate) size: u64,
}

enum Member {
    File { offset: u64, size: u64 },
    Link(String),
}

impl Archive {
    /// Reads the list of members, `manifest.json` and the configs; layers are left alone.
    pub(crate) fn open(path: &Path) -> Result<Archive> {
        let what = || format!("reading the archive {}", path.display());
        let members = members(path).with_context(what)?;
        let bytes_of = |name: &str| -> Result<Vec<u8>> {
            let place = resolve(&members, name)?;
            let mut bytes = Vec::new();
            open_at(path, &place)?.read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let manifest: Value =
            serde_json::from_slice(&bytes_of("manifest.json").with_context(what)?)
                .context("manifest.json is no JSON")?;
        let items = manifest
            .as_array()
            .context("manifest.json is no list")
            .with_context(what)?;
        let mut images = Vec::new();
        for item in items {
            let config = bytes_of(item["Config"].as_str().context("no Config")?)?;
            let parsed: Value = serde_json::from_slice(&config).context("the config is no JSON")?;
            let layers = strings(&item["Layers"])
                .iter()
                .map(|name| resolve(&members, name))
                .collect::<Result<Vec<_>>>()
                .with_context(what)?;
            let mut names: Vec<String> = strings(&item["RepoTags"])
                .iter()
                .map(|name| normalise(name))
                .collect();
            names.sort();
            images.push(Image {
                id: sha256(&config),
                diff_ids: strings(&parsed["rootfs"]["diff_ids"]),
                config,
                names,
                layers,
            });
        }
        Ok(Archive {
            path: path.to_owned(),
            images,
        })
    }

    /// A layer's bytes as they stand in the archive.
    pub(crate) fn layer(&self, place: &Place) -> Result<impl Read + use<>> {
        open_at(&self.path, place)
    }

    /// The only image, or an error.
    pub(crate) fn single(&self) -> Result<&Image> {
        match self.images.as_slice() {
            [image] => Ok(image),
            other => bail!(
                "{}: {} images, expected one",
                self.path.display(),
                other.len()
            ),
        }
    }

    /// All names of all images.
    pub(crate) fn names(&self) -> Vec<String> {
        self.images
            .iter()
            .flat_map(|image| image.names.iter().cloned())
            .collect()
    }

    /// Whether every layer has the digest that its config declares.
    pub(crate) fn check(&self) -> Result<()> {
        for image in &self.images {
            if image.layers.len() != image.diff_ids.len() {
                bail!(
                    "{}: image {} has other counts of layers",
                    self.path.display(),
                    image.id
                );
            }
            for (place, expected) in image.layers.iter().zip(&image.diff_ids) {
                let found = format!("sha256:{}", sha256_of(self.layer(place)?)?);
                if found != *expected {
                    bail!(
                        "{}: {} is {found}, the config says {expected}",
                        self.path.display(),
                        place.member
                    );
                }
            }
        }
        Ok(())
    }
}

fn strings(value: &Value) -> Vec<String> {
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter()
        .filter_map(|item| item.as_str().map(str::to_owned))
        .collect()
}

fn members(path: &Path) -> Result<BTreeMap<String, Member>> {
    let mut tar = tar::Archive::new(BufReader::new(File::open(path)?));
    let mut members = BTreeMap::new();
    for entry in tar.entries_with_seek()? {
        let entry = entry?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let name = name.strip_prefix("./").unwrap_or(&name).to_owned();
        let kind = entry.header().entry_type();
        if kind.is_file() {
            let (offset, size) = (entry.raw_file_position(), entry.size());
            members.insert(name, Member::File { offset, size });
        } else if let Some(target) = entry.link_name_bytes() {
            let target = String::from_utf8_lossy(&target).into_owned();
            let target = if kind.is_symlink() {
                beside(&name, &target)
            } else {
                target
            };
            members.insert(name, Member::Link(target));
        }
    }
    Ok(members)
}

/// A symbolic link's target, seen from the root of the archive.
fn beside(name: &str, target: &str) -> String {
    let mut parts: Vec<&str> = name.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn resolve(members: &BTreeMap<String, Member>, name: &str) -> Result<Place> {
    let mut current = name;
    for _ in 0..32 {
        match members.get(current) {
            Some(Member::File { offset, size }) => {
                return Ok(Place {
                    member: name.to_owned(),
                    offset: *offset,
                    size: *size,
                });
            }
            Some(Member::Link(target)) => current = target,
            None => bail!("no member {current}"),
        }
    }
    bail!("the links of {name} do not end")
}

fn open_at(path: &Path, place: &Place) -> Result<std::io::Take<BufReader<File>>> {
    let mut file = File::open(path).with_context(|| format!("{}", path.display()))?;
    file.seek(SeekFrom::Start(place.offset))?;
    Ok(BufReader::with_capacity(1 << 18, file).take(place.size))
}

/// Why two archives are not the same images.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Difference(String);

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Compares images of two archives: configs, full names, every layer byte for byte.
///
/// The order of images and of members may differ. `names: false` leaves the names out.
pub(crate) fn compare(one: &Archive, other: &Archive, names: bool) -> Result<Option<Difference>> {
    let differ = |text: String| Ok(Some(Difference(text)));
    if one.images.len() != other.images.len() {
        return differ(format!(
            "{} images against {}",
            one.images.len(),
            other.images.len()
        ));
    }
    for image in &one.images {
        let id = &image.id;
        let Some(twin) = other.images.iter().find(|twin| twin.id == *id) else {
            return differ(format!("image {id} is in the first archive only"));
        };
        if image.config != twin.config {
            return differ(format!("image {id}: the configs differ"));
        }
        if names && image.names != twin.names {
            return differ(format!(
                "image {id}: named {:?} and {:?}",
                image.names, twin.names
            ));
        }
        if image.layers.len() != twin.layers.len() {
            return differ(format!("image {id}: the counts of layers differ"));
        }
        for (index, (a, b)) in image.layers.iter().zip(&twin.layers).enumerate() {
            if let Some(offset) = first_difference(one.layer(a)?, other.layer(b)?)? {
                return differ(format!(
                    "image {id}, layer {index}: differs at byte {offset}"
                ));
            }
        }
    }
    Ok(None)
}

/// The offset of the first byte that differs, the end of the shorter one included.
pub(crate) fn first_difference(mut a: impl Read, mut b: impl Read) -> Result<Option<u64>> {
    let (mut left, mut right) = (vec![0; 1 << 18], vec![0; 1 << 18]);
    let mut offset = 0;
    loop {
        let (from_a, from_b) = (fill(&mut a, &mut left)?, fill(&mut b, &mut right)?);
        let common = from_a
            .iter()
            .zip(from_b)
            .take_while(|(a, b)| a == b)
            .count();
        offset += common as u64;
        if common < from_a.len().max(from_b.len()) {
            return Ok(Some(offset));
        }
        if from_a.is_empty() {
            return Ok(None);
        }
    }
}

/// Reads until the buffer is full or the source has ended.
fn fill<'a>(source: &mut impl Read, buffer: &'a mut [u8]) -> Result<&'a [u8]> {
    let mut filled = 0;
    while let Some(free) = buffer.get_mut(filled..).filter(|free| !free.is_empty()) {
        match source.read(free)? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(buffer.get(..filled).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::{Layout, NewImage, Packing, write};

    fn sample(folder: &Path, name: &str, content: &[u8], layout: Layout) -> Archive {
        let layer = folder.join(format!("{name}.layer.tar"));
        let mut tar = tar::Builder::new(File::create(&layer).unwrap());
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, "hello", content).unwrap();
        tar.finish().unwrap();
        let out = folder.join(name);
        let image = NewImage {
            name: "sample",
            layers: &[layer],
            command: &["/hello"],
        };
        write(&out, &image, layout, Packing::Plain).unwrap();
        Archive::open(&out).unwrap()
    }

    #[test]
    fn the_same_image_in_two_layouts_is_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let flat = sample(folder.path(), "a", b"hello", Layout::Flat);
        let blobs = sample(folder.path(), "b", b"hello", Layout::Blobs);
        flat.check().unwrap();
        assert_eq!(flat.names(), ["docker.io/library/sample:latest"]);
        assert_eq!(compare(&flat, &blobs, true).unwrap(), None);
    }

    #[test]
    fn another_layer_is_another_image() {
        let folder = tempfile::tempdir().unwrap();
        let one = sample(folder.path(), "a", b"hello", Layout::Flat);
        let other = sample(folder.path(), "b", b"hullo", Layout::Flat);
        assert!(compare(&one, &other, true).unwrap().is_some());
    }

    #[test]
    fn differences_are_found_to_the_byte() {
        assert_eq!(first_difference(&b"same"[..], &b"same"[..]).unwrap(), None);
        assert_eq!(
            first_difference(&b"some"[..], &b"same"[..]).unwrap(),
            Some(1)
        );
        assert_eq!(
            first_difference(&b"same"[..], &b"same!"[..]).unwrap(),
            Some(4)
        );
    }

    #[test]
    fn links_are_seen_from_their_own_folder() {
        assert_eq!(beside("a/layer.tar", "../b/layer.tar"), "b/layer.tar");
        assert_eq!(beside("a/layer.tar", "../b.tar"), "b.tar");
        assert_eq!(beside("x", "y"), "y");
    }
}
