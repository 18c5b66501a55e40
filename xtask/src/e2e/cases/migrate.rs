//! A store is moved from driver to driver, killed on the way, disturbed, short of room: what is in it stays
//! what it is.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use walkdir::WalkDir;

use super::{Cases, steps};
use crate::archive;
use crate::e2e::compare::store;
use crate::e2e::guards::Mounted;
use crate::e2e::images::family::{self, Family};
use crate::e2e::lab::Lab;
use crate::e2e::report::skip;
use crate::lith::{Driver, Lith, PLUGIN};
use crate::process::{Output, Running};
use crate::random::Random;

/// From each to the next, and from the last to the first. All of them on one btrfs, where there can be one.
const ROUND: &[Driver] = &[Driver::Overlay, Driver::Btrfs, Driver::Vfs];
/// Where there can be none.
const WITHOUT_BTRFS: &[Driver] = &[Driver::Overlay, Driver::Vfs];
/// Of the kills that were asked for, each of these cases makes one in so many.
const SHARE: u32 = 5;

pub(super) fn add(cases: &mut Cases) {
    let seeded = |run: fn(&Lab) -> Result<String>| {
        move |lab: &Lab| run(lab).with_context(|| format!("--seed {}", lab.effort.seed))
    };
    cases.add("kill-9-at-any-moment", seeded(killed));
    cases.add("kill-9-into-a-new-root", seeded(killed_copy));
    cases.add("two-at-once", two_at_once);
    cases.add("while-others-load", while_loading);
    cases.add("full-disk", full_disk);
}

/// A store with images of many kinds of files, and some that share layers.
struct Filled {
    lith: Lith,
    round: &'static [Driver],
    family: Family,
    facts: Facts,
    _folder: tempfile::TempDir,
}

fn filled(lab: &Lab) -> Result<Filled> {
    let folder = lab.scratch()?;
    let (round, mut lith) = match lab.lith(Driver::Btrfs, folder.path()) {
        Ok(lith) => (ROUND, lith),
        Err(why) => {
            eprintln!("warning: no store is moved to or from btrfs: {why:#}");
            let lith = lab.lith(Driver::Overlay, folder.path())?;
            (WITHOUT_BTRFS, lith)
        }
    };
    lith.driver = Some(Driver::Overlay);
    let family = family::make(folder.path(), 3, 64)?;
    lith.load(&lab.made()?.archive)?;
    lith.load(&family.together)?;
    // It has another one soon.
    lith.driver = None;
    let facts = Facts::of(&lith)?;
    Ok(Filled {
        lith,
        round,
        family,
        facts,
        _folder: folder,
    })
}

/// All that must not change.
#[derive(PartialEq, Debug)]
struct Facts {
    images: Vec<Value>,
    /// By ID: an index that was made anew has them in another order.
    layers: BTreeMap<String, Value>,
    inspected: Vec<Value>,
    /// Digests of the archives that `save` makes of all names.
    saved: BTreeMap<String, String>,
    /// Digests of the files that are not the driver's.
    files: BTreeMap<PathBuf, String>,
}

impl Facts {
    fn of(lith: &Lith) -> Result<Facts> {
        let images = lith.images()?;
        let mut names = Vec::new();
        for image in &images {
            names.extend(steps::names(image)?);
        }
        let json = |arguments: &[&str]| -> Result<Value> {
            Ok(serde_json::from_slice(&lith.ok(arguments)?.stdout)?)
        };
        let (mut inspected, mut saved) = (Vec::new(), BTreeMap::new());
        let out = lith.root.with_extension("saved");
        for name in names {
            let mut said = json(&["inspect", &name])?;
            if let Some(image) = said.get_mut(0).and_then(Value::as_object_mut) {
                // That is the driver's.
                image.remove("GraphDriver");
            }
            inspected.push(said);
            lith.save(&out, std::slice::from_ref(&name))?;
            saved.insert(name, archive::sha256_file(&out)?);
        }
        fs::remove_file(&out).ok();
        Ok(Facts {
            layers: by_id(&json(&["layers", "--json"])?),
            files: files(&lith.root)?,
            images,
            inspected,
            saved,
        })
    }

    fn expect(&self, expected: &Facts) -> Result<()> {
        ensure!(self.images == expected.images, "other images");
        ensure!(self.layers == expected.layers, "other layers");
        ensure!(
            self.inspected == expected.inspected,
            "inspect says otherwise"
        );
        ensure!(self.saved == expected.saved, "other archives are saved");
        ensure!(
            self.files == expected.files,
            "other records, images or names"
        );
        Ok(())
    }
}

fn by_id(layers: &Value) -> BTreeMap<String, Value> {
    let id = |layer: &Value| layer["id"].as_str().unwrap_or_default().to_owned();
    let layers = layers.as_array().into_iter().flatten();
    layers.map(|layer| (id(layer), layer.clone())).collect()
}

