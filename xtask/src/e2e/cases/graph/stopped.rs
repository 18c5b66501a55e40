//! A process that is stopped holds up nobody but those who need what it holds.

use std::fs::File;
use std::io::{Read, Write};
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use crate::e2e::cases::Cases;
use crate::e2e::compare::store;
use crate::e2e::images::family;
use crate::e2e::lab::Lab;
use crate::lith::{Driver, Lith};
use crate::process::Running;
use crate::random::Random;

const FILES: usize = 100;
/// Far more than any of these commands takes.
const PATIENCE: Duration = Duration::from_secs(30);
/// Far more than a command takes that only reads.
const SHORT_PATIENCE: Duration = Duration::from_secs(5);
const MOMENTS: u32 = 10;

pub(super) fn add(cases: &mut Cases, driver: Driver) {
    cases.add("graph/stopped-while-reading", move |lab| {
        stalled(lab, driver)
    });
    cases.add("graph/stopped-at-any-moment", move |lab| {
        anywhere(lab, driver).with_context(|| format!("--seed {}", lab.effort.seed))
    });
}

fn within<A: AsRef<std::ffi::OsStr>>(lith: &Lith, arguments: &[A]) -> Result<()> {
    let mut command = lith.command();
    let running = Running::start(command.args(arguments), Stdio::null())?;
    running.finish_within(PATIENCE)?.ok().map(drop)
}

/// Half of an archive has come through a pipe: nothing is held that anyone could need.
fn stalled(lab: &Lab, driver: Driver) -> Result<String> {
    let folder = lab.scratch()?;
    let family = family::make(folder.path(), 3, FILES)?;
    let [first, second, third] = &family.members[..] else {
        anyhow::bail!("expected three images");
    };
    let lith = lab.lith(driver, folder.path())?;
    lith.load(&first.archive)?;
    let mut load = lith.command();
    let mut load = Running::start(load.args(["load", "-i", "-"]), Stdio::piped())?;
    let mut pipe = load.stdin()?;
    let mut bytes = Vec::new();
    File::open(&third.archive)?.read_to_end(&mut bytes)?;
    let (start, rest) = bytes.split_at(bytes.len() * 3 / 4);
    pipe.write_all(start)?;
    // All but what fits into the pipe is read by now, and layers are being applied.
    sleep(Duration::from_millis(300));
    load.signal(Signal::STOP);

    let second_archive = second.archive.to_string_lossy();
    let same_archive = third.archive.to_string_lossy();
    let out = folder.path().join("saved.tar");
    let commands: [&[&str]; 10] = [
        &["images"],
        &["layers"],
        &["inspect", &first.name],
        &["tag", &first.name, "e2e/second-name:1"],
        &["load", "-i", &second_archive],
        &["rmi", &second.name],
        // The very image that the stopped one is at.
        &["load", "-i", &same_archive],
        &["save", "-o", &out.to_string_lossy(), &third.name],
        &["rmi", &third.name],
        &["rmi", &first.name],
    ];
    for arguments in commands {
        within(&lith, arguments)?;
    }
    third.expect_in(&out)?;
    load.signal(Signal::CONT);
    pipe.write_all(rest)?;
    drop(pipe);
    load.finish_within(PATIENCE)?.ok()?;
    lith.save(&out, std::slice::from_ref(&third.name))?;
    third.expect_in(&out)?;
    store::nothing_in_work(&lith)?;
    Ok(format!(
        "{} commands beside it, then it went on",
        commands.len()
    ))
}

/// Readers do not wait, and who needs the same layers goes on when it does.
///
/// There are instants in which nobody can read: while the first to open the index looks at its
/// log. Chance may hit one, but not again and again.
fn anywhere(lab: &Lab, driver: Driver) -> Result<String> {
    let folder = lab.scratch()?;
    let family = family::make(folder.path(), 2, FILES)?;
    let [first, second] = &family.members[..] else {
        anyhow::bail!("expected two images");
    };
    let lith = lab.lith(driver, folder.path())?;
    let started = Instant::now();
    lith.load(&second.archive)?;
    let whole = started.elapsed();
    lith.ok(&["rmi", &second.name])?;
    lith.load(&first.archive)?;
    let mut random = Random::new(lab.effort.seed);
    let mut held_up = Vec::new();
    for round in 0..MOMENTS {
        let moment = random.moment(whole, 0.0, 1.0);
        let context = || format!("stopped after {moment:?} of {whole:?} (round {round})");
        let start = |arguments: &[&str]| {
            let mut command = lith.command();
            Running::start(command.args(arguments), Stdio::null())
        };
        let load = ["load", "-i", &*second.archive.to_string_lossy()];
        let stopped = start(&load)?;
        sleep(moment);
        stopped.signal(Signal::STOP);
        let readers = [
            start(&["images", "--json"])?,
            start(&["layers", "--json"])?,
            start(&["inspect", &first.name])?,
            start(&["history", &first.name])?,
        ];
        let asked = Instant::now();
        let mut waiting: Vec<Running> = readers.into_iter().collect();
        while !waiting.is_empty() && asked.elapsed() < SHORT_PATIENCE {
            waiting.retain_mut(|reader| !reader.ended());
            sleep(Duration::from_millis(5));
        }
        let other = start(&load)?;
        sleep(whole / 2);
        stopped.signal(Signal::CONT);
        if !waiting.is_empty() {
            held_up.push(format!("{moment:?}"));
        }
        for load in waiting.into_iter().chain([stopped, other]) {
            let output = load.finish_within(PATIENCE).with_context(context)?;
            output.ok().with_context(context)?;
        }
        ensure!(lith.images()?.len() == 2, "{}: not two images", context());
        store::nothing_in_work(&lith).with_context(context)?;
        lith.ok(&["rmi", &second.name])?;
    }
    ensure!(
        held_up.len() * 5 <= MOMENTS as usize,
        "readers were held up when it was stopped after {} of {whole:?}",
        held_up.join(", ")
    );
    Ok(format!(
        "{MOMENTS} moments, readers held up in {} (--seed {})",
        held_up.len(),
        lab.effort.seed
    ))
}
