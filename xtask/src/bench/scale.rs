//! Whole commands on a store with few images and on one with many, and the ratio of the two.
//!
//! Every image has a config and a small layer of its own over a base that all share. Stores lie
//! in a folder of cargo's target folder (or `--work`), so that the figures are those of a real
//! disk. All times are medians.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::Setting;
use crate::archive::Series;
use crate::e2e::{Podman, Settings};
use crate::lith::{Driver, Lith};
use crate::process::{self, Running};

/// Images in the small store.
const FEW: usize = 10;
/// The image that commands are asked for: both stores have it.
const ASKED: usize = 7;

/// Arguments of `cargo xtask bench scale`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Images in the large store.
    #[arg(long, default_value_t = 10_000)]
    images: usize,
    /// Times podman's `images` with this many images, too; loading them takes minutes.
    #[arg(long, value_name = "IMAGES")]
    podman: Option<usize>,
    /// How often each command is run.
    #[arg(long, default_value_t = 15)]
    runs: usize,
    /// Keeps trees with vfs instead of overlay.
    #[arg(long)]
    vfs: bool,
    #[command(flatten)]
    setting: Setting,
}

/// Makes both stores, runs every command on both in turn, prints a table.
pub(crate) fn run(options: &Options) -> Result<()> {
    let program = options.setting.program()?;
    let folder = options.setting.folder()?;
    let driver = if options.vfs {
        Driver::Vfs
    } else {
        Driver::Overlay
    };
    let make = |name: &str, images: usize| {
        let root = folder.path().join(name);
        let lith = Lith {
            program: program.clone(),
            root,
            driver: Some(driver),
        };
        Store::make(lith, images, folder.path())
    };
    let few = make("few", FEW)?;
    let many = make("many", options.images)?;
    let further = folder.path().join("further.tar");
    let (start, end) = (options.images, options.images + 1);
    Series { start, end }.write(&further)?;

    println!(
        "\n{:22} {:>10} {:>10} {:>8}",
        "command",
        format!("{FEW} (ms)"),
        format!("{} (ms)", options.images),
        "ratio"
    );
    let mut images = 0.0;
    for step in steps(&further, &Series::name(start)) {
        let [one, other] = step.measure(&few, &many, options.runs)?;
        println!(
            "{:22} {one:10.1} {other:10.1} {:8.2}",
            step.what,
            other / one
        );
        if step.what == "images" {
            images = other;
        }
    }
    for store in [&few, &many] {
        println!(
            "loading {} images took {:.1} s",
            store.images, store.seconds
        );
    }
    if let Some(count) = options.podman {
        let theirs = podman(count, folder.path(), options.runs)?;
        println!(
            "podman images with {count} images: {theirs:.1} ms; lith with {}: {images:.1} ms, \
             1/{:.0} of it",
            options.images,
            theirs / images
        );
    }
    folder
        .close()
        .context("cannot remove the folder of the stores")
}

/// A store and how long its images took to load.
struct Store {
    lith: Lith,
    images: usize,
    seconds: f64,
}

impl Store {
    fn make(lith: Lith, images: usize, folder: &Path) -> Result<Store> {
        let archive = folder.join("series.tar");
        let (start, end) = (0, images);
        Series { start, end }.write(&archive)?;
        println!("loading {images} images");
        let started = Instant::now();
        lith.load(&archive)?;
        let seconds = started.elapsed().as_secs_f64();
        std::fs::remove_file(&archive)?;
        // What was written for this is not to be paid for by what is timed.
        rustix::fs::sync();
        Ok(Store {
            lith,
            images,
            seconds,
        })
    }
}

/// A command to be timed, with what has to happen before and after, untimed.
struct Step {
    what: &'static str,
    before: Vec<String>,
    timed: Vec<String>,
    after: Vec<String>,
}

impl Step {
    fn of(what: &'static str, timed: &[&str]) -> Step {
        Step::within(what, &[], timed, &[])
    }

    fn within(what: &'static str, before: &[&str], timed: &[&str], after: &[&str]) -> Step {
        let own = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Step {
            what,
            before: own(before),
            timed: own(timed),
            after: own(after),
        }
    }

    /// Medians on both stores, run in turn so that a busy machine is busy for both.
    fn measure(&self, few: &Store, many: &Store, runs: usize) -> Result<[f64; 2]> {
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..runs.max(1) {
            for (store, times) in [few, many].into_iter().zip(&mut times) {
                times.push(self.once(&store.lith)?);
            }
        }
        Ok(times.map(median))
    }

    fn once(&self, lith: &Lith) -> Result<f64> {
        if !self.before.is_empty() {
            lith.ok(&self.before)?;
        }
        let milliseconds = time(lith.command().args(&self.timed))?;
        if !self.after.is_empty() {
            lith.ok(&self.after)?;
        }
        Ok(milliseconds)
    }
}

fn steps(further: &Path, added: &str) -> Vec<Step> {
    let name = &*Series::name(ASKED);
    let further = &*further.to_string_lossy();
    let load = ["load", "-q", "-i", further];
    vec![
        // No store is opened: what starting a process costs.
        Step::of("--version", &["--version"]),
        // Opens the store and asks the kernel only.
        Step::of("open (mounts)", &["mounts"]),
        Step::of("images", &["images"]),
        Step::of("images --json", &["images", "--json"]),
        Step::of("images NAME", &["images", name]),
        Step::of("inspect", &["inspect", name]),
        Step::of("history", &["history", name]),
        Step::of("layers NAME", &["layers", name]),
        Step::within(
            "tag",
            &[],
            &["tag", name, "scale/t:1"],
            &["untag", "scale/t:1"],
        ),
        Step::within(
            "untag",
            &["tag", name, "scale/t:1"],
            &["untag", "scale/t:1"],
            &[],
        ),
        Step::within("load", &[], &load, &["rmi", added]),
        Step::within("rmi", &load, &["rmi", added], &[]),
        Step::of("layers", &["layers"]),
        Step::of("tree", &["tree"]),
        Step::of("prune --dry-run", &["prune", "--dry-run"]),
        Step::of("info", &["info"]),
    ]
}

/// How long a command takes that has to succeed, its output thrown away.
fn time(command: &mut Command) -> Result<f64> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let line = process::line(command);
    let started = Instant::now();
    let child = command
        .spawn()
        .with_context(|| format!("cannot start `{line}`"))?;
    let output = child.wait_with_output()?;
    let milliseconds = started.elapsed().as_secs_f64() * 1e3;
    ensure!(
        output.status.success(),
        "`{line}` ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(milliseconds)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// The median of `podman images` in a store with the same images.
fn podman(images: usize, folder: &Path, runs: usize) -> Result<f64> {
    let settings = Settings::new(&folder.join("home"))?;
    let podman = Podman::new(&settings, &folder.join("podman"))?;
    let archive = folder.join("series.tar");
    let (start, end) = (0, images);
    Series { start, end }.write(&archive)?;
    println!("loading {images} images with podman");
    let load = Running::start(&mut podman.load_command(&archive)?, Stdio::null())?;
    load.finish()?.ok()?;
    let listed = process::run(podman.podman()?.args(["images", "-q"]))?.ok()?;
    let count = listed.text().lines().count();
    ensure!(count == images, "podman lists {count} of {images} images");
    let times = (0..runs.max(1)).map(|_| time(podman.podman()?.arg("images")));
    Ok(median(times.collect::<Result<_>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert!((median(vec![9.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
    }
}
