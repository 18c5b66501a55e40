//! What every driver must do, as named cases over `dyn Driver`.
//!
//! The cases are those of the field's suites for graph drivers and snapshotters, and a list of
//! behaviours that implementations get wrong. Each runs on a driver of its own in a folder of
//! its own. Cases for powers that a driver does not offer are skipped by name, with the reason.
//!
//! ```no_run
//! use lith_drivers::conformance;
//! use lith_drivers::{DriverOptions, open_driver};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let open = |home: &std::path::Path| open_driver("vfs", home, &DriverOptions::default());
//! let report = conformance::run(&open, "/tmp/scratch".as_ref())?;
//! for case in &report.cases {
//!     println!("{} {}", case.outcome.word(), case.name);
//! }
//! assert!(report.passed());
//! # Ok(())
//! # }
//! ```

mod case;
mod chains;
mod changed;
mod entries;
mod files;
mod hiding;
mod layers;
mod mounted;
mod shown;
mod table;

use std::io;
use std::path::Path;

use crate::driver::Driver;
use crate::error::DriverError;

use case::{Case, Stop};

/// Opens the driver to be tested on a folder that need not be there. It is called several times for
/// one folder, too: as another process would.
pub type Open<'a> = dyn Fn(&Path) -> Result<Box<dyn Driver>, DriverError> + 'a;

/// What came of one case.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CaseReport {
    /// Its name: that of the suite it comes from or the number of the behaviour, and a word.
    pub name: &'static str,
    /// What it asserts.
    pub asserts: &'static str,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All that it asserts holds.
    Passed,
    /// It does not; why.
    Failed(String),
    /// It was not tried; why.
    Skipped(String),
}

impl Outcome {
    /// Returns a stable word for it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed(_) => "failed",
            Self::Skipped(_) => "skipped",
        }
    }

    /// Returns why it did not pass.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Passed => None,
            Self::Failed(reason) | Self::Skipped(reason) => Some(reason),
        }
    }
}

/// What came of all cases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// In the order in which they ran, which is always the same.
    pub cases: Vec<CaseReport>,
}

impl Report {
    /// Returns whether no case failed.
    #[must_use]
    pub fn passed(&self) -> bool {
        let failed = |case: &CaseReport| matches!(case.outcome, Outcome::Failed(_));
        !self.cases.iter().any(failed)
    }
}

/// Returns the name of every case and what it asserts.
#[must_use]
pub fn cases() -> Vec<(&'static str, &'static str)> {
    let cases = table::CASES.iter();
    cases.map(|case| (case.name, case.asserts)).collect()
}

/// Runs all cases, in folders below `scratch`, which is made when it is missing; they are removed as
/// the cases end.
///
/// # Errors
/// When `scratch` cannot be made. What goes wrong in a case is in the report.
pub fn run(open: &Open<'_>, scratch: &Path) -> io::Result<Report> {
    run_some(open, scratch, &|_| true)
}

/// Runs the cases whose names are wanted.
///
/// # Errors
/// As [`run`].
pub fn run_some(
    open: &Open<'_>,
    scratch: &Path,
    wanted: &dyn Fn(&str) -> bool,
) -> io::Result<Report> {
    std::fs::create_dir_all(scratch)?;
    let mut report = Report::default();
    for case in table::CASES.iter().filter(|case| wanted(case.name)) {
        let folder = scratch.join(case.name);
        let done = Case::new(open, &folder).and_then(|bench| {
            let done = (case.run)(&bench);
            // Also when the case has failed: what it left mounted must not stay.
            let ended = bench.end();
            done.and(ended)
        });
        let _ = std::fs::remove_dir_all(&folder);
        let outcome = match done {
            Ok(()) => Outcome::Passed,
            Err(Stop::Failed(reason)) => Outcome::Failed(reason),
            Err(Stop::Skipped(reason)) => Outcome::Skipped(reason),
        };
        report.cases.push(CaseReport {
            name: case.name,
            asserts: case.asserts,
            outcome,
        });
    }
    Ok(report)
}
