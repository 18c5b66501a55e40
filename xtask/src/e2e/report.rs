//! What came of each case, as a line when it ends and as a table at the end.

use std::fmt;
use std::io::Write;

use anyhow::{Result, bail};

/// Prints a line. When nobody reads any more, the run still has to undo its mounts.
macro_rules! say {
    ($($text:tt)*) => {
        writeln!(std::io::stdout(), $($text)*).ok()
    };
}

/// A reason not to run a case, or a failure that others share.
///
/// What several cases need is made once; when that fails, each of them ends the same way.
#[derive(Clone, Debug)]
pub(crate) enum Stop {
    Skip(String),
    Fail(String),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::Skip(reason) | Stop::Fail(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for Stop {}

/// Ends a case as skipped.
pub(crate) fn skip<T>(reason: impl Into<String>) -> Result<T> {
    Err(Stop::Skip(reason.into()).into())
}

impl From<anyhow::Error> for Stop {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast_ref::<Stop>() {
            Some(stop) => stop.clone(),
            None => Stop::Fail(format!("{error:#}")),
        }
    }
}

/// How a case ended.
pub(crate) enum Outcome {
    /// With what it saw, in a few words.
    Passed(String),
    Skipped(String),
    Failed(String),
}

impl From<Result<String>> for Outcome {
    fn from(result: Result<String>) -> Self {
        match result.map_err(Stop::from) {
            Ok(seen) => Outcome::Passed(seen),
            Err(Stop::Skip(reason)) => Outcome::Skipped(reason),
            Err(Stop::Fail(reason)) => Outcome::Failed(reason),
        }
    }
}

/// All lines so far.
#[derive(Default)]
pub(crate) struct Report {
    lines: Vec<(String, Outcome, f64)>,
}

impl Report {
    /// Adds a line and prints it at once: a run takes minutes.
    pub(crate) fn add(&mut self, name: &str, outcome: Outcome, seconds: f64) {
        let (word, text) = match &outcome {
            Outcome::Passed(text) => ("passed", text),
            Outcome::Skipped(text) => ("SKIPPED", text),
            Outcome::Failed(text) => ("FAILED", text),
        };
        say!(
            "{word:8}{name} ({seconds:.1} s) {}",
            text.replace('\n', "\n        ")
        );
        self.lines.push((name.to_owned(), outcome, seconds));
    }

    /// Prints the table and the closing line; an error when a case failed.
    pub(crate) fn finish(&self) -> Result<()> {
        let width = self
            .lines
            .iter()
            .map(|(name, ..)| name.len())
            .max()
            .unwrap_or(0);
        let (mut passed, mut failed, mut skipped) = (0, 0, 0);
        say!("\n{:width$}  result   seconds  what was seen", "case");
        for (name, outcome, seconds) in &self.lines {
            let (word, text) = match outcome {
                Outcome::Passed(text) => {
                    passed += 1;
                    ("passed", text)
                }
                Outcome::Skipped(text) => {
                    skipped += 1;
                    ("SKIPPED", text)
                }
                Outcome::Failed(text) => {
                    failed += 1;
                    ("FAILED", text)
                }
            };
            let first = text.lines().next().unwrap_or_default();
            say!("{name:width$}  {word:7}  {seconds:7.1}  {first}");
        }
        say!("\n{passed} passed, {failed} failed, {skipped} skipped");
        if failed > 0 {
            bail!("{failed} cases failed");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skip_stays_a_skip_through_context() {
        use anyhow::Context;
        let result: Result<String> = skip("no peer").context("making images");
        assert!(matches!(Outcome::from(result), Outcome::Skipped(reason) if reason == "no peer"));
    }

    #[test]
    fn anything_else_failed() {
        let result: Result<String> = Err(anyhow::anyhow!("cause").context("what"));
        assert!(matches!(Outcome::from(result), Outcome::Failed(text) if text == "what: cause"));
    }
}
