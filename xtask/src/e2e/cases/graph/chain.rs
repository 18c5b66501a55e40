//! One image of a thousand layers.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::archive::{Archive, Bundle, Layer, chain_ids};
use crate::e2e::cases::{Cases, steps};
use crate::e2e::compare::store::{self, Listing};
use crate::e2e::lab::Lab;
use crate::lith::{Driver, Lith};

const LAYERS: usize = 1000;
/// Layers change the same few files: a tree that is a copy of its parent's stays small.
const FILES: usize = 8;
const NAME: &str = "e2e/chain:1";

pub(super) fn add(cases: &mut Cases, driver: Driver) {
    cases.add("graph/thousand-layers", move |lab| chain(lab, driver));
}

fn chain(lab: &Lab, driver: Driver) -> Result<String> {
    let folder = lab.scratch()?;
    let path = folder.path().join("chain.tar");
    let ids = make(&path)?;
    let archive = Archive::open(&path)?;
    let lith = lab.lith(driver, folder.path())?;
    lith.ok(&["images"])?;
    let empty = Listing::of(&lith)?;

    let started = Instant::now();
    lith.load(&path)?;
    let loaded = started.elapsed();
    steps::expect_listed(&lith, &archive)?;
    for arguments in [&["layers", "--json"][..], &["layers", "--json", NAME]] {
        let listed = json(&lith, arguments)?;
        in_order(&listed, &ids).with_context(|| format!("`{}`", arguments.join(" ")))?;
    }
    let history = json(&lith, &["history", "--json", NAME])?;
    let steps = history.as_array().map_or(0, Vec::len);
    ensure!(steps == LAYERS, "`history` tells {steps} steps");
    lith.ok(&["history", NAME])?;
    // Nested a thousand deep, it could not be read by most programs; nor by this one.
    let tree = json(&lith, &["tree", "--json"])?.to_string();
    let unseen = ids.iter().filter(|id| !tree.contains(id.as_str())).count();
    ensure!(unseen == 0, "`tree --json` lacks {unseen} layers");
    lith.ok(&["tree"])?;
    lith.ok(&["tree", "--dot"])?;
    steps::save_and_compare(&lith, &archive, folder.path())?;

    let started = Instant::now();
    lith.ok(&["rmi", NAME])?;
    let removed = started.elapsed();
    store::nothing_in_work(&lith)?;
    Listing::of(&lith)?.expect(&empty)?;
    Ok(format!(
        "{LAYERS} layers loaded in {:.1} s, removed in {:.1} s",
        loaded.as_secs_f64(),
        removed.as_secs_f64()
    ))
}

/// Writes the archive; gives the IDs of the layers.
fn make(path: &Path) -> Result<Vec<String>> {
    let mut layers = Vec::new();
    for number in 0..LAYERS {
        let (file, content) = (
            format!("data/{}", number % FILES),
            format!("layer {number}\n"),
        );
        layers.push(Layer::new(&[
            ("data/".to_owned(), String::new()),
            (file, content),
        ])?);
    }
    let mut bundle = Bundle::create(path)?;
    let all: Vec<&Layer> = layers.iter().collect();
    bundle.image(&[NAME], &all)?;
    bundle.finish()?;
    let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.diff_id.as_str()).collect();
    Ok(chain_ids(&diff_ids))
}

fn json(lith: &Lith, arguments: &[&str]) -> Result<Value> {
    let output = lith.ok(arguments)?;
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("`{}` printed no JSON that can be read", output.line))
}

/// The whole chain, each layer on the one before it.
fn in_order(listed: &Value, ids: &[String]) -> Result<()> {
    let listed = listed.as_array().context("no list")?;
    ensure!(listed.len() == ids.len(), "{} layers", listed.len());
    let mut below = Value::Null;
    for (layer, id) in listed.iter().zip(ids) {
        ensure!(layer["parent"] == below, "{layer} is not on {below}");
        below = layer["id"].clone();
        ensure!(
            below.as_str().is_some_and(|found| found.ends_with(id)),
            "{layer}, expected {id}"
        );
    }
    Ok(())
}
