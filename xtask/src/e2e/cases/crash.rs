//! Killed at any moment, run many at once: the store stays right.

use std::io::Write;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{Cases, steps};
use crate::archive::Archive;
use crate::e2e::guards;
use crate::e2e::lab::Lab;
use crate::lith::{Driver, Lith};
use crate::process;

/// Moments at which a load is killed, spread over the time one takes.
const MOMENTS: u32 = 8;
const AT_ONCE: usize = 8;

pub(super) fn add(cases: &mut Cases, driver: Driver) {
    cases.add("crash/kill-9-while-loading", move |lab| killed(lab, driver));
    cases.add("crash/interrupt-while-loading", move |lab| {
        interrupted(lab, driver, Pipe::Slow)
    });
    cases.add("crash/interrupt-while-waiting", move |lab| {
        interrupted(lab, driver, Pipe::Stalled)
    });
    cases.add("crash/eight-loads-at-once", move |lab| at_once(lab, driver));
    cases.add("crash/loads-and-removals-at-once", move |lab| {
        removals(lab, driver)
    });
}

fn start(lith: &Lith, arguments: &[&str]) -> Result<Child> {
    let mut command = lith.command();
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().context("cannot start lith")
}

/// How many layers, trees and images a store holds.
#[derive(PartialEq, Eq, Debug)]
struct Counts {
    layers: usize,
    paths: usize,
}

fn counts(lith: &Lith) -> Result<Counts> {
    Ok(Counts {
        layers: lith.names_in("layers")?.len(),
        paths: lith.snapshot()?.len(),
    })
}

fn killed(lab: &Lab, driver: Driver) -> Result<String> {
    let made = lab.made()?;
    let archive = Archive::open(&made.archive)?;
    let path = made.archive.to_string_lossy().into_owned();
    let folder = lab.scratch()?;
    let clean = lab.lith(driver, &folder.path().join("clean"))?;
    let started = Instant::now();
    clean.load(&made.archive)?;
    let whole = started.elapsed();
    let expected = counts(&clean)?;

    let mut cut_short = 0;
    for moment in 0..MOMENTS {
        let place = folder.path().join(format!("killed-{moment}"));
        let lith = lab.lith(driver, &place)?;
        let mut child = start(&lith, &["load", "-i", &path])?;
        sleep(whole * moment / MOMENTS);
        child.kill()?;
        let output = process::collect(child, format!("a load killed at {moment}/{MOMENTS}"))?;
        cut_short += u32::from(!output.status.success());
        let context = || format!("killed after {moment}/{MOMENTS} of {whole:?}");
        lith.load(&made.archive).with_context(context)?;
        lith.nothing_staged().with_context(context)?;
        let found = counts(&lith)?;
        ensure!(
            found == expected,
            "{}: {found:?}, expected {expected:?}",
            context()
        );
        steps::save_and_compare(&lith, &archive, &place).with_context(context)?;
        if !lab.keep {
            std::fs::remove_dir_all(&place)?;
        }
    }
    ensure!(cut_short > 0, "every load had ended before it was killed");
    Ok(format!(
        "{cut_short} of {MOMENTS} loads cut short, each repeated with success"
    ))
}

/// How an archive comes in that never ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pipe {
    /// Bit by bit: the load is at work when it is interrupted.
    Slow,
    /// Half of it and then nothing: the load waits for more.
    Stalled,
}

