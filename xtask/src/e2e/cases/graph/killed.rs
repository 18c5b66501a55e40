//! A loading process is killed at any moment: nothing of it stays but whole images.

use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use crate::e2e::cases::Cases;
use crate::e2e::compare::store::{self, Listing};
use crate::e2e::images::family::{self, Family};
use crate::e2e::lab::Lab;
use crate::lith::{Driver, Lith};
use crate::process::{Output, Running};
use crate::random::Random;

const IMAGES: usize = 4;
const FILES: usize = 64;
/// A store is made anew this often: the first load of a root has moments of its own.
const FRESH: u32 = 10;
/// Every image is saved and looked at this often.
const SAVED: u32 = 5;

pub(super) fn add(cases: &mut Cases, driver: Driver) {
    cases.add("graph/kill-9-at-any-moment", move |lab| {
        killed(lab, driver).with_context(|| format!("--seed {}", lab.effort.seed))
    });
}

/// What is loaded, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    OneFromFile,
    OneFromPipe,
    SeveralFromFile,
    SeveralFromPipe,
}

const WAYS: [Way; 4] = [
    Way::OneFromFile,
    Way::OneFromPipe,
    Way::SeveralFromFile,
    Way::SeveralFromPipe,
];

/// What a store looks like when a load in one way has succeeded.
struct After {
    way: Way,
    listing: Listing,
    images: usize,
    /// How long it took.
    whole: Duration,
}

fn killed(lab: &Lab, driver: Driver) -> Result<String> {
    let folder = lab.scratch()?;
    let family = family::make(folder.path(), IMAGES, FILES)?;
    let clean = lab.lith(driver, &folder.path().join("clean"))?;
    let mut after = Vec::new();
    for way in WAYS {
        after.push(loaded(&clean, &family, way)?);
    }
    let empty = Listing::of(&clean)?;

    let mut random = Random::new(lab.effort.seed);
    let (mut cut_short, mut all, mut none) = (0, 0, 0);
    let mut lith = clean;
    // Both drivers together make the number that was asked for.
    let kills = lab.effort.kills.div_ceil(2);
    for kill in 0..kills {
        if kill % FRESH == 0 {
            lith = lab.lith(driver, &folder.path().join(format!("fresh-{kill}")))?;
        }
        let after = random.choose(&after).context("no way to load")?;
        // Much is done in the last moments: half of the kills fall there.
        let from = if random.coin() { 0.0 } else { 0.6 };
        let moment = random.moment(after.whole, from, 1.1);
        let context = || {
            let way = after.way;
            format!(
                "kill {kill} of {kills}: {way:?}, after {moment:?} of {:?}",
                after.whole
            )
        };
        let output = kill_one(&lith, &family, after.way, moment).with_context(context)?;
        cut_short += u32::from(!output.status.success());
        match expect_whole(&lith, &family, after, &empty).with_context(context)? {
            0 => none += 1,
            _ => all += 1,
        }
        again(&lith, &family, after, kill % SAVED == 0).with_context(context)?;
        Listing::of(&lith)?.expect(&empty).with_context(context)?;
    }
    ensure!(cut_short > 0, "every load had ended before it was killed");
    Ok(format!(
        "{cut_short} of {kills} loads cut short: {none} left nothing, {all} left all \
         (--seed {})",
        lab.effort.seed
    ))
}

fn archive(family: &Family, way: Way) -> Result<&std::path::Path> {
    match way {
        Way::OneFromFile | Way::OneFromPipe => {
            let first = family.members.first().context("a family without members")?;
            Ok(&first.archive)
        }
        Way::SeveralFromFile | Way::SeveralFromPipe => Ok(&family.together),
    }
}

/// A load at work; for one from a pipe, with the process that writes.
fn start(lith: &Lith, family: &Family, way: Way) -> Result<(Running, Option<Running>)> {
    let archive = archive(family, way)?;
    let mut load = lith.command();
    load.args(["load", "-i"]);
    if matches!(way, Way::OneFromFile | Way::SeveralFromFile) {
        return Ok((Running::start(load.arg(archive), Stdio::null())?, None));
    }
    let (reader, writer) = std::io::pipe()?;
    let mut cat = Command::new("cat");
    let cat = Running::start_into(cat.arg(archive), writer.into())?;
    Ok((Running::start(load.arg("-"), reader.into())?, Some(cat)))
}

/// Loads, looks, and removes everything again.
fn loaded(lith: &Lith, family: &Family, way: Way) -> Result<After> {
    let started = Instant::now();
    let (load, cat) = start(lith, family, way)?;
    load.finish()?.ok()?;
    let whole = started.elapsed();
    drop(cat);
    let (listing, images) = (Listing::of(lith)?, lith.images()?.len());
    remove_all(lith)?;
    store::nothing_in_work(lith)?;
    Ok(After {
        way,
        listing,
        images,
        whole,
    })
}

fn kill_one(lith: &Lith, family: &Family, way: Way, moment: Duration) -> Result<Output> {
    let (load, cat) = start(lith, family, way)?;
    sleep(moment);
    load.signal(Signal::KILL);
    let output = load.finish()?;
    // Whether it could write all does not matter.
    drop(cat);
    Ok(output)
}

/// The next command lists all images of the killed load or none, and clears away the rest.
fn expect_whole(lith: &Lith, family: &Family, after: &After, empty: &Listing) -> Result<usize> {
    let listed = lith.images()?;
    for image in &listed {
        let member = family.member(image["id"].as_str().unwrap_or_default())?;
        let names = image["names"].as_array().map_or(0, Vec::len);
        ensure!(names == 1, "image {} has {names} names", member.name);
    }
    ensure!(
        listed.is_empty() || listed.len() == after.images,
        "{} of {} images of one archive are there",
        listed.len(),
        after.images
    );
    store::nothing_in_work(lith)?;
    let expected = if listed.is_empty() {
        empty
    } else {
        &after.listing
    };
    let found = Listing::of(lith)?;
    let context = || {
        format!(
            "after the next command, which lists {} images",
            listed.len()
        )
    };
    found.expect(expected).with_context(context)?;
    Ok(listed.len())
}

/// The next load succeeds, as if there had been none before.
fn again(lith: &Lith, family: &Family, after: &After, saved: bool) -> Result<()> {
    lith.load(archive(family, after.way)?)?;
    store::nothing_in_work(lith)?;
    let found = Listing::of(lith)?;
    found
        .expect(&after.listing)
        .context("after the next load")?;
    if saved {
        for image in lith.images()? {
            let member = family.member(image["id"].as_str().unwrap_or_default())?;
            let out = lith.root.with_extension("tar");
            lith.save(&out, std::slice::from_ref(&member.name))?;
            member.expect_in(&out)?;
        }
    }
    remove_all(lith)
}

fn remove_all(lith: &Lith) -> Result<()> {
    let mut remove = vec!["rmi".to_owned()];
    for image in lith.images()? {
        let names = image["names"].as_array().into_iter().flatten();
        remove.extend(names.filter_map(|name| name.as_str().map(str::to_owned)));
    }
    lith.ok(&remove).map(drop)
}
