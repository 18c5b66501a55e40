//! Loading and saving real images, lith and its peers in turn, each on a file system of its own.
//!
//! ext4 creates files slowly for minutes after many were deleted: so every single run has a fresh
//! file system, on which nothing is deleted before it is measured. What is compared are ratios
//! within one run of this program; the machine may be busy with other things.

mod chart;
mod commands;
mod corpus;
mod debian13;
mod disk;
mod machine;
mod opened;
mod report;
mod subject;
mod targets;
mod tools;
mod trial;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use self::debian13::Debian13;
use self::machine::Machine;
use self::report::{Case, Report, Row};
use self::subject::Subject;
use self::tools::{Tool, Work};
use self::trial::Bench;
use super::Setting;
use crate::e2e::Settings;
use crate::workspace;

/// Images of `--quick` have one of so many files.
const QUICK: usize = 10;

/// Arguments of `cargo xtask bench images`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// docker-archives of one image each to load and save [default: two that are made, of the
    /// shape of a Python and of a Node application, and kept in cargo's target folder].
    #[arg(long = "archive", value_name = "FILE")]
    archives: Vec<PathBuf>,
    /// How often each is done; the medians are shown.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// One round with small images of the works that are compared most, and no files counted: less
    /// than two minutes. Starting programs weighs more in it than with real images.
    #[arg(long, conflicts_with_all = ["archives", "rounds"])]
    quick: bool,
    /// Does not run everything once more under strace to count the files that are opened.
    #[arg(long)]
    uncounted: bool,
    /// Only works whose names have this in them.
    #[arg(long, value_name = "TEXT")]
    works: Vec<String>,
    /// Only tools whose names have this in them.
    #[arg(long, value_name = "TEXT")]
    tools: Vec<String>,
    /// Root folder of a Debian 13 whose podman and skopeo are measured, too.
    #[arg(long, value_name = "DIR")]
    trixie: Option<PathBuf>,
    /// Makes that root folder with debootstrap if it is missing [default: in cargo's target
    /// folder].
    #[arg(long)]
    with_trixie: bool,
    /// Writes images.json, images.md and images.svg here.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    setting: Setting,
}

/// Measures everything, prints tables.
pub(crate) fn run(options: &Options) -> Result<()> {
    let program = options.setting.program()?;
    let cache = workspace::target()?.join("bench-cache");
    let folder = options.setting.folder()?;
    let settings = Settings::new(&folder.path().join("home"))?;
    let archives = match options.archives.as_slice() {
        [] => corpus::archives(&cache, if options.quick { QUICK } else { 1 })?,
        some => some.to_vec(),
    };
    let works: Vec<Work> = Work::ALL.into_iter().filter(|w| options.work(*w)).collect();
    let subjects = subjects(&archives, folder.path(), &works)?;
    let debian13 = options.debian13(&cache, folder.path(), &settings, &archives)?;
    let rounds = if options.quick { 1 } else { options.rounds };
    let newer = debian13.as_ref().map(|debian| &debian.settings);
    let machine = Machine::look(&program, &settings, newer, rounds);
    let bench = Bench {
        program,
        settings,
        folder: folder.path().to_owned(),
        debian13,
    };
    let mut report = Report {
        machine,
        cases: Vec::new(),
    };
    for subject in &subjects {
        let mut cases: Vec<Case> = works
            .iter()
            .map(|w| options.case(&bench, subject, *w))
            .collect();
        if !options.quick
            && let Some(case) = cases.first_mut()
        {
            // Memory that a machine has not used for long is slow to get the first time.
            subject.warm()?;
            case.round(&bench, subject, 0);
            case.rows.iter_mut().for_each(Row::forget);
        }
        // Works are compared with each other, too: what makes a machine slow for a while is to
        // meet all of them.
        for round in 0..rounds {
            subject.warm()?;
            for case in &mut cases {
                case.round(&bench, subject, round);
            }
        }
        if !options.quick && !options.uncounted {
            for case in &mut cases {
                case.count_opened(&bench, subject);
            }
        }
        report.cases.append(&mut cases);
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

fn subjects(archives: &[PathBuf], folder: &Path, works: &[Work]) -> Result<Vec<Subject>> {
    let archives = archives.iter().enumerate();
    archives
        .map(|(number, archive)| {
            let place = folder.join(format!("subject-{number}"));
            eprintln!("preparing {}", archive.display());
            Subject::new(archive, &place, works)
                .with_context(|| format!("cannot use {}", archive.display()))
        })
        .collect()
}

impl Options {
    /// Nothing is measured yet.
    fn case(&self, bench: &Bench, subject: &Subject, work: Work) -> Case {
        let tools = work.tools().iter().copied();
        let tools = tools.filter(|tool| self.tool(*tool) && bench.has(*tool));
        Case {
            image: subject.name.clone(),
            bytes: subject.bytes,
            work,
            rows: tools.map(Row::new).collect(),
        }
    }

    fn work(&self, work: Work) -> bool {
        (work.quick() || !self.quick) && wanted(&self.works, work.name())
    }

    fn tool(&self, tool: Tool) -> bool {
        wanted(&self.tools, tool.name())
    }

    fn debian13(
        &self,
        cache: &Path,
        folder: &Path,
        settings: &Settings,
        archives: &[PathBuf],
    ) -> Result<Option<Debian13>> {
        let root = match &self.trixie {
            Some(root) => root.clone(),
            None if self.with_trixie => cache.join("trixie"),
            None => return Ok(None),
        };
        if self.with_trixie {
            debian13::install(&root, settings)?;
        }
        let archives: Vec<PathBuf> = archives
            .iter()
            .filter_map(|archive| Some(archive.canonicalize().ok()?.parent()?.to_owned()))
            .collect();
        let mut folders: Vec<&Path> = vec![folder];
        for archive in &archives {
            if !folders.contains(&&**archive) {
                folders.push(archive);
            }
        }
        let root = root.canonicalize().context("--trixie")?;
        Debian13::enter(&root, &folder.join("debian-13"), settings, &folders).map(Some)
    }
}

/// Whether one of the texts is in a name, or there are none.
fn wanted(texts: &[String], name: &str) -> bool {
    texts.is_empty() || texts.iter().any(|text| name.contains(text))
}

impl Case {
    /// Measures every tool once, each round beginning with another one.
    fn round(&mut self, bench: &Bench, subject: &Subject, round: usize) {
        let count = self.rows.len();
        for at in 0..count {
            let Some(row) = self.rows.get_mut((at + round) % count) else {
                continue;
            };
            let (what, tool) = (self.work.name(), row.tool.name());
            eprintln!("{}: {what} by {tool}, round {}", subject.name, round + 1);
            match bench.time(subject, self.work, row.tool) {
                Ok(sample) => row.samples.push(sample),
                Err(error) => row.fail(&error),
            }
        }
    }

    /// Does all once more, to see how many files are opened.
    fn count_opened(&mut self, bench: &Bench, subject: &Subject) {
        for row in &mut self.rows {
            match bench.opened(subject, self.work, row.tool) {
                Ok(opened) => row.opened = opened,
                Err(error) => row.fail(&error),
            }
        }
    }
}
