//! Real images through lith and through the other tools of the field, end to end.
//!
//! Every case is a small function with a name. It passes (and says what it saw), is skipped
//! (and says what is missing), or fails. Whatever is mounted or started is undone when the
//! run ends, a failed one included.

mod cases;
mod compare;
mod guards;
mod images;
mod lab;
mod peers;
mod report;

pub(crate) use guards::{Mounted, sweep, sweep_inside};
pub(crate) use peers::{Docker, Podman, Settings};

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::{random, workspace};
use lab::{Effort, Lab};
use report::{Outcome, Report};

/// Arguments of `cargo xtask e2e`.
#[derive(clap::Args, Default)]
pub(crate) struct Options {
    /// Where images, stores and mounts are made [default: `e2e` in cargo's target folder].
    #[arg(long)]
    work: Option<PathBuf>,
    /// Runs the cases whose name contains this; may be given several times.
    #[arg(long)]
    only: Vec<String>,
    /// Leaves images and stores where they were made.
    #[arg(long)]
    keep: bool,
    /// Lists the names of all cases and runs none.
    #[arg(long)]
    list: bool,
    /// How often four processes are set upon one store at once, with each driver [default: 50].
    #[arg(long)]
    rounds: Option<u32>,
    /// How many loading processes are killed, half of them with each driver [default: 100].
    #[arg(long)]
    kills: Option<u32>,
    /// Makes the choices of an earlier run again [default: other ones each time].
    #[arg(long)]
    seed: Option<u64>,
    /// Tests this program instead of building one.
    #[arg(long)]
    lith: Option<PathBuf>,
}

/// Runs the cases and prints the table; an error when any of them failed.
pub(crate) fn run(options: &Options) -> Result<()> {
    let wanted = |name: &str| {
        options.only.is_empty() || options.only.iter().any(|part| name.contains(part.as_str()))
    };
    let mut cases = cases::all();
    cases.retain(|case| wanted(&case.name));
    if cases.is_empty() {
        bail!(
            "no case has {} in its name; see --list",
            options.only.join(" or ")
        );
    }
    if options.list {
        cases.iter().for_each(|case| println!("{}", case.name));
        return Ok(());
    }
    let program = match &options.lith {
        Some(program) => program.canonicalize().context("--lith")?,
        None => workspace::build_lith()?,
    };
    let target = workspace::target()?;
    let work = options.work.clone().unwrap_or_else(|| target.join("e2e"));
    let effort = Effort {
        rounds: options.rounds.unwrap_or(50),
        kills: options.kills.unwrap_or(100),
        seed: options.seed.unwrap_or_else(random::seed),
    };
    let cache = target.join("e2e-cache");
    let lab = Lab::new(&work, &cache, program, options.keep, effort)?;
    let interrupted = on_interrupt()?;

    let mut report = Report::default();
    for case in &cases {
        if interrupted.load(Ordering::Relaxed) {
            report.add(&case.name, Outcome::Failed("interrupted".to_owned()), 0.0);
            break;
        }
        let started = Instant::now();
        let outcome = Outcome::from((case.run)(&lab));
        report.add(&case.name, outcome, started.elapsed().as_secs_f64());
    }
    for left in lab.finish() {
        report.add("cleanup", Outcome::Failed(left), 0.0);
    }
    report.finish()
}

/// An interrupted run still has to undo its mounts, so the signal only sets a flag.
fn on_interrupt() -> Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&flag))?;
    }
    Ok(flag)
}