fn files(root: &Path) -> Result<BTreeMap<PathBuf, String>> {
    let mut found = BTreeMap::new();
    for folder in ["layers", "images", "names"] {
        for entry in WalkDir::new(root.join(folder)) {
            let entry = entry?;
            let digest = match entry.file_type().is_file() {
                true => archive::sha256_file(entry.path())?,
                false => String::new(),
            };
            found.insert(entry.path().strip_prefix(root)?.to_owned(), digest);
        }
    }
    Ok(found)
}

fn line(lith: &Lith, to: Driver, root: Option<&Path>) -> Vec<String> {
    let driver = match to {
        Driver::Btrfs => lith.program.with_file_name(PLUGIN).display().to_string(),
        _ => to.name().to_owned(),
    };
    let words = ["store", "migrate", "--to-driver"];
    let mut line: Vec<String> = words.map(str::to_owned).to_vec();
    line.push(driver);
    if let Some(root) = root {
        line.extend(["--to-root".to_owned(), root.display().to_string()]);
    }
    line
}

fn start(lith: &Lith, line: &[String]) -> Result<Running> {
    Running::start(lith.command().args(line), Stdio::null())
}

/// The store is whole, has this driver, and nothing of any other.
fn expect_moved(lith: &Lith, to: Driver, expected: &Facts) -> Result<()> {
    let drivers = lith.names_in("drivers")?;
    ensure!(drivers == [to.name()], "trees of {}", drivers.join(", "));
    let word = fs::read_to_string(lith.root.join("driver"))?;
    ensure!(word.trim() == to.name(), "the store has driver {word}");
    store::nothing_in_work(lith)?;
    let layers = lith.names_in("layers")?.len();
    let trees = store::trees(lith)?;
    ensure!(trees == layers, "{trees} trees of {layers} layers");
    Facts::of(lith)?.expect(expected)
}

/// Where a move is killed: half of the times in the last part, where most is decided.
fn moment(random: &mut Random, whole: Duration) -> Duration {
    let from = if random.coin() { 0.0 } else { 0.7 };
    random.moment(whole, from, 1.05)
}

fn kill(running: Running, moment: Duration) -> Result<Output> {
    sleep(moment);
    running.signal(Signal::KILL);
    running.finish()
}

/// Round and round, each move killed once and run again.
fn killed(lab: &Lab) -> Result<String> {
    let Filled {
        lith,
        round,
        facts,
        family: _family,
        _folder,
    } = filled(lab)?;
    // Each way once, undisturbed, which says how long it takes.
    let ways: Vec<Driver> = round
        .iter()
        .cycle()
        .skip(1)
        .take(round.len())
        .copied()
        .collect();
    let mut times = Vec::new();
    for to in &ways {
        let started = Instant::now();
        lith.ok(&line(&lith, *to, None))?;
        times.push((*to, started.elapsed()));
        expect_moved(&lith, *to, &facts).with_context(|| format!("moved to {to:?}"))?;
    }
    let mut random = Random::new(lab.effort.seed);
    let kills = lab.effort.kills.div_ceil(SHARE);
    let (mut cut_short, mut switched) = (0, 0);
    for (kill_number, (to, whole)) in (0..kills).zip(times.iter().cycle()) {
        let moment = moment(&mut random, *whole);
        let context = || format!("kill {kill_number}: to {to:?}, after {moment:?} of {whole:?}");
        let output = kill(start(&lith, &line(&lith, *to, None))?, moment)?;
        cut_short += u32::from(!output.status.success());
        let now = fs::read_to_string(lith.root.join("driver"))?;
        switched += u32::from(!output.status.success() && now.trim() == to.name());
        // As it was or as it is to be, it works.
        Facts::of(&lith)
            .and_then(|now| now.expect(&facts))
            .with_context(context)?;
        lith.ok(&line(&lith, *to, None)).with_context(context)?;
        expect_moved(&lith, *to, &facts).with_context(context)?;
    }
    ensure!(cut_short > 0, "every move had ended before it was killed");
    Ok(format!(
        "{cut_short} of {kills} moves cut short, {switched} of them behind the last step; {} images, {} \
         layers (--seed {})",
        facts.images.len(),
        facts.layers.len(),
        lab.effort.seed
    ))
}

/// The same into new roots: until one is complete there is no store.
fn killed_copy(lab: &Lab) -> Result<String> {
    let Filled {
        lith,
        round,
        facts,
        _folder,
        family: _family,
    } = filled(lab)?;
    let before = lith.snapshot()?;
    let to = *round.last().context("no driver")?;
    let copy = |number: u32| Lith {
        root: lith.root.with_extension(format!("copy-{number}")),
        ..lith.clone()
    };
    let whole = {
        let started = Instant::now();
        let copy = copy(u32::MAX);
        lith.ok(&line(&lith, to, Some(&copy.root)))?;
        expect_moved(&copy, to, &facts)?;
        fs::remove_dir_all(&copy.root)?;
        started.elapsed()
    };
    let mut random = Random::new(lab.effort.seed);
    let kills = lab.effort.kills.div_ceil(SHARE * 2);
    let mut cut_short = 0;
    for number in 0..kills {
        let copy = copy(number);
        let moment = moment(&mut random, whole);
        let context = || format!("kill {number}, after {moment:?} of {whole:?}");
        let line = line(&lith, to, Some(&copy.root));
        let output = kill(start(&lith, &line)?, moment)?;
        cut_short += u32::from(!output.status.success());
        if !copy.root.join("format").exists() {
            // Nobody takes it for a store, or makes one there.
            if copy.root.join("copy").exists() {
                steps::expect_failure(&copy.run(&["images"])?, &["is not a store"])?;
            }
            lith.ok(&line).with_context(context)?;
        }
        expect_moved(&copy, to, &facts).with_context(context)?;
        fs::remove_dir_all(&copy.root)?;
    }
    ensure!(lith.snapshot()? == before, "the old store has changed");
    ensure!(cut_short > 0, "every move had ended before it was killed");
    Ok(format!(
        "{cut_short} of {kills} cut short (--seed {})",
        lab.effort.seed
    ))
}

