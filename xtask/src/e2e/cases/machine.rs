//! The large archive: bytes, memory, tree, and time against podman's.
//!
//! Loading it is dear, so one load (measured, on a fresh ext4 file system) serves all cases.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::rc::Rc;

use anyhow::{Context, Result, ensure};

use super::{Cases, steps};
use crate::archive::{self, Archive};
use crate::e2e::compare::{extract, tree};
use crate::e2e::guards::{LithMount, Mounted};
use crate::e2e::lab::Lab;
use crate::e2e::peers::Podman;
use crate::e2e::report::skip;
use crate::lith::{Driver, Lith};
use crate::measure::{self, Cost};

/// What load and save may use at most.
const MEMORY_KIB: u64 = 64 * 1024;
/// Room for a copy per layer.
const DISK: u64 = 8 << 30;

pub(super) fn add(cases: &mut Cases, driver: Driver) {
    cases.add("machine/bytes", move |lab| bytes(lab, driver));
    cases.add("machine/memory", move |lab| memory(lab, driver));
    cases.add("machine/memory-from-stdin", move |lab| stdin(lab, driver));
    cases.add("machine/tree", move |lab| mounted(lab, driver));
    cases.add("machine/time-against-podman", move |lab| time(lab, driver));
}

/// A store with the large image, and what making it has cost.
pub(crate) struct MachineRun {
    lith: Lith,
    folder: PathBuf,
    load: Cost,
    save: Cost,
    saved: PathBuf,
    /// Dropped last: the store lies on it.
    _disk: Mounted,
}

fn run(lab: &Lab, driver: Driver) -> Result<Rc<MachineRun>> {
    lab.machine_runs.get(driver, || {
        if !rustix::process::geteuid().is_root() {
            return skip("a file system of its own needs root");
        }
        let made = lab.machine()?;
        let folder = lab.folder(&format!("machine-{}", driver.name()))?;
        let place = folder.join("disk");
        let disk = Mounted::fresh_ext4(&place, DISK)?;
        let lith = lab.lith(driver, &place)?;
        let report = folder.join("cost.json");
        let mut load = lith.command();
        load.arg("load").arg("-i").arg(&made.archive);
        settle();
        let (_, load) =
            measure::cost(&load, Stdio::null(), &report).context("loading the large archive")?;
        let saved = folder.join("saved.tar");
        let mut save = lith.command();
        save.arg("save").arg("-o").arg(&saved).arg(made.name);
        let (_, save) =
            measure::cost(&save, Stdio::null(), &report).context("saving the large archive")?;
        Ok(MachineRun {
            lith,
            folder,
            load,
            save,
            saved,
            _disk: disk,
        })
    })
}

/// Lets the kernel write what earlier cases left, so that nobody else pays for it.
fn settle() {
    rustix::fs::sync();
}

fn bytes(lab: &Lab, driver: Driver) -> Result<String> {
    let run = run(lab, driver)?;
    let made = lab.machine()?;
    let (before, after) = (Archive::open(&made.archive)?, Archive::open(&run.saved)?);
    steps::same(&before, &after)?;
    let again = run.folder.join("again.tar");
    run.lith.save(&again, &before.names())?;
    let difference = archive::first_difference(File::open(&run.saved)?, File::open(&again)?)?;
    ensure!(
        difference.is_none(),
        "saving twice: the files differ at byte {difference:?}"
    );
    std::fs::remove_file(&again)?;
    run.lith.nothing_staged()?;
    Ok(format!(
        "{}, {} layers",
        steps::megabytes(made.bytes),
        made.layers.len()
    ))
}

fn memory(lab: &Lab, driver: Driver) -> Result<String> {
    let run = run(lab, driver)?;
    let seen = format!(
        "load {:.1} MiB, save {:.1} MiB",
        run.load.peak_kib as f64 / 1024.0,
        run.save.peak_kib as f64 / 1024.0
    );
    let most = run.load.peak_kib.max(run.save.peak_kib);
    ensure!(
        most < MEMORY_KIB,
        "{seen}; allowed are {} MiB",
        MEMORY_KIB / 1024
    );
    Ok(seen)
}

/// From a pipe nothing can be read twice, and still nothing may be held in memory.
fn stdin(lab: &Lab, driver: Driver) -> Result<String> {
    let run = run(lab, driver)?;
    let made = lab.machine()?;
    let place = run.folder.join("disk/stdin");
    let lith = lab.lith(driver, &place)?;
    let mut load = lith.command();
    load.args(["load", "-i", "-"]);
    let mut cat = Command::new("cat");
    let mut cat = cat.arg(&made.archive).stdout(Stdio::piped()).spawn()?;
    let pipe = cat.stdout.take().context("no pipe")?;
    let loaded = measure::cost(&load, pipe.into(), &run.folder.join("cost.json"));
    cat.wait()?;
    let (_, cost) = loaded?;
    steps::expect_listed(&lith, &Archive::open(&made.archive)?)?;
    lith.nothing_staged()?;
    std::fs::remove_dir_all(&place)?;
    let seen = format!(
        "load {:.1} MiB in {:.1} s",
        cost.peak_kib as f64 / 1024.0,
        cost.seconds
    );
    ensure!(
        cost.peak_kib < MEMORY_KIB,
        "{seen}; allowed are {} MiB",
        MEMORY_KIB / 1024
    );
    Ok(seen)
}

fn mounted(lab: &Lab, driver: Driver) -> Result<String> {
    let run = run(lab, driver)?;
    let made = lab.machine()?;
    let reference = lab.references.get("machine", || {
        let target = lab.folder("machine-unpacked")?;
        extract::extract(&made.layers, &target)?;
        Ok(target)
    })?;
    let target = run.folder.join("tree");
    let mount = LithMount::new(&run.lith, made.name, &target)?;
    let seen = tree::compare(&target, &reference, &tree::nothing)?;
    mount.leave()?;
    Ok(format!(
        "{} entries, {} equal",
        seen.entries,
        steps::megabytes(seen.bytes)
    ))
}

/// The same load by podman, with the driver of the same kind, on a file system as fresh.
fn time(lab: &Lab, driver: Driver) -> Result<String> {
    let run = run(lab, driver)?;
    let made = lab.machine()?;
    let place = run.folder.join("podman-disk");
    let disk = Mounted::fresh_ext4(&place, DISK)?;
    let podman = Podman::with_storage(&lab.settings, &place.join("p"), driver.name())?;
    settle();
    let report = run.folder.join("cost.json");
    let command = podman.load_command(&made.archive)?;
    let (_, theirs) = measure::cost(&command, Stdio::null(), &report)?;
    drop(podman);
    drop(disk);
    let ratio = run.load.seconds / theirs.seconds;
    Ok(format!(
        "load {:.1} s, podman {:.1} s: ratio {ratio:.2} (save {:.1} s)",
        run.load.seconds, theirs.seconds, run.save.seconds
    ))
}
