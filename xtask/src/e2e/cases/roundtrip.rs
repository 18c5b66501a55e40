//! What goes in comes out, whoever wrote it.

use std::fs::File;
use std::process::Stdio;

use anyhow::{Result, ensure};

use super::{Cases, steps};
use crate::archive::{self, Layout, NewImage, Packing};
use crate::e2e::images::{Image, Writer};
use crate::e2e::lab::Lab;
use crate::lith::Driver;
use crate::process;

pub(super) fn add(cases: &mut Cases, driver: Driver) {
    for image in [Image::Tiny, Image::Odd] {
        for writer in [Writer::Skopeo, Writer::Podman, Writer::Docker] {
            let name = format!("round-trip/{image:?}-by-{writer:?}").to_lowercase();
            cases.add(&name, move |lab| written(lab, driver, image, writer));
        }
    }
    cases.add("round-trip/several-by-podman", move |lab| {
        several(lab, driver)
    });
    cases.add("round-trip/own-files", move |lab| own_files(lab, driver));
    cases.add("round-trip/to-stdout", move |lab| to_stdout(lab, driver));
    cases.add("round-trip/oci-layout-inside", move |lab| {
        oci_inside(lab, driver)
    });
}

fn written(lab: &Lab, driver: Driver, image: Image, writer: Writer) -> Result<String> {
    let archive = lab.archive(image, writer)?;
    let folder = lab.scratch()?;
    steps::round_trip(&lab.lith(driver, folder.path())?, &archive, folder.path())
}

fn several(lab: &Lab, driver: Driver) -> Result<String> {
    let folder = lab.scratch()?;
    let archive = folder.path().join("several.tar");
    lab.several(&archive)?;
    steps::round_trip(&lab.lith(driver, folder.path())?, &archive, folder.path())
}

/// Sparse files, a path twice and bytes behind the end among them.
fn own_files(lab: &Lab, driver: Driver) -> Result<String> {
    let folder = lab.scratch()?;
    steps::round_trip(
        &lab.lith(driver, folder.path())?,
        &lab.made()?.archive,
        folder.path(),
    )
}

/// `save` without `-o` writes the same bytes to standard output.
fn to_stdout(lab: &Lab, driver: Driver) -> Result<String> {
    let made = lab.made()?;
    let folder = lab.scratch()?;
    let lith = lab.lith(driver, folder.path())?;
    lith.load(&made.archive)?;
    let [file, stdout] = ["file.tar", "stdout.tar"].map(|name| folder.path().join(name));
    lith.save(&file, &[made.name.to_owned()])?;
    let mut command = lith.command();
    command
        .args(["save", made.name])
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    let child = command.stdout(File::create(&stdout)?).spawn()?;
    process::collect(child, "lith save (standard output)".to_owned())?.ok()?;
    let difference = archive::first_difference(File::open(&file)?, File::open(&stdout)?)?;
    ensure!(difference.is_none(), "they differ at byte {difference:?}");
    Ok("the same bytes as with -o".to_owned())
}

/// The shape that docker 25 and later write.
fn oci_inside(lab: &Lab, driver: Driver) -> Result<String> {
    let made = lab.made()?;
    let folder = lab.scratch()?;
    let archive = folder.path().join("blobs.tar");
    let image = NewImage {
        name: made.name,
        layers: &made.layers,
        command: &["/bin/sh"],
    };
    archive::write(&archive, &image, Layout::Blobs, Packing::Plain)?;
    steps::round_trip(&lab.lith(driver, folder.path())?, &archive, folder.path())
}