/// One moves it, the other is told.
fn two_at_once(lab: &Lab) -> Result<String> {
    let Filled {
        lith,
        round,
        facts,
        _folder,
        family: _family,
    } = filled(lab)?;
    let (mut refused, mut moves) = (0, 0);
    for to in round.iter().cycle().skip(1).take(round.len() * 3) {
        let both = [
            start(&lith, &line(&lith, *to, None))?,
            start(&lith, &line(&lith, *to, None))?,
        ];
        let mut done = 0;
        for running in both {
            let output = running.finish()?;
            if output.status.success() {
                done += 1;
            } else {
                let words = ["another process moves|other processes use|was made with"];
                steps::expect_failure(&output, &words)?;
                refused += 1;
            }
        }
        moves += 1;
        if done == 0 {
            // Each has waited for the other to close the store.
            lith.ok(&line(&lith, *to, None))?;
        }
        expect_moved(&lith, *to, &facts)?;
    }
    Ok(format!("{moves} moves, {refused} refused"))
}

/// Images come and go while the store is moved.
fn while_loading(lab: &Lab) -> Result<String> {
    let Filled {
        lith,
        round,
        facts,
        family,
        _folder,
    } = filled(lab)?;
    let mut rounds = 0;
    for to in round.iter().cycle().skip(1).take(round.len() * 2) {
        let moving = start(&lith, &line(&lith, *to, None))?;
        for member in &family.members {
            lith.ok(&["rmi", &member.name])?;
            lith.load(&member.archive)?;
            rounds += 1;
        }
        moving.finish()?.ok()?;
        let now = Facts::of(&lith)?;
        ensure!(now.saved == facts.saved, "other archives are saved");
        expect_moved(&lith, *to, &now)?;
    }
    Ok(format!("{rounds} images removed and loaded meanwhile"))
}

/// Full trees need more room than there is: they go again, and the store is what it was.
fn full_disk(lab: &Lab) -> Result<String> {
    if !rustix::process::geteuid().is_root() {
        return skip("mounting a file system needs root");
    }
    let folder = lab.scratch()?;
    let place = folder.path().join("disk");
    let disk = Mounted::fresh_ext4(&place, 256 << 20)?;
    let mut lith = lab.lith(Driver::Overlay, &place)?;
    lith.load(&lab.made()?.archive)?;
    // So many small layers that a full tree of each is too much.
    for number in 0..4 {
        let filler = vec![number; 2 << 20];
        let layer = archive::Layer::new(&[(format!("filler-{number}"), filler)])?;
        let path = folder.path().join("filler.tar");
        let mut bundle = archive::Bundle::create(&path)?;
        bundle.image(&[&format!("e2e/filler:{number}")], &[&layer])?;
        bundle.finish()?;
        lith.load(&path)?;
    }
    lith.driver = None;
    let room = || rustix::fs::statvfs(&place).map(|found| found.f_bavail * found.f_frsize);
    let ballast = place.join("ballast");
    let keep: u64 = 6 << 20;
    fs::write(
        &ballast,
        vec![1; usize::try_from(room()?.saturating_sub(keep))?],
    )?;
    let (before, paths, free) = (lith.images()?, lith.snapshot()?, room()?);
    let output = lith.run(&line(&lith, Driver::Vfs, None))?;
    steps::expect_failure(&output, &["no room", "no space left"])?;
    ensure!(lith.images()? == before, "`images` tells another story");
    let (now, left) = (lith.snapshot()?, room()?);
    ensure!(now == paths, "the store has changed");
    ensure!(
        left + (256 << 10) >= free,
        "{left} bytes are free, {free} were"
    );
    let new = folder.path().join("disk/other-root");
    let output = lith.run(&line(&lith, Driver::Overlay, Some(&new)))?;
    steps::expect_failure(&output, &["no room", "no space left"])?;
    ensure!(!new.exists(), "something is left at {}", new.display());
    fs::remove_file(&ballast)?;
    lith.ok(&line(&lith, Driver::Vfs, None))?;
    ensure!(lith.images()? == before, "`images` tells another story");
    drop(disk);
    Ok("refused in place and into a new root, done when there was room".to_owned())
}
