//! What every commit has to pass, in the order in which failing is cheapest.

use std::time::Instant;

use anyhow::Result;

use crate::{e2e, header, process, tidy, workspace};

/// Arguments of `cargo xtask ci`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Leaves out the end-to-end run.
    #[arg(long)]
    no_e2e: bool,
}

/// Runs everything; the first failure ends it.
pub(crate) fn run(options: &Options) -> Result<()> {
    step("tidy", tidy::run)?;
    step("header", header::check)?;
    step("fmt", || {
        process::show(workspace::cargo().args(["fmt", "--all", "--check"]))
    })?;
    step("clippy", || {
        let all = [
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ];
        process::show(workspace::cargo().args(all))
    })?;
    step("doc", || {
        let mut doc = workspace::cargo();
        doc.env("RUSTDOCFLAGS", "-D warnings")
            .args(["doc", "--workspace", "--no-deps"]);
        process::show(&mut doc)
    })?;
    step("test", || {
        process::show(workspace::cargo().args(["test", "--workspace"]))
    })?;
    if !options.no_e2e {
        step("demo", crate::demo::run)?;
        step("e2e", || e2e::run(&e2e::Options::default()))?;
    }
    println!("ci: everything passed");
    Ok(())
}

fn step(name: &str, run: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("ci: {name}");
    let started = Instant::now();
    run()?;
    println!(
        "ci: {name} passed in {:.0} s",
        started.elapsed().as_secs_f64()
    );
    Ok(())
}
