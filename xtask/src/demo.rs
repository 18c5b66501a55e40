//! The shortest path through lith: an image in, a look at it, the same bytes out.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::archive::{self, Archive, Layout, NewImage, Packing};
use crate::lith::Lith;
use crate::workspace;

const NAME: &str = "demo/greeting:1";

/// Runs the demonstration and says what it does in plain words.
pub(crate) fn run() -> Result<()> {
    println!("Building lith.");
    let program = workspace::build_lith()?;
    let target = workspace::target()?;
    fs::create_dir_all(&target)?;
    let work = tempfile::Builder::new()
        .prefix("demo-")
        .tempdir_in(&target)?;
    let result = show(&program, work.path());
    // Closed by name: a folder that cannot be removed has to be heard of.
    work.close()
        .context("cannot remove the demonstration's folder")?;
    result
}

fn show(program: &Path, work: &Path) -> Result<()> {
    let image = work.join("greeting.tar");
    let layers = layers(work)?;
    let new = NewImage {
        name: NAME,
        layers: &layers,
        command: &["/bin/greet"],
    };
    archive::write(&image, &new, Layout::Flat, Packing::Plain)?;
    println!(
        "Made an image of {} layers by hand: greeting.tar, {}.",
        layers.len(),
        size(&image)?
    );
    println!("  1 adds files, 2 replaces one and adds a link, 3 deletes one (a whiteout).");

    let lith = Lith {
        program: program.to_owned(),
        root: work.join("store"),
        driver: None,
    };
    let loaded = lith.load(&image)?;
    println!(
        "lith load: {} image, every layer checked against its digest.",
        loaded.len()
    );
    println!("lith images:");
    for line in lith.ok(&["images"])?.text().lines() {
        println!("  {line}");
    }
    mounted(&lith, &work.join("tree"))?;

    let (out, again) = (work.join("out.tar"), work.join("again.tar"));
    lith.save(&out, &[NAME.to_owned()])?;
    lith.save(&again, &[NAME.to_owned()])?;
    let (before, after) = (Archive::open(&image)?, Archive::open(&out)?);
    let difference = archive::compare(&before, &after, true)?;
    ensure!(
        difference.is_none(),
        "the saved image differs: {}",
        Shown(difference)
    );
    println!(
        "lith save: config, name and {} layers are byte for byte those that went in.",
        layers.len()
    );
    ensure!(
        fs::read(&out)? == fs::read(&again)?,
        "saving twice gave two different files"
    );
    println!("Saved once more: the two files are identical.");
    println!("Done. Nothing is left behind.");
    Ok(())
}

/// Shows the image as a folder. Kernel mounts need root; without it this step is left out.
fn mounted(lith: &Lith, tree: &Path) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        println!("lith mount: left out, this user is not root.");
        return Ok(());
    }
    let target = tree.to_string_lossy();
    lith.ok(&["mount", NAME, &target])?;
    let looked = look(tree);
    lith.ok(&["umount", &target])?;
    looked
}

fn look(tree: &Path) -> Result<()> {
    let greeting = fs::read_to_string(tree.join("etc/greeting"))?;
    ensure!(
        greeting == "hello from layer two\n",
        "etc/greeting holds {greeting:?}"
    );
    ensure!(
        !tree.join("etc/obsolete").exists(),
        "etc/obsolete should be deleted"
    );
    println!(
        "lith mount: etc/greeting says {:?}, etc/obsolete is gone.",
        greeting.trim()
    );
    Ok(())
}

fn size(path: &Path) -> Result<String> {
    Ok(format!("{} KiB", path.metadata()?.len().div_ceil(1024)))
}

struct Shown(Option<archive::Difference>);

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0
            .as_ref()
            .map_or(Ok(()), |difference| write!(f, "{difference}"))
    }
}

/// Three small layers; the last one takes a file away.
fn layers(work: &Path) -> Result<Vec<PathBuf>> {
    let noise: Vec<u8> = (0..200_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let first = layer(&work.join("layer1"), |tar| {
        directory(tar, "bin/")?;
        file(tar, "bin/greet", 0o755, b"#!/bin/sh\ncat /etc/greeting\n")?;
        directory(tar, "etc/")?;
        file(tar, "etc/greeting", 0o644, b"hello from layer one\n")?;
        file(tar, "etc/obsolete", 0o644, b"nobody needs this\n")?;
        directory(tar, "usr/")?;
        file(tar, "usr/noise", 0o644, &noise)
    })?;
    let second = layer(&work.join("layer2"), |tar| {
        file(tar, "etc/greeting", 0o600, b"hello from layer two\n")?;
        let mut header = header(0, 0o777, tar::EntryType::Symlink);
        Ok(tar.append_link(&mut header, "etc/motd", "greeting")?)
    })?;
    let third = layer(&work.join("layer3"), |tar| {
        file(tar, "etc/.wh.obsolete", 0o600, b"")
    })?;
    Ok(vec![first, second, third])
}

type Tar = tar::Builder<File>;

fn layer(path: &Path, fill: impl FnOnce(&mut Tar) -> Result<()>) -> Result<PathBuf> {
    let mut tar = Tar::new(File::create(path)?);
    fill(&mut tar)?;
    tar.finish()?;
    Ok(path.to_owned())
}

fn header(size: usize, mode: u32, kind: tar::EntryType) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size as u64);
    header.set_mtime(1_700_000_000);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn directory(tar: &mut Tar, name: &str) -> Result<()> {
    let mut header = header(0, 0o755, tar::EntryType::Directory);
    Ok(tar.append_data(&mut header, name, &b""[..])?)
}

fn file(tar: &mut Tar, name: &str, mode: u32, content: &[u8]) -> Result<()> {
    let mut header = header(content.len(), mode, tar::EntryType::Regular);
    Ok(tar.append_data(&mut header, name, content)?)
}
