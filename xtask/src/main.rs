//! Everything of lith that is not the product: `cargo xtask <task>`.
//!
//! - `demo`: the shortest path through lith, on an image made on the spot.
//! - `e2e`: real images, real peers, both drivers; prints a table.
//! - `ci`: what the project demands of every commit, `e2e` included.
//! - `bench`: what commands cost, as figures.
//! - `damage`: archives of every format, cut off anywhere, with every byte changed.
//! - `header`: the C header of the plugin ABI.
//! - `tidy`: the rules about the workspace that no compiler checks.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "talking to the person at the terminal is this program's whole job"
)]

mod archive;
mod bench;
mod ci;
mod damage;
mod demo;
mod e2e;
mod header;
mod lith;
mod measure;
mod process;
mod random;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Tasks of the lith workspace")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Makes a small image, loads it, shows it, saves it, compares every byte.
    Demo,
    /// Loads and saves real images with both drivers and the peers of this machine.
    E2e(e2e::Options),
    /// Runs all checks and tests of the project.
    Ci(ci::Options),
    /// Measures what commands cost and prints a table.
    Bench(bench::Options),
    /// Loads archives of every format that are cut off or changed, at every byte.
    Damage(damage::Options),
    /// Makes the C header of the plugin ABI.
    Header(header::Options),
    /// Checks the rules that the compiler does not know.
    Tidy,
    /// Runs one command and writes what it cost to a file (used by `e2e`).
    #[command(hide = true)]
    Measure(measure::Options),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Demo => demo::run(),
        Task::E2e(options) => e2e::run(&options),
        Task::Ci(options) => ci::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Damage(options) => damage::run(&options),
        Task::Header(options) => header::run(&options),
        Task::Tidy => tidy::run(),
        Task::Measure(options) => return measure::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
