//! Every format in and out, against the tools that own the formats. README shows the tables.

mod platforms;
mod reads;
mod table;
mod writes;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Cases, steps};
use crate::archive::{Told, normalise};
use crate::e2e::images::family::{self, Family};
use crate::e2e::lab::Lab;
use crate::lith::{Driver, Lith};
use anyhow::{Context, Result, ensure};

pub(super) fn add(cases: &mut Cases) {
    cases.add("what-lith-writes", writes::table);
    cases.add("what-lith-reads", reads::table);
    cases.add("platforms", platforms::run);
}

/// Two images that share layers, and what they are.
struct Subject {
    folder: PathBuf,
    family: Family,
    images: Vec<Told>,
}

impl Subject {
    /// Makes them in a folder with this name: podman makes names of paths, and takes no random
    /// ones with capitals in them.
    fn new(lab: &Lab, name: &str) -> Result<Subject> {
        let folder = lab.folder(name)?;
        let family = family::make(&folder, 2, 40)?;
        let images = Told::of_archive(&family.together)?;
        Ok(Subject {
            folder,
            family,
            images,
        })
    }

    /// A path in this subject's folder where nothing is yet.
    fn place(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn image(&self, name: &str) -> Result<&Told> {
        let name = normalise(name);
        let found = self.images.iter().find(|told| told.names.contains(&name));
        found.with_context(|| format!("nobody made {name}"))
    }
}

/// lith with an empty store in `folder`, with the driver that it takes on this file system.
fn lith(lab: &Lab, folder: &Path) -> Result<Lith> {
    let overlay = lab.settings.storage == "overlay";
    lab.lith(
        if overlay {
            Driver::Overlay
        } else {
            Driver::Vfs
        },
        folder,
    )
}

/// Loads `source` into an empty store and tells what came of it: IDs and names as the report says
/// them, diff IDs from what is saved of it, each layer checked.
fn loaded(lab: &Lab, folder: &Path, source: &str, host: Option<&str>) -> Result<Vec<Told>> {
    std::fs::create_dir(folder)?;
    let lith = lith(lab, folder)?;
    let variables: Vec<_> = host.iter().map(|host| ("DOCKER_HOST", *host)).collect();
    let report = lith.load_from(source.as_ref(), &variables)?;
    let mut names = BTreeMap::new();
    for image in &report {
        let id = image["id"].as_str().context("an image without id")?;
        let id = id.trim_start_matches("sha256:").to_owned();
        names.insert(id, steps::names(image)?);
    }
    let out = folder.join("saved.tar");
    let ids: Vec<String> = names.keys().cloned().collect();
    lith.save(&out, &ids)?;
    lith.nothing_staged()?;
    let mut images = Told::of_archive(&out)?;
    ensure!(
        images.len() == names.len(),
        "{} images were loaded, {} saved",
        names.len(),
        images.len()
    );
    for image in &mut images {
        image.names = names.remove(&image.id).context("another ID was saved")?;
    }
    Ok(images)
}

fn expect(found: &[Told], expected: &[Told]) -> Result<()> {
    ensure!(found == expected, "found {found:?}, expected {expected:?}");
    Ok(())
}
