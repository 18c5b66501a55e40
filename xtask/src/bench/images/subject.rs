//! An image in all the forms in which it is loaded.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::tools::Work;
use crate::archive::{self, Archive, Layer, Layout, NewImage, Packing};
use crate::process;

/// Images that are loaded at once.
const FOUR: usize = 4;

pub(super) struct Subject {
    pub(super) name: String,
    /// The name of the image.
    pub(super) image: String,
    pub(super) docker_archive: PathBuf,
    /// The same layers with gzip; none where no work needs it.
    pub(super) gzip: Option<Gzip>,
    /// Images of this one's size that share nothing; empty where no work needs them.
    pub(super) four: Vec<PathBuf>,
    /// Its layers as tars, bottom first.
    pub(super) layers: Vec<PathBuf>,
    /// Bytes of all layers.
    pub(super) bytes: u64,
}

/// An OCI layout, as a tar and as a folder.
pub(super) struct Gzip {
    pub(super) archive: PathBuf,
    pub(super) layout: PathBuf,
}

impl Subject {
    /// Makes in `place` what `works` need.
    pub(super) fn new(path: &Path, place: &Path, works: &[Work]) -> Result<Subject> {
        fs::create_dir(place)?;
        let path = path.canonicalize()?;
        let archive = Archive::open(&path)?;
        let image = archive.single()?;
        let name = image.names.first().context("its image has no name")?;
        let mut layers = Vec::new();
        let mut bytes = 0;
        for (number, layer) in image.layers.iter().enumerate() {
            let tar = place.join(format!("layer-{number}.tar"));
            bytes += io::copy(&mut archive.layer(layer)?, &mut File::create(&tar)?)?;
            layers.push(tar);
        }
        let stem = path.file_name().context("no name")?.to_string_lossy();
        let mut subject = Subject {
            name: stem.split('.').next().unwrap_or(&stem).to_owned(),
            image: name.clone(),
            gzip: None,
            four: Vec::new(),
            docker_archive: path,
            layers,
            bytes,
        };
        if works.iter().any(|work| work.gzip()) {
            subject.gzip = Some(subject.compressed(place)?);
        }
        if works.iter().any(|work| work.four()) {
            subject.four = (0..FOUR)
                .map(|number| subject.other(number, place))
                .collect::<Result<_>>()?;
        }
        Ok(subject)
    }

    /// Reads everything once, so that no tool finds it colder than another.
    pub(super) fn warm(&self) -> Result<()> {
        let gzip = self.gzip.iter().map(|gzip| &gzip.archive);
        let files = self.layers.iter().chain(&self.four).chain(gzip);
        for path in files.chain([&self.docker_archive]) {
            io::copy(&mut File::open(path)?, &mut io::sink())?;
        }
        Ok(())
    }

    fn compressed(&self, place: &Path) -> Result<Gzip> {
        let gzip = Gzip {
            archive: place.join("image.oci.tar"),
            layout: place.join("oci"),
        };
        let image = NewImage {
            name: &self.image,
            layers: &self.layers,
            command: &["/bin/sh"],
        };
        archive::write(&gzip.archive, &image, Layout::Blobs, Packing::Gzip)?;
        fs::create_dir(&gzip.layout)?;
        let mut unpack = Command::new("tar");
        unpack.arg("-xf").arg(&gzip.archive);
        process::run(unpack.arg("-C").arg(&gzip.layout))?.ok()?;
        for layer in &self.layers {
            // The writer's own copy of what is in the archive now.
            fs::remove_file(layer.with_extension("tar.gz"))?;
        }
        Ok(gzip)
    }

    /// The same image but for one more file at the beginning of each layer: no layer is the same.
    fn other(&self, number: usize, place: &Path) -> Result<PathBuf> {
        let scratch = tempfile::tempdir_in(place)?;
        let mark = Layer::new(&[("which", format!("image {number} of {FOUR}\n"))])?;
        let mark = mark.without_end();
        let mut layers = Vec::new();
        for (at, layer) in self.layers.iter().enumerate() {
            let path = scratch.path().join(format!("{at}.tar"));
            let mut whole = mark.chain(File::open(layer)?);
            io::copy(&mut whole, &mut File::create(&path)?)?;
            layers.push(path);
        }
        let out = place.join(format!("four-{number}.docker.tar"));
        let image = NewImage {
            name: &format!("localhost/bench/four-{number}:latest"),
            layers: &layers,
            command: &["/bin/sh"],
        };
        archive::write(&out, &image, Layout::Flat, Packing::Plain)?;
        Ok(out)
    }
}
