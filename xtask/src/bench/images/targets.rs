//! What must hold, and whether it does in these figures.

use serde_json::{Value, json};

use super::report::{Case, Report, Row};
use super::tools::{Side, Tool, Work};

/// Most that a process of lith's may have in memory.
const PEAK_MIB: f64 = 64.0;

/// Room that a file system gives and takes by itself while files are written.
const NOISE_MB: f64 = 4.0;

/// A promise and what was measured.
#[derive(Debug, PartialEq)]
pub(super) struct Target {
    pub(super) what: String,
    /// The image; empty where all are meant.
    pub(super) image: String,
    /// What is compared with the limit.
    pub(super) measured: f64,
    pub(super) limit: Limit,
    pub(super) unit: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

impl Target {
    pub(super) fn held(&self) -> bool {
        match self.limit {
            Limit::AtMost(limit) => self.measured <= limit,
            Limit::AtLeast(limit) => self.measured >= limit,
        }
    }

    pub(super) fn markdown(&self) -> String {
        let held = if self.held() { "held" } else { "**missed**" };
        format!(
            "| {} | {} | {:.2}{} | {held} |\n",
            self.what, self.image, self.measured, self.unit
        )
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "target": self.what,
            "image": self.image,
            "measured": self.measured,
            "held": self.held(),
        })
    }
}

impl Report {
    /// All targets that these figures tell something of.
    pub(super) fn targets(&self) -> Vec<Target> {
        let mut targets: Vec<Target> = self.cases.iter().flat_map(of_case).collect();
        targets.extend(self.between_cases());
        targets.extend(self.of_all());
        targets
    }

    /// One work against another on the same image.
    fn between_cases(&self) -> Vec<Target> {
        let case = |image: &str, work: Work| {
            let mut cases = self.cases.iter();
            cases.find(|case| case.image == image && case.work == work)
        };
        let wall = |image: &str, work: Work, tool: Tool| case(image, work)?.wall(tool);
        let mut targets = Vec::new();
        for image in self.images() {
            let again = wall(image, Work::LoadAgain, Tool::Lith);
            let first = wall(image, Work::Load, Tool::Lith);
            if let Some((again, first)) = again.zip(first) {
                targets.push(Target {
                    what: "load again: at most 5 % of the first load".to_owned(),
                    image: image.to_owned(),
                    measured: 100.0 * again / first,
                    limit: Limit::AtMost(5.0),
                    unit: " %",
                });
            }
            let at_once = wall(image, Work::FourAtOnce, Tool::Lith);
            let in_turn = wall(image, Work::FourInTurn, Tool::Lith);
            if let Some((at_once, in_turn)) = at_once.zip(in_turn) {
                targets.push(Target {
                    what: "four loads at once: at most as long as in turn".to_owned(),
                    image: image.to_owned(),
                    measured: at_once / in_turn,
                    limit: Limit::AtMost(1.0),
                    unit: "x",
                });
            }
        }
        targets
    }

    fn images(&self) -> Vec<&str> {
        let mut images: Vec<&str> = Vec::new();
        for case in &self.cases {
            if !images.contains(&&*case.image) {
                images.push(&case.image);
            }
        }
        images
    }

    /// What must hold in every run of lith's.
    fn of_all(&self) -> Vec<Target> {
        let own = |tool: Tool| tool.side() == Side::Own;
        let rows: Vec<&Row> = self.cases.iter().flat_map(|case| &case.rows).collect();
        let rows = rows.into_iter().filter(|row| own(row.tool));
        let peak = rows.clone().filter_map(|row| row.most(|s| s.cost.peak_kib));
        let temporary = rows
            .filter(|row| row.tool == Tool::Lith)
            .filter_map(|row| row.most(|sample| sample.temporary));
        let mut targets = Vec::new();
        if let Some(peak) = peak.max() {
            targets.push(Target {
                what: format!("peak memory of every command: below {PEAK_MIB:.0} MiB"),
                image: "all".to_owned(),
                measured: peak as f64 / 1024.0,
                limit: Limit::AtMost(PEAK_MIB),
                unit: " MiB",
            });
        }
        if let Some(temporary) = temporary.max() {
            targets.push(Target {
                what: "temporary bytes, in the store and beside it: none".to_owned(),
                image: "all".to_owned(),
                measured: temporary as f64 / 1e6,
                limit: Limit::AtMost(NOISE_MB),
                unit: " MB",
            });
        }
        targets
    }
}