/// SIGTERM: exit status 143, and everything undone by the command itself.
fn interrupted(lab: &Lab, driver: Driver, how: Pipe) -> Result<String> {
    let made = lab.made()?;
    let path = made.archive.clone();
    let folder = lab.scratch()?;
    let lith = lab.lith(driver, folder.path())?;
    let mut command = lith.command();
    command.args(["load", "-i", "-"]).stdin(Stdio::piped());
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut pipe = child.stdin.take().context("no pipe")?;
    // The pipe stays open until the thread is joined, which is after the load has ended.
    let (written, wait) = std::sync::mpsc::channel();
    let writer = std::thread::spawn(move || -> std::io::Result<_> {
        let bytes = std::fs::read(path)?;
        let (start, rest) = bytes.split_at(bytes.len() / 2);
        pipe.write_all(start)?;
        // Nobody listens any more when the test has failed already.
        written.send(()).ok();
        if how == Pipe::Slow {
            for part in rest.chunks(4096) {
                pipe.write_all(part)?;
                sleep(Duration::from_millis(5));
            }
        }
        Ok(pipe)
    });
    // An error: the writer has failed, and what lith says of it is told below.
    wait.recv_timeout(Duration::from_secs(120)).ok();
    sleep(Duration::from_millis(500));
    guards::terminate(&child);
    let output = process::collect(child, "lith load -i - (SIGTERM)".to_owned())?;
    // Fails when lith was gone before all was written, which is what is wanted.
    writer
        .join()
        .map_err(|_| anyhow::anyhow!("writing panicked"))?
        .ok();
    ensure!(
        output.status.code() == Some(143),
        "expected exit status 143: {output}"
    );
    lith.nothing_staged()?;
    ensure!(lith.names_in("layers")?.is_empty(), "layers were left");
    ensure!(lith.images()?.is_empty(), "an image is listed");
    Ok("exit status 143, nothing left".to_owned())
}

fn at_once(lab: &Lab, driver: Driver) -> Result<String> {
    let made = lab.made()?;
    let path = made.archive.to_string_lossy().into_owned();
    let folder = lab.scratch()?;
    let lith = lab.lith(driver, folder.path())?;
    let loads = (0..AT_ONCE).map(|_| start(&lith, &["load", "-i", &path]));
    finish(loads.collect::<Result<Vec<_>>>()?)?;
    let archive = Archive::open(&made.archive)?;
    ensure!(
        lith.images()?.len() == 1,
        "{} images are listed",
        lith.images()?.len()
    );
    let layers = lith.names_in("layers")?.len();
    ensure!(
        layers == archive.single()?.layers.len(),
        "{layers} layers in the store"
    );
    steps::expect_listed(&lith, &archive)?;
    steps::save_twice(&lith, &archive, folder.path())?;

    let alone = lab.lith(driver, &folder.path().join("alone"))?;
    alone.load(&made.archive)?;
    let (found, expected) = (counts(&lith)?, counts(&alone)?);
    ensure!(
        found == expected,
        "{found:?} after {AT_ONCE} loads, {expected:?} after one"
    );
    Ok(format!("{AT_ONCE} loads, one image, nothing left over"))
}

/// Loads and removals of the same image: every load succeeds, and so does the last word.
fn removals(lab: &Lab, driver: Driver) -> Result<String> {
    let made = lab.made()?;
    let path = made.archive.to_string_lossy().into_owned();
    let folder = lab.scratch()?;
    let lith = lab.lith(driver, folder.path())?;
    lith.load(&made.archive)?;
    for _ in 0..3 {
        let removal = start(&lith, &["rmi", made.name])?;
        let loads = (0..3).map(|_| start(&lith, &["load", "-i", &path]));
        let loads = loads.collect::<Result<Vec<_>>>()?;
        // The name may be gone or not yet there: only a crash would be wrong.
        let output = process::collect(removal, "lith rmi".to_owned())?;
        ensure!(matches!(output.status.code(), Some(0 | 1)), "{output}");
        finish(loads)?;
    }
    lith.load(&made.archive)?;
    let archive = Archive::open(&made.archive)?;
    steps::save_twice(&lith, &archive, folder.path())?;
    lith.ok(&["rmi", made.name])?;
    let layers = lith.names_in("layers")?;
    ensure!(
        layers.is_empty(),
        "left after the last removal: {}",
        layers.join(", ")
    );
    Ok("9 loads against 3 removals".to_owned())
}

fn finish(children: Vec<Child>) -> Result<()> {
    // All are read at the same time: a full pipe would hold one up.
    let waiting: Vec<_> = children
        .into_iter()
        .map(|child| std::thread::spawn(|| process::collect(child, "lith load".to_owned())))
        .collect();
    for thread in waiting {
        thread
            .join()
            .map_err(|_| anyhow::anyhow!("waiting panicked"))??
            .ok()?;
    }
    Ok(())
}
