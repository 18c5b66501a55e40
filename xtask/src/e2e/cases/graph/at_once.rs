//! Many processes load archives that share layers into one root that is not there yet.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use crate::e2e::cases::Cases;
use crate::e2e::cases::steps;
use crate::e2e::compare::store::{self, Listing};
use crate::e2e::images::family;
use crate::e2e::lab::Lab;
use crate::lith::{Driver, Lith};
use crate::process::Running;

const LOADERS: usize = 8;
const ROUNDS: usize = 4;
const FILES: usize = 120;

pub(super) fn add(cases: &mut Cases, driver: Driver) {
    cases.add("graph/eight-archives-at-once", move |lab| {
        at_once(lab, driver)
    });
}

fn at_once(lab: &Lab, driver: Driver) -> Result<String> {
    let folder = lab.scratch()?;
    let family = family::make(folder.path(), LOADERS, FILES)?;
    let serial = lab.lith(driver, &folder.path().join("serial"))?;
    for member in &family.members {
        serial.load(&member.archive)?;
    }
    let (expected, disk) = (Listing::of(&serial)?, store::disk(&serial)?);
    let mut most = 0.0_f64;
    for round in 0..ROUNDS {
        let place = folder.path().join(format!("round-{round}"));
        std::fs::create_dir(&place)?;
        let lith = lab.lith(driver, &place)?;
        // In the last round all load the very same images.
        let same = round + 1 == ROUNDS;
        let loads = family.members.iter().map(|member| {
            let archive = if same {
                &family.together
            } else {
                &member.archive
            };
            let mut load = lith.command();
            load.args(["load", "-i"]).arg(archive);
            Running::start(&mut load, Stdio::null())
        });
        for load in loads.collect::<Result<Vec<_>>>()? {
            load.finish()?.ok()?;
        }
        let context = || format!("round {round} of {ROUNDS}");
        store::nothing_in_work(&lith).with_context(context)?;
        each_once(&lith, &family).with_context(context)?;
        let found = Listing::of(&lith)?;
        found.expect(&expected).with_context(context)?;
        ensure!(
            lith.images()? == serial.images()?,
            "`images` tells another story than after loading one by one"
        );
        let taken = store::disk(&lith)?;
        let more = taken.abs_diff(disk) as f64 / disk as f64;
        ensure!(more <= 0.01, "{taken} bytes on disk, {disk} one by one");
        most = most.max(more);
        for member in &family.members {
            let out = place.join("saved.tar");
            lith.save(&out, std::slice::from_ref(&member.name))?;
            member.expect_in(&out)?;
        }
        if !lab.keep {
            std::fs::remove_dir_all(&place)?;
        }
    }
    Ok(format!(
        "{ROUNDS} times {LOADERS} loads, {} layers, {}, off by {:.2}%",
        family.layer_ids().len(),
        steps::megabytes(disk),
        most * 100.0
    ))
}

/// Every layer of the family has one folder, one line in the listing and one tree.
fn each_once(lith: &Lith, family: &family::Family) -> Result<()> {
    let expected = family.layer_ids();
    let folders = lith.names_in("layers")?;
    ensure!(folders == expected, "layers are {folders:?}");
    let listed = lith.ok(&["layers", "--ids"])?.text();
    let mut ids: Vec<&str> = listed
        .lines()
        .filter_map(|line| line.split([' ', ':']).nth(1))
        .collect();
    ids.sort_unstable();
    ensure!(ids == expected, "`layers --ids` lists {ids:?}");
    let trees = store::trees(lith)?;
    ensure!(
        trees == expected.len(),
        "{trees} trees of {} layers",
        expected.len()
    );
    Ok(())
}