/// What must hold for one work on one image.
fn of_case(case: &Case) -> Vec<Target> {
    let lith = Tool::Lith;
    let found = match case.work {
        Work::Load => vec![
            floor(case, 0.7),
            faster(case, lith, case.fastest(Side::Peer), 5.0),
            faster(case, lith, tool(case, Tool::Skopeo13), 4.0),
            faster(case, Tool::LithVfs, tool(case, Tool::PodmanVfs), 2.5),
        ],
        Work::LoadGzip => vec![
            faster(case, lith, tool(case, Tool::Skopeo), 5.0),
            faster(case, lith, tool(case, Tool::Skopeo13), 4.0),
        ],
        Work::Save | Work::SavePipe => vec![
            floor(case, 0.7),
            faster(case, lith, case.fastest(Side::Peer), 6.0),
            faster(case, lith, case.fastest(Side::Newer), 4.0),
        ],
        Work::FourAtOnce => vec![faster(case, lith, tool(case, Tool::Podman), 5.0)],
        Work::LoadPipe | Work::LoadAgain | Work::FourInTurn | Work::SaveOci | Work::SaveGzip => {
            Vec::new()
        }
    };
    found.into_iter().flatten().collect()
}

fn tool(case: &Case, tool: Tool) -> Option<(Tool, f64)> {
    Some((tool, case.wall(tool)?))
}

/// lith's time as a part of the floor's.
fn floor(case: &Case, most: f64) -> Option<Target> {
    let (tool, floor) = case.floor()?;
    Some(Target {
        what: format!(
            "{}: at most {most} of the time of {}",
            case.work.name(),
            tool.name()
        ),
        image: case.image.clone(),
        measured: case.wall(Tool::Lith)? / floor,
        limit: Limit::AtMost(most),
        unit: "x",
    })
}

/// How many times as long another tool takes.
fn faster(case: &Case, own: Tool, other: Option<(Tool, f64)>, least: f64) -> Option<Target> {
    let (other, wall) = other?;
    Some(Target {
        what: format!(
            "{}: {} at least {least} times as fast as {}",
            case.work.name(),
            own.name(),
            other.name()
        ),
        image: case.image.clone(),
        measured: wall / case.wall(own)?,
        limit: Limit::AtLeast(least),
        unit: "x",
    })
}

#[cfg(test)]
mod tests {
    use super::super::machine::Machine;
    use super::super::report::tests::{case, row};
    use super::*;

    fn report(cases: Vec<Case>) -> Report {
        Report {
            machine: Machine::default(),
            cases,
        }
    }

    fn held(report: &Report, text: &str) -> bool {
        let targets = report.targets();
        let mut found = targets.iter().filter(|target| target.what.contains(text));
        let target = found.next().expect("such a target");
        assert!(found.next().is_none(), "{text} is said of two");
        target.held()
    }

    #[test]
    fn what_holds_and_what_does_not_are_told_apart() {
        let rows = vec![
            row(Tool::Lith, &[1.0]),
            row(Tool::Skopeo, &[5.1]),
            row(Tool::Podman, &[9.0]),
            row(Tool::Skopeo13, &[3.9]),
            row(Tool::Tar, &[1.5]),
        ];
        let again = vec![row(Tool::Lith, &[0.06])];
        let report = report(vec![case(Work::Load, rows), case(Work::LoadAgain, again)]);
        assert!(held(&report, "0.7 of the time of tar"));
        assert!(held(&report, "at least 5 times as fast"));
        assert!(!held(&report, "skopeo (Debian 13)"));
        assert!(!held(&report, "5 % of the first"));
        assert!(held(&report, "64 MiB"));
        assert!(held(&report, "temporary"));
        assert!(report.markdown().contains("**missed**"));
    }

    #[test]
    fn nothing_is_said_of_what_was_not_measured() {
        let report = report(vec![case(Work::Save, vec![row(Tool::Tar, &[1.0])])]);
        assert_eq!(report.targets(), []);
    }
}
