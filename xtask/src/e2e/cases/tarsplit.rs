//! `lith tar-split` against podman's records and the reference command.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::Cases;
use crate::archive::{self, Archive};
use crate::e2e::compare::record::{self, Record};
use crate::e2e::images::{Image, Writer};
use crate::e2e::lab::Lab;
use crate::lith::Lith;

pub(super) fn add(cases: &mut Cases) {
    cases.add("asm-from-podmans-store", asm_podman);
    cases.add("disasm-as-podman-stored", disasm_podman);
    cases.add("record-as-the-reference-writes", reference_text);
    cases.add("reference-reads-our-record", reference_reads);
    cases.add("we-read-the-references-record", reference_read);
    cases.add("beyond-the-reference", beyond);
}

/// The program; it needs no store for this.
fn lith(lab: &Lab) -> Result<Lith> {
    let mut lith = lab.lith(crate::lith::Driver::Vfs, &lab.folder("no-store")?)?;
    lith.driver = None;
    Ok(lith)
}

fn disasm(lith: &Lith, tar: &Path, out: &Path) -> Result<()> {
    let mut command = std::process::Command::new(&lith.program);
    command
        .args(["tar-split", "disasm", "--no-stdout", "--output"])
        .arg(out)
        .arg(tar);
    crate::process::run(&mut command)?.ok().map(drop)
}

fn asm(lith: &Lith, record: &Path, files: &Path, out: &Path) -> Result<()> {
    let mut command = std::process::Command::new(&lith.program);
    command
        .args(["tar-split", "asm", "--input"])
        .arg(record)
        .arg("--path")
        .arg(files);
    crate::process::run(command.arg("--output").arg(out))?
        .ok()
        .map(drop)
}

/// The layers of the odd image as plain tar files, with their diff IDs.
fn layers(lab: &Lab, folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let archive = Archive::open(&lab.archive(Image::Odd, Writer::Skopeo)?)?;
    let image = archive.single()?;
    let mut layers = Vec::new();
    for (index, (place, diff_id)) in image.layers.iter().zip(&image.diff_ids).enumerate() {
        let path = folder.join(format!("layer-{index}.tar"));
        io::copy(&mut archive.layer(place)?, &mut File::create(&path)?)?;
        layers.push((diff_id.clone(), path));
    }
    Ok(layers)
}

fn asm_podman(lab: &Lab) -> Result<String> {
    let (lith, folder) = (lith(lab)?, lab.scratch()?);
    let mut count = 0;
    for layer in lab.podman()?.layers()? {
        let out = folder.path().join("out.tar");
        asm(&lith, &layer.record, &layer.files, &out)?;
        let found = format!("sha256:{}", archive::sha256_file(&out)?);
        ensure!(
            found == layer.diff_id,
            "rebuilt {found}, expected {}",
            layer.diff_id
        );
        count += 1;
    }
    Ok(format!(
        "{count} layers rebuilt from podman's records and folders"
    ))
}

fn disasm_podman(lab: &Lab) -> Result<String> {
    let (lith, folder) = (lith(lab)?, lab.scratch()?);
    let stored = lab.podman()?.layers()?;
    let (mut entries, mut raw) = (0, 0);
    for (diff_id, tar) in layers(lab, folder.path())? {
        let theirs = stored.iter().find(|layer| layer.diff_id == diff_id);
        let theirs = theirs.with_context(|| format!("podman has no layer {diff_id}"))?;
        let out = folder.path().join("out.json.gz");
        disasm(&lith, &tar, &out)?;
        let (ours, theirs) = (Record::open(&out)?, Record::open(&theirs.record)?);
        if let Some(difference) = record::difference(&ours, &theirs) {
            bail!("layer {diff_id}: {difference}");
        }
        entries += ours.files.len();
        raw += ours.raw_bytes();
    }
    Ok(format!("{entries} entries, {raw} raw bytes equal"))
}

fn reference_text(lab: &Lab) -> Result<String> {
    let (lith, folder) = (lith(lab)?, lab.scratch()?);
    let reference = lab.reference()?;
    let mut lines = 0;
    for tar in reference_layers(lab)? {
        let [ours, theirs] = ["ours.gz", "theirs.gz"].map(|name| folder.path().join(name));
        disasm(&lith, &tar, &ours)?;
        reference.disasm(&tar, &theirs)?;
        let (ours, theirs) = (record::text(&ours)?, record::text(&theirs)?);
        if let Some(line) = ours.lines().zip(theirs.lines()).position(|(a, b)| a != b) {
            bail!("{}: line {} differs", tar.display(), line + 1);
        }
        ensure!(ours == theirs, "{}: one record is longer", tar.display());
        lines += ours.lines().count();
    }
    Ok(format!("{lines} lines equal"))
}

fn reference_reads(lab: &Lab) -> Result<String> {
    let (lith, folder) = (lith(lab)?, lab.scratch()?);
    let reference = lab.reference()?;
    let layers = reference_layers(lab)?;
    for tar in &layers {
        let [record, out] = ["record.gz", "out.tar"].map(|name| folder.path().join(name));
        disasm(&lith, tar, &record)?;
        reference.asm(&record, &unpacked(tar, folder.path())?, &out)?;
        same(tar, &out)?;
    }
    Ok(format!("{} tars rebuilt by the reference", layers.len()))
}

fn reference_read(lab: &Lab) -> Result<String> {
    let (lith, folder) = (lith(lab)?, lab.scratch()?);
    let reference = lab.reference()?;
    let layers = reference_layers(lab)?;
    for tar in &layers {
        let [record, out] = ["record.gz", "out.tar"].map(|name| folder.path().join(name));
        reference.disasm(tar, &record)?;
        asm(&lith, &record, &unpacked(tar, folder.path())?, &out)?;
        same(tar, &out)?;
    }
    Ok(format!("{} tars rebuilt by lith", layers.len()))
}

/// A tar that the reference refuses or garbles: sparse files, a path twice, junk.
fn beyond(lab: &Lab) -> Result<String> {
    let (lith, folder) = (lith(lab)?, lab.scratch()?);
    let tar = lab.made()?.layers.last().context("no layers")?.clone();
    let [record, out] = ["record.gz", "out.tar"].map(|name| folder.path().join(name));
    disasm(&lith, &tar, &record)?;
    asm(&lith, &record, &unpacked(&tar, folder.path())?, &out)?;
    same(&tar, &out)?;
    Ok("sparse files, a path twice and bytes behind the end come back".to_owned())
}

/// Layers that the reference restores exactly: the made ones but the last.
fn reference_layers(lab: &Lab) -> Result<Vec<PathBuf>> {
    let layers = &lab.made()?.layers;
    Ok(layers
        .split_last()
        .map_or_else(Vec::new, |(_, others)| others.to_vec()))
}

fn same(one: &Path, other: &Path) -> Result<()> {
    let difference = archive::first_difference(File::open(one)?, File::open(other)?)?;
    ensure!(
        difference.is_none(),
        "{}: rebuilt, it differs at byte {difference:?}",
        one.display()
    );
    Ok(())
}

/// The files of one tar, unpacked by GNU tar, whiteouts as the plain files they are.
fn unpacked(tar: &Path, folder: &Path) -> Result<PathBuf> {
    let name = tar.file_stem().context("a tar without a name")?;
    let target = folder.join("unpacked").join(name);
    std::fs::create_dir_all(&target)?;
    let mut command = std::process::Command::new("tar");
    command
        .args(["--extract", "--preserve-permissions", "--file"])
        .arg(tar);
    crate::process::run(command.arg("--directory").arg(&target))?.ok()?;
    Ok(target)
}
