//! Images to measure with where nobody names any: made from a seed, the same on every machine.
//!
//! Their counts of files and folders, their sizes and how well they compress are those of a
//! Python and of a Node application on a distribution's root file system.

mod content;
mod layer;
mod shape;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use self::content::Pools;
use self::shape::Shape;
use crate::archive::{self, Layout, NewImage, Packing};
use crate::random::Random;

/// Another number for other bytes: what older versions have made is not used then.
const VERSION: u32 = 1;

/// Where all choices come from.
const SEED: u64 = 20_240_506;

/// The docker-archives of all images below `cache`, made unless they are there; `part` is the
/// divisor of all counts of files.
pub(super) fn archives(cache: &Path, part: usize) -> Result<Vec<PathBuf>> {
    let folder = cache.join(format!("corpus-{VERSION}-part-{part}"));
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let shapes = shape::all();
    shapes
        .iter()
        .map(|shape| {
            let archive = folder.join(format!("{}.docker.tar", shape.name));
            if !archive.exists() {
                eprintln!("making {}", archive.display());
                make(shape, part, &archive)
                    .with_context(|| format!("cannot make {}", archive.display()))?;
            }
            Ok(archive)
        })
        .collect()
}

/// Writes an image beside its place and puts it there.
fn make(shape: &Shape, part: usize, archive: &Path) -> Result<()> {
    let above = archive.parent().context("no folder")?;
    let scratch = tempfile::tempdir_in(above)?;
    let layers = layers(shape, part, scratch.path())?;
    let whole = scratch.path().join("image.tar");
    let name = format!("localhost/bench/{}:latest", shape.name);
    let image = NewImage {
        name: &name,
        layers: &layers,
        command: &["/bin/app"],
    };
    archive::write(&whole, &image, Layout::Flat, Packing::Plain)?;
    fs::rename(whole, archive)?;
    Ok(())
}

fn layers(shape: &Shape, part: usize, folder: &Path) -> Result<Vec<PathBuf>> {
    let pools = Pools::new(&mut Random::new(SEED));
    let mut paths = Vec::new();
    let mut below = Vec::new();
    for (number, plan) in shape.layers.iter().enumerate() {
        let path = folder.join(format!("{number}.tar"));
        let mut out = BufWriter::with_capacity(1 << 20, File::create(&path)?);
        // A layer that two images have in common is the same in both.
        let random = Random::new(SEED + 1 + number as u64);
        below = layer::write(plan, part, &pools, random, &below, &mut out)?;
        out.flush()?;
        paths.push(path);
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::{Archive, sha256_file};

    #[test]
    fn the_same_bytes_are_made_again() {
        let [one, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let made = archives(one.path(), 200).unwrap();
        let again = archives(other.path(), 200).unwrap();
        assert_eq!(made.len(), 2);
        for (made, again) in made.iter().zip(&again) {
            assert_eq!(sha256_file(made).unwrap(), sha256_file(again).unwrap());
            let archive = Archive::open(made).unwrap();
            archive.check().unwrap();
        }
    }

    #[test]
    fn images_have_the_promised_shape() {
        let folder = tempfile::tempdir().unwrap();
        let part = 100;
        let [_, node] = &archives(folder.path(), part).unwrap()[..] else {
            panic!("two images")
        };
        let archive = Archive::open(node).unwrap();
        let image = archive.single().unwrap();
        let top = image.layers.last().unwrap();
        let mut tar = tar::Archive::new(archive.layer(top).unwrap());
        let entries: Vec<(tar::EntryType, u64, PathBuf)> = tar
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let path = entry.path().unwrap().into_owned();
                (entry.header().entry_type(), entry.size(), path)
            })
            .collect();
        let files = entries.iter().filter(|(kind, _, _)| kind.is_file());
        assert_eq!(files.clone().count(), 81_000 / part);
        let small = files.filter(|(_, size, _)| *size <= 4096).count();
        assert!(small >= 74_000 / part, "{small}");
        let together = |path: &Path| path.parent().is_some_and(|above| above.ends_with("many"));
        let together = entries.iter().filter(|(_, _, path)| together(path));
        assert_eq!(together.count(), 43_000 / part);
        // Every folder stands before what is in it, as writers of layers do it.
        let mut seen = std::collections::HashSet::new();
        for (_, _, path) in &entries {
            let above = path.parent().unwrap();
            assert!(above == Path::new("") || seen.contains(above), "{path:?}");
            seen.insert(path.clone());
        }
        assert_eq!(seen.len(), entries.len());
    }
}
