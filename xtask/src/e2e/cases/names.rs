//! Names, listings and removal; wrong usage.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Cases, steps};
use crate::archive::Archive;
use crate::e2e::lab::Lab;
use crate::lith::Driver;

pub(super) fn add(cases: &mut Cases, driver: Driver) {
    cases.add("names/tag-inspect-remove", move |lab| names(lab, driver));
    cases.add("names/wrong-usage", move |lab| usage(lab, driver));
    cases.add("names/another-driver-refused", move |lab| {
        other_driver(lab, driver)
    });
}

fn names(lab: &Lab, driver: Driver) -> Result<String> {
    let made = lab.made()?;
    let folder = lab.scratch()?;
    let lith = lab.lith(driver, folder.path())?;
    lith.load(&made.archive)?;
    let archive = Archive::open(&made.archive)?;
    let image = archive.single()?;

    lith.ok(&["tag", made.name, "other:1", "registry.example:5000/x/y:z"])?;
    let out = lith.ok(&["inspect", "other:1"])?;
    let value: Value = serde_json::from_slice(&out.stdout).context("inspect prints no JSON")?;
    ensure!(
        value[0]["Id"] == format!("sha256:{}", image.id),
        "inspect: Id {}",
        value[0]["Id"]
    );
    let tags = value[0]["RepoTags"].as_array().map_or(0, Vec::len);
    ensure!(tags == 3, "inspect: {tags} names after two more were given");
    let layers: Vec<&str> = value[0]["RootFS"]["Layers"]
        .as_array()
        .map(|layers| layers.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    ensure!(layers == image.diff_ids, "inspect: diff IDs {layers:?}");

    steps::expect_failure(
        &lith.run(&["inspect", "no-such-image"])?,
        &["no-such-image"],
    )?;
    steps::expect_failure(&lith.run(&["rmi", "no-such-image"])?, &["no-such-image"])?;
    steps::expect_failure(
        &lith.run(&["tag", "no-such-image", "x"])?,
        &["no-such-image"],
    )?;

    lith.ok(&["rmi", "other:1"])?;
    lith.ok(&["rmi", "registry.example:5000/x/y:z"])?;
    ensure!(
        lith.images()?.len() == 1,
        "the image went with a name that was not its last"
    );
    let full = lith.snapshot()?.len();
    lith.ok(&["rmi", made.name])?;
    ensure!(lith.images()?.is_empty(), "the image is still listed");
    for place in ["layers", "images/sha256", "names", "staging"] {
        let left = lith.names_in(place)?;
        ensure!(left.is_empty(), "rmi left in {place}: {}", left.join(", "));
    }
    let left = lith.snapshot()?.len();
    ensure!(left < 40, "rmi left {left} of {full} paths in the store");
    lith.ok(&["info"])?;
    // What was removed can be loaded again.
    steps::round_trip(&lith, &made.archive, folder.path())
}

fn usage(lab: &Lab, driver: Driver) -> Result<String> {
    let folder = lab.scratch()?;
    let lith = lab.lith(driver, folder.path())?;
    for arguments in [
        &["no-such-command"][..],
        &["load", "--no-such-option"],
        &["tag"],
    ] {
        let code = lith.run(arguments)?.status.code();
        ensure!(
            code == Some(2),
            "lith {}: exit status {code:?}",
            arguments.join(" ")
        );
    }
    let missing = folder.path().join("not-there.tar");
    let missing = missing.to_string_lossy();
    let output = lith.run(&["load", "-i", &missing])?;
    steps::expect_failure(&output, &["not-there.tar"])?;
    Ok("exit status 2 for wrong usage, 1 for a file that is not there".to_owned())
}

fn other_driver(lab: &Lab, driver: Driver) -> Result<String> {
    let folder = lab.scratch()?;
    let mut lith = lab.lith(driver, folder.path())?;
    lith.load(&lab.made()?.archive)?;
    let other = match driver {
        Driver::Overlay => Driver::Vfs,
        Driver::Vfs | Driver::Btrfs => Driver::Overlay,
    };
    lith.driver = Some(other);
    steps::expect_failure(&lith.run(&["images"])?, &["overlay", "vfs"])?;
    lith.driver = None;
    ensure!(
        lith.images()?.len() == 1,
        "without --driver the store's own is not used"
    );
    Ok(format!(
        "a store of {} is not opened with {}",
        driver.name(),
        other.name()
    ))
}
