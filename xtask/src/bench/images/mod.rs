//! Loading and saving real images, lith and its peers in turn, each on a file system of its own.
//!
//! ext4 creates files slowly for minutes after many were deleted: so every single run has a fresh
//! file system, on which nothing is deleted before it is measured. What is compared are ratios
//! within one run of this program; the machine may be busy with other things.

mod chart;
mod disk;
mod report;
mod subject;
mod tools;
mod trial;

use std::path::PathBuf;

use anyhow::Result;

use self::report::Report;
use self::subject::Subject;
use self::tools::{Tool, Work};
use self::trial::Bench;
use super::Setting;
use crate::e2e::Settings;

/// Arguments of `cargo xtask bench images`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// docker-archives to load and save [default: one of this machine's own files].
    #[arg(long = "archive", value_name = "FILE")]
    archives: Vec<PathBuf>,
    /// How often each is done; the medians are shown.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// One round, and no more than the machine's own files: about two minutes.
    #[arg(long, conflicts_with_all = ["archives", "rounds"])]
    quick: bool,
    /// Only works or tools whose names have this in them.
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// Writes images.json, images.md and images.svg here.
    #[arg(long)]
    out: Option<PathBuf>,
    #[command(flatten)]
    setting: Setting,
}

/// Measures everything, prints a table.
pub(crate) fn run(options: &Options) -> Result<()> {
    let program = options.setting.program()?;
    let folder = options.setting.folder()?;
    let settings = Settings::new(&folder.path().join("home"))?;
    let subjects = Subject::all(&options.archives, &settings, folder.path())?;
    let bench = Bench {
        program,
        settings,
        folder: folder.path().to_owned(),
    };
    let rounds = if options.quick { 1 } else { options.rounds };
    let mut report = Report::default();
    for subject in &subjects {
        for work in Work::ALL {
            let tools: Vec<Tool> = work
                .tools()
                .filter(|tool| wanted(options, work, *tool))
                .collect();
            for round in 0..rounds {
                for tool in &tools {
                    eprintln!(
                        "{} {} by {}, round {}",
                        work.name(),
                        subject.name,
                        tool.name(),
                        round + 1
                    );
                    let outcome = bench.run(subject, work, *tool, round);
                    report.add(subject, work, *tool, outcome);
                }
            }
        }
    }
    print!("{}", report.markdown());
    if let Some(out) = &options.out {
        std::fs::create_dir_all(out)?;
        std::fs::write(out.join("images.json"), report.json())?;
        std::fs::write(out.join("images.md"), report.markdown())?;
        std::fs::write(out.join("images.svg"), chart::draw(&report))?;
    }
    Ok(())
}

/// Every text has to be in the name of the work or of the tool.
fn wanted(options: &Options, work: Work, tool: Tool) -> bool {
    let fits = |text: &String| work.name().contains(text) || tool.name().contains(text);
    options.only.is_empty() || options.only.iter().any(fits)
}
