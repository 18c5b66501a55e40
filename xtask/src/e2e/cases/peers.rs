//! Every other tool reads what lith writes, and lith reads what they make of it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::{Cases, steps};
use crate::archive::Archive;
use crate::e2e::compare::tree;
use crate::e2e::guards::LithMount;
use crate::e2e::images::Image;
use crate::e2e::lab::Lab;
use crate::e2e::peers::{self, Podman};
use crate::lith::Driver;

pub(super) fn add(cases: &mut Cases, driver: Driver) {
    cases.add("peers/podman-loads-and-saves", move |lab| {
        podman(lab, driver, lab.settings.storage)
    });
    cases.add("peers/podman-vfs-loads-and-saves", move |lab| {
        podman(lab, driver, "vfs")
    });
    cases.add("peers/skopeo-inspects-and-copies", move |lab| {
        skopeo(lab, driver)
    });
    cases.add("peers/docker-loads-and-saves", move |lab| {
        docker(lab, driver)
    });
    cases.add("peers/umoci-unpacks-the-same-tree", move |lab| {
        umoci(lab, driver)
    });
}

/// What lith writes of the odd image.
struct Saved {
    folder: TempDir,
    path: PathBuf,
    archive: Archive,
    names: Vec<String>,
}

fn saved(lab: &Lab, driver: Driver) -> Result<Saved> {
    let lith = lab.standing(driver)?;
    let folder = lab.scratch()?;
    let path = folder.path().join("by-lith.tar");
    let names = vec![Image::Odd.name()];
    lith.save(&path, &names)?;
    let archive = Archive::open(&path)?;
    Ok(Saved {
        folder,
        path,
        archive,
        names,
    })
}

impl Saved {
    fn told(&self, told: &(String, Vec<String>)) -> Result<()> {
        let image = self.archive.single()?;
        ensure!(
            told.0 == image.id,
            "its image ID is {}, expected {}",
            told.0,
            image.id
        );
        ensure!(told.1 == image.diff_ids, "its diff IDs are {:?}", told.1);
        Ok(())
    }

    /// Loads what a peer has written into a new store of lith's; the images are the same.
    fn back(&self, lab: &Lab, driver: Driver, archive: &Path) -> Result<String> {
        steps::same(&self.archive, &Archive::open(archive)?).context("what the peer wrote")?;
        let lith = lab.lith(driver, self.folder.path())?;
        steps::round_trip(&lith, archive, self.folder.path())
    }
}

fn podman(lab: &Lab, driver: Driver, storage: &'static str) -> Result<String> {
    let saved = saved(lab, driver)?;
    let podman = Podman::with_storage(&lab.settings, &saved.folder.path().join("p"), storage)?;
    podman.load(&saved.path)?;
    saved.told(&podman.inspect(&Image::Odd.name())?)?;
    let back = saved.folder.path().join("by-podman.tar");
    podman.save(&back, &saved.names)?;
    let seen = saved.back(lab, driver, &back)?;
    Ok(format!("podman ({storage}) and back: {seen}"))
}

fn skopeo(lab: &Lab, driver: Driver) -> Result<String> {
    let saved = saved(lab, driver)?;
    let source = format!("docker-archive:{}", saved.path.display());
    let layers = peers::skopeo_inspect(&lab.settings, &source)?;
    ensure!(
        layers == saved.archive.single()?.diff_ids,
        "skopeo sees the layers {layers:?}"
    );
    let back = saved.folder.path().join("by-skopeo.tar");
    let target = format!("docker-archive:{}:{}", back.display(), Image::Odd.name());
    peers::skopeo_copy(&lab.settings, &source, &target)?;
    let seen = saved.back(lab, driver, &back)?;
    Ok(format!("skopeo and back: {seen}"))
}

fn docker(lab: &Lab, driver: Driver) -> Result<String> {
    let docker = lab.docker()?;
    let saved = saved(lab, driver)?;
    docker.load(&saved.path)?;
    saved.told(&docker.inspect(&Image::Odd.name())?)?;
    let back = saved.folder.path().join("by-docker.tar");
    docker.save(&back, &saved.names)?;
    docker.forget_all()?;
    let seen = saved.back(lab, driver, &back)?;
    Ok(format!("docker and back: {seen}"))
}

/// The tree that umoci unpacks from what lith wrote is the tree that lith mounts.
fn umoci(lab: &Lab, driver: Driver) -> Result<String> {
    lab.settings.command("umoci")?;
    let saved = saved(lab, driver)?;
    let layout = saved.folder.path().join("oci");
    let source = format!("docker-archive:{}", saved.path.display());
    peers::skopeo_copy(
        &lab.settings,
        &source,
        &format!("oci:{}:latest", layout.display()),
    )?;
    let bundle = saved.folder.path().join("bundle");
    peers::umoci_unpack(&lab.settings, &layout, "latest", &bundle)?;
    let lith = lab.standing(driver)?;
    let target = saved.folder.path().join("tree");
    let mount = LithMount::new(&lith, &Image::Odd.name(), &target)?;
    let seen = tree::compare(&target, &bundle.join("rootfs"), &tree::umocis_own)?;
    mount.leave()?;
    Ok(format!(
        "{} entries, {} equal",
        seen.entries,
        steps::megabytes(seen.bytes)
    ))
}
