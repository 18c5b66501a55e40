//! What is loaded and saved: docker-archives, and the same as an OCI layout with gzip.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::archive::Archive;
use crate::e2e::{Settings, machine, skopeo_copy};

/// An image in the forms in which it is loaded.
pub(super) struct Subject {
    pub(super) name: String,
    /// The name of the image.
    pub(super) image: String,
    pub(super) docker_archive: PathBuf,
    /// None where there is no skopeo to make it.
    pub(super) oci_archive: Option<PathBuf>,
    /// Its layers as tars, bottom first.
    pub(super) layers: Vec<PathBuf>,
    /// Bytes of all layers.
    pub(super) bytes: u64,
}

impl Subject {
    /// One for each archive, or the machine's own files.
    pub(super) fn all(
        archives: &[PathBuf],
        settings: &Settings,
        folder: &Path,
    ) -> Result<Vec<Subject>> {
        let mut archives = archives.to_vec();
        if archives.is_empty() {
            let place = folder.join("machine");
            fs::create_dir(&place)?;
            archives.push(machine(&place)?);
        }
        let subjects = archives.iter().enumerate();
        subjects
            .map(|(number, archive)| {
                let place = folder.join(format!("subject-{number}"));
                Subject::new(archive, settings, &place)
                    .with_context(|| format!("cannot use {}", archive.display()))
            })
            .collect()
    }

    fn new(path: &Path, settings: &Settings, place: &Path) -> Result<Subject> {
        fs::create_dir(place)?;
        let path = path.canonicalize()?;
        let archive = Archive::open(&path)?;
        let image = archive.single()?;
        let name = image.names.first().context("its image has no name")?;
        let mut layers = Vec::new();
        let mut bytes = 0;
        for (number, layer) in image.layers.iter().enumerate() {
            let tar = place.join(format!("layer-{number}.tar"));
            bytes += std::io::copy(&mut archive.layer(layer)?, &mut File::create(&tar)?)?;
            layers.push(tar);
        }
        let oci = place.join("image.oci.tar");
        let source = format!("docker-archive:{}", path.display());
        let target = format!("oci-archive:{}:{name}", oci.display());
        let made = skopeo_copy(settings, &source, &target);
        if let Err(error) = &made {
            eprintln!("warning: no OCI archive is measured: {error:#}");
        }
        let stem = path.file_name().context("no name")?.to_string_lossy();
        Ok(Subject {
            name: stem.split('.').next().unwrap_or(&stem).to_owned(),
            image: name.clone(),
            oci_archive: made.is_ok().then_some(oci),
            docker_archive: path,
            layers,
            bytes,
        })
    }
}
