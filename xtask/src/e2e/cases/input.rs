//! The same image in other wrappings: standard input, compressed whole, compressed layers.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::{Cases, steps};
use crate::archive::{self, Archive, Layout, NewImage, Packing};
use crate::e2e::lab::Lab;
use crate::lith::{Driver, Lith};
use crate::process;

pub(super) fn add(cases: &mut Cases, driver: Driver) {
    cases.add("input/stdin-file", move |lab| {
        check(lab, driver, stdin_file)
    });
    cases.add("input/stdin-pipe", move |lab| {
        check(lab, driver, stdin_pipe)
    });
    cases.add("input/gzip", move |lab| check(lab, driver, gzip));
    cases.add("input/zstd", move |lab| check(lab, driver, zstd));
    cases.add("input/gzip-pipe", move |lab| check(lab, driver, gzip_pipe));
    cases.add("input/layers-gzip", move |lab| {
        layers(lab, driver, Packing::Gzip)
    });
    cases.add("input/layers-zstd", move |lab| {
        layers(lab, driver, Packing::Zstd)
    });
}

/// Lets `load` bring the image in from `archive`, then saves and compares.
fn check(lab: &Lab, driver: Driver, load: fn(&Lith, &Path, &Path) -> Result<()>) -> Result<String> {
    let folder = lab.scratch()?;
    let lith = lab.lith(driver, folder.path())?;
    let archive = &lab.made()?.archive;
    load(&lith, archive, folder.path())?;
    let before = Archive::open(archive)?;
    steps::expect_listed(&lith, &before)?;
    steps::save_and_compare(&lith, &before, folder.path())?;
    Ok("saved bytes are those of the plain archive".to_owned())
}

fn stdin_file(lith: &Lith, archive: &Path, _: &Path) -> Result<()> {
    lith.load_stdin(File::open(archive)?.into())?.ok().map(drop)
}

fn stdin_pipe(lith: &Lith, archive: &Path, _: &Path) -> Result<()> {
    piped(lith, Command::new("cat").arg(archive))
}

fn piped(lith: &Lith, writer: &mut Command) -> Result<()> {
    let line = process::line(writer);
    let mut writer = writer.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let pipe = writer.stdout.take().context("no pipe")?;
    let loaded = lith.load_stdin(pipe.into());
    let status = writer.wait()?;
    let output = loaded?.ok()?;
    ensure!(status.success(), "`{line}` ended with {status}");
    ensure!(
        output.text().contains("Loaded image"),
        "load printed {:?}",
        output.text()
    );
    Ok(())
}

fn compressed(program: &str, archive: &Path, folder: &Path) -> Result<PathBuf> {
    // A name that says nothing: content decides.
    let packed = folder.join("packed");
    let mut command = Command::new(program);
    command.args(["-1", "-c"]).arg(archive);
    let line = process::line(&command);
    let out = File::create(&packed)?;
    let child = command
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(Stdio::piped())
        .spawn();
    process::collect(
        child.with_context(|| format!("cannot start `{line}`"))?,
        line,
    )?
    .ok()?;
    Ok(packed)
}

fn gzip(lith: &Lith, archive: &Path, folder: &Path) -> Result<()> {
    lith.load(&compressed("gzip", archive, folder)?).map(drop)
}

fn zstd(lith: &Lith, archive: &Path, folder: &Path) -> Result<()> {
    if process::find("zstd").is_none() {
        return crate::e2e::report::skip("zstd is not installed");
    }
    lith.load(&compressed("zstd", archive, folder)?).map(drop)
}

fn gzip_pipe(lith: &Lith, archive: &Path, _: &Path) -> Result<()> {
    piped(lith, Command::new("gzip").args(["-1", "-c"]).arg(archive))
}

fn layers(lab: &Lab, driver: Driver, packing: Packing) -> Result<String> {
    let made = lab.made()?;
    let folder = lab.scratch()?;
    // The compressed copies are made beside the layers: give them a place of their own.
    let mut layers = Vec::new();
    for layer in &made.layers {
        let name = layer.file_name().context("a layer without a name")?;
        let link = folder.path().join(name);
        std::os::unix::fs::symlink(layer, &link)?;
        layers.push(link);
    }
    let archive = folder.path().join("image.tar");
    let image = NewImage {
        name: made.name,
        layers: &layers,
        command: &["/bin/sh"],
    };
    archive::write(&archive, &image, Layout::Flat, packing)?;
    let lith = lab.lith(driver, folder.path())?;
    lith.load(&archive)?;
    let before = Archive::open(&made.archive)?;
    steps::save_and_compare(&lith, &before, folder.path())?;
    Ok("layers come out uncompressed, as their diff IDs say".to_owned())
}
