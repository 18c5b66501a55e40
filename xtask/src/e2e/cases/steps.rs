//! Steps that several cases are made of.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::archive::{self, Archive};
use crate::lith::Lith;
use crate::process::Output;

/// Loads `archive`, checks what the report and the listing say, saves it twice, compares.
pub(crate) fn round_trip(lith: &Lith, archive: &Path, work: &Path) -> Result<String> {
    let before = Archive::open(archive)?;
    let report = lith.load(archive)?;
    expect_report(&before, &report)?;
    expect_listed(lith, &before)?;
    lith.nothing_staged()?;

    let again = lith.load(archive)?;
    let new: u64 = again
        .iter()
        .filter_map(|image| image["layers_new"].as_u64())
        .sum();
    ensure!(
        new == 0,
        "a second load made {new} layers though all are there"
    );

    save_twice(lith, &before, work)?;
    let layers: usize = before.images.iter().map(|image| image.layers.len()).sum();
    let bytes: u64 = before
        .images
        .iter()
        .flat_map(|i| &i.layers)
        .map(|layer| layer.size)
        .sum();
    Ok(format!(
        "{} images, {layers} layers, {}",
        before.images.len(),
        megabytes(bytes)
    ))
}

/// Saves all images of `before` twice: identical files, and the same images as went in.
pub(crate) fn save_twice(lith: &Lith, before: &Archive, work: &Path) -> Result<()> {
    let [one, two] = ["saved.tar", "again.tar"].map(|name| work.join(name));
    let names = before.names();
    lith.save(&one, &names)?;
    lith.save(&two, &names)?;
    let difference = archive::first_difference(File::open(&one)?, File::open(&two)?)?;
    ensure!(
        difference.is_none(),
        "saving twice: the files differ at byte {difference:?}"
    );
    let after = Archive::open(&one)?;
    after.check()?;
    same(before, &after)?;
    lith.nothing_staged()
}

/// Saves all images of `before`: the same images as went in.
pub(crate) fn save_and_compare(lith: &Lith, before: &Archive, work: &Path) -> Result<()> {
    let out = work.join("saved.tar");
    lith.save(&out, &before.names())?;
    same(before, &Archive::open(&out)?)
}

/// An error unless both archives hold the same images under the same names.
pub(crate) fn same(before: &Archive, after: &Archive) -> Result<()> {
    match archive::compare(before, after, true)? {
        None => Ok(()),
        Some(difference) => bail!("{difference}"),
    }
}

/// `load --json` has to tell the images' IDs, names and layers.
fn expect_report(archive: &Archive, report: &[Value]) -> Result<()> {
    ensure!(
        report.len() == archive.images.len(),
        "load reports {} images, the archive holds {}",
        report.len(),
        archive.images.len()
    );
    for image in &archive.images {
        let id = format!("sha256:{}", image.id);
        let entry = report.iter().find(|entry| entry["id"] == id.as_str());
        let entry = entry.with_context(|| format!("load reports no image {id}"))?;
        expect_names(entry, &image.names)?;
        let count = |key: &str| {
            entry[key]
                .as_u64()
                .with_context(|| format!("load reports no {key}: {entry}"))
        };
        let layers = count("layers_new")? + count("layers_reused")?;
        ensure!(
            layers == image.layers.len() as u64,
            "load reports {layers} layers of {id}, expected {}",
            image.layers.len()
        );
    }
    Ok(())
}

/// `images --json` has to list the archive's images.
pub(crate) fn expect_listed(lith: &Lith, archive: &Archive) -> Result<()> {
    let listed = lith.images()?;
    for image in &archive.images {
        let id = format!("sha256:{}", image.id);
        let entry = listed.iter().find(|entry| entry["id"] == id.as_str());
        let entry = entry.with_context(|| format!("`images` does not list {id}"))?;
        expect_names(entry, &image.names)?;
        ensure!(
            entry["layers"].as_u64() == Some(image.layers.len() as u64),
            "`images` lists {} layers of {id}, expected {}",
            entry["layers"],
            image.layers.len()
        );
    }
    Ok(())
}

/// Full names of an image in a report or a listing, sorted.
pub(crate) fn names(entry: &Value) -> Result<Vec<String>> {
    let list = entry["names"]
        .as_array()
        .with_context(|| format!("no names in {entry}"))?;
    let names = list
        .iter()
        .filter_map(Value::as_str)
        .map(archive::normalise);
    let mut names: Vec<String> = names.collect();
    names.sort();
    Ok(names)
}

fn expect_names(entry: &Value, expected: &[String]) -> Result<()> {
    let names = names(entry)?;
    ensure!(names == expected, "named {names:?}, expected {expected:?}");
    Ok(())
}

/// A command that had to fail: exit status 1 and an error that has each of `words` in it.
///
/// A list of alternatives is written `one|other`.
pub(crate) fn expect_failure(output: &Output, words: &[&str]) -> Result<()> {
    let complaint = output.complaint();
    ensure!(
        output.status.code() == Some(1),
        "expected exit status 1: {output}"
    );
    ensure!(!complaint.contains("panicked"), "a panic: {complaint}");
    let lower = complaint.to_lowercase();
    for word in words {
        ensure!(
            word.split('|')
                .any(|word| lower.contains(&word.to_lowercase())),
            "the error does not name {word:?}: {complaint}"
        );
    }
    Ok(())
}

/// Bytes for people.
pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
