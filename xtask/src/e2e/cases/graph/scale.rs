//! A thousand images: every command finds what it is asked for. (What it costs is told by
//! `cargo xtask bench scale`.)

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::archive::Series;
use crate::e2e::cases::Cases;
use crate::e2e::compare::store::{self, Listing};
use crate::e2e::lab::Lab;
use crate::lith::{Driver, Lith};

const IMAGES: usize = 1000;
const REMOVED: usize = 20;
/// The one that is asked for.
const ONE: usize = 777;

pub(super) fn add(cases: &mut Cases, driver: Driver) {
    cases.add("graph/thousand-images", move |lab| scale(lab, driver));
}

fn scale(lab: &Lab, driver: Driver) -> Result<String> {
    let folder = lab.scratch()?;
    let [archive, further] = ["all.tar", "further.tar"].map(|name| folder.path().join(name));
    let all = Series {
        start: 0,
        end: IMAGES,
    };
    let ids = all.write(&archive)?;
    let more = Series {
        start: IMAGES,
        end: IMAGES + 1,
    };
    let added = more.write(&further)?;
    let lith = lab.lith(driver, folder.path())?;
    let loaded = lith.load(&archive)?;
    ensure!(loaded.len() == IMAGES, "load reports {}", loaded.len());
    let full = Listing::of(&lith)?;

    let mut listed = ids_of(&lith.images()?)?;
    listed.sort();
    let mut expected = ids.clone();
    expected.sort();
    ensure!(listed == expected, "`images` lists {} images", listed.len());
    let (name, id) = (Series::name(ONE), &ids[ONE]);
    one(&lith, &name, id)?;

    lith.ok(&["tag", &name, "scale/other:2"])?;
    ensure!(named(&lith, "scale/other:2")? == [id.as_str()], "tag");
    lith.ok(&["untag", "scale/other:2"])?;
    ensure!(named(&lith, "scale/other:2")?.is_empty(), "untag");
    lith.load(&further)?;
    one(&lith, &Series::name(IMAGES), &added[0])?;
    lith.ok(&["rmi", &Series::name(IMAGES)])?;
    store::nothing_in_work(&lith)?;
    Listing::of(&lith)?.expect(&full)?;

    // All would take a while, each of them being synced.
    let mut remove = vec!["rmi".to_owned()];
    remove.extend((0..REMOVED).map(Series::name));
    lith.ok(&remove)?;
    store::nothing_in_work(&lith)?;
    let left = lith.images()?.len();
    ensure!(left == IMAGES - REMOVED, "{left} images are left");
    let layers = lith.names_in("layers")?.len();
    ensure!(layers == left + 1, "{layers} layers for {left} images");
    let trees = store::trees(&lith)?;
    ensure!(trees == layers, "{trees} trees for {layers} layers");
    Ok(format!("{IMAGES} images loaded, listed, found, removed"))
}

/// Every command that is asked for this image tells of this image.
fn one(lith: &Lith, name: &str, id: &str) -> Result<()> {
    let short = id.get(..16).unwrap_or(id);
    for wanted in [name, short] {
        ensure!(named(lith, wanted)? == [id], "`images {wanted}`");
        let output = lith.ok(&["inspect", wanted])?;
        let told: Value = serde_json::from_slice(&output.stdout)?;
        let found = told[0]["Id"].as_str().unwrap_or_default();
        ensure!(found.ends_with(id), "`inspect {wanted}` tells of {found}");
    }
    let layers = lith.ok(&["layers", "--ids", name])?.text();
    ensure!(layers.lines().count() == 2, "`layers {name}`: {layers}");
    Ok(())
}

fn named(lith: &Lith, filter: &str) -> Result<Vec<String>> {
    let output = lith.ok(&["images", "--json", filter])?;
    let listed: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    ids_of(&listed)
}

fn ids_of(listed: &[Value]) -> Result<Vec<String>> {
    let id = |image: &Value| {
        let id = image["id"].as_str().context("an image without an ID")?;
        Ok(id.trim_start_matches("sha256:").to_owned())
    };
    listed.iter().map(id).collect()
}
