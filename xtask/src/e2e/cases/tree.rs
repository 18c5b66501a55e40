//! What is mounted is what the image describes.

use anyhow::Result;

use super::Cases;
use crate::archive::Archive;
use crate::e2e::compare::{extract, tree};
use crate::e2e::guards::LithMount;
use crate::e2e::images::Image;
use crate::e2e::lab::Lab;
use crate::lith::Driver;

use super::steps::megabytes;

pub(super) fn add(cases: &mut Cases, driver: Driver) {
    cases.add("mount/tiny-as-podman-mounts-it", move |lab| {
        podman(lab, driver, Image::Tiny)
    });
    cases.add("mount/odd-as-podman-mounts-it", move |lab| {
        podman(lab, driver, Image::Odd)
    });
    cases.add("mount/own-files-as-tar-unpacks-them", move |lab| {
        unpacked(lab, driver)
    });
}

fn podman(lab: &Lab, driver: Driver, image: Image) -> Result<String> {
    let podman = lab.podman()?;
    let lith = lab.standing(driver)?;
    let reference = podman.mount(&image.name())?;
    let folder = lab.scratch()?;
    let target = folder.path().join("tree");
    let mount = LithMount::new(&lith, &image.name(), &target)?;
    let seen = tree::compare(&target, &reference, &tree::podmans_own)?;
    mount.leave()?;
    Ok(format!(
        "{} entries, {} equal",
        seen.entries,
        megabytes(seen.bytes)
    ))
}

fn unpacked(lab: &Lab, driver: Driver) -> Result<String> {
    let made = lab.made()?;
    let reference = lab.references.get("made", || {
        let target = lab.folder("made-unpacked")?;
        extract::extract(&made.layers, &target)?;
        Ok(target)
    })?;
    let folder = lab.scratch()?;
    let lith = lab.lith(driver, folder.path())?;
    lith.load(&made.archive)?;
    let target = folder.path().join("tree");
    let id = Archive::open(&made.archive)?.single()?.id.clone();
    // By a prefix of its ID, for a change.
    let mount = LithMount::new(&lith, id.get(..16).unwrap_or(&id), &target)?;
    let seen = tree::compare(&target, &reference, &tree::nothing)?;
    mount.leave()?;
    Ok(format!(
        "{} entries, {} equal",
        seen.entries,
        megabytes(seen.bytes)
    ))
}
