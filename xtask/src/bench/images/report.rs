//! What was measured: medians and ratios.

use serde_json::{Value, json};

use super::machine::Machine;
use super::targets::Target;
use super::tools::{Side, Tool, Work};
use super::trial::Sample;

/// All that was measured, in the order in which it was.
pub(super) struct Report {
    pub(super) machine: Machine,
    pub(super) cases: Vec<Case>,
}

/// One work on one image.
pub(super) struct Case {
    pub(super) image: String,
    pub(super) bytes: u64,
    pub(super) work: Work,
    pub(super) rows: Vec<Row>,
}

/// One tool at it.
pub(super) struct Row {
    pub(super) tool: Tool,
    pub(super) samples: Vec<Sample>,
    /// Files that it opened, in a run that was not timed.
    pub(super) opened: Option<u64>,
    pub(super) failures: Vec<String>,
}

impl Row {
    pub(super) fn new(tool: Tool) -> Row {
        Row {
            tool,
            samples: Vec::new(),
            opened: None,
            failures: Vec::new(),
        }
    }

    /// Notes why something was not measured.
    pub(super) fn fail(&mut self, error: &anyhow::Error) {
        eprintln!("not measured: {error:#}");
        self.failures.push(format!("{error:#}"));
    }

    /// Forgets what was measured so far.
    pub(super) fn forget(&mut self) {
        self.samples.clear();
    }

    pub(super) fn median(&self, figure: impl Fn(&Sample) -> Option<f64>) -> Option<f64> {
        let mut figures: Vec<f64> = self.samples.iter().filter_map(figure).collect();
        figures.sort_by(f64::total_cmp);
        let middle = figures.len() / 2;
        match figures.len() % 2 {
            1 => figures.get(middle).copied(),
            _ => Some(f64::midpoint(
                *figures.get(middle.checked_sub(1)?)?,
                *figures.get(middle)?,
            )),
        }
    }

    pub(super) fn wall(&self) -> Option<f64> {
        self.median(|sample| Some(sample.cost.seconds))
    }

    /// The largest of a figure in all runs.
    pub(super) fn most(&self, figure: impl Fn(&Sample) -> u64) -> Option<u64> {
        self.samples.iter().map(figure).max()
    }
}

impl Case {
    pub(super) fn row(&self, tool: Tool) -> Option<&Row> {
        self.rows.iter().find(|row| row.tool == tool)
    }

    /// The median of a tool's wall time.
    pub(super) fn wall(&self, tool: Tool) -> Option<f64> {
        self.row(tool)?.wall()
    }

    /// The fastest tool of a side that keeps images as lith's overlay does, and its wall time.
    pub(super) fn fastest(&self, side: Side) -> Option<(Tool, f64)> {
        let rows = self.rows.iter();
        let rows = rows.filter(|row| row.tool.side() == side && row.tool.has_store());
        let walls = rows.filter_map(|row| Some((row.tool, row.wall()?)));
        walls.min_by(|(_, one), (_, other)| one.total_cmp(other))
    }

    /// What the work cannot cost less than: tar's time, else that of a copy.
    pub(super) fn floor(&self) -> Option<(Tool, f64)> {
        let tools = [Tool::Tar, Tool::Cp].into_iter();
        let mut walls = tools.filter_map(|tool| Some((tool, self.wall(tool)?)));
        walls.next()
    }

    fn markdown(&self) -> String {
        let mut text = format!(
            "\n### {}: {} ({} MB)\n\n\
             | tool | wall s | of lith's | of the floor | CPU s | peak MiB | written MB | \
             temporary MB | files opened |\n\
             | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
            self.image,
            self.work.name(),
            self.bytes / 1_000_000,
        );
        let own = self.wall(Tool::Lith);
        let floor = self.floor().map(|(_, wall)| wall);
        for row in &self.rows {
            text += &row.markdown(own, floor);
        }
        text
    }

    fn json(&self) -> Value {
        let rows: Vec<Value> = self.rows.iter().map(Row::json).collect();
        json!({
            "image": self.image,
            "work": self.work.name(),
            "bytes": self.bytes,
            "tools": rows,
        })
    }
}

impl Row {
    /// `own` and `floor` are the times to compare with.
    fn markdown(&self, own: Option<f64>, floor: Option<f64>) -> String {
        let wall = self.wall();
        let ratio = |to: Option<f64>| shown(wall.zip(to).map(|(wall, to)| wall / to), 2);
        let megabytes = |figure: fn(&Sample) -> u64| {
            let bytes = self.median(|sample| Some(figure(sample) as f64));
            shown(bytes.map(|bytes| bytes / 1e6), 0)
        };
        let peak = self.median(|sample| Some(sample.cost.peak_kib as f64 / 1024.0));
        let cells = [
            self.tool.name().to_owned(),
            shown(wall, 2),
            ratio(own),
            ratio(floor),
            shown(self.median(|sample| sample.cost.cpu_seconds), 2),
            shown(peak, 0),
            megabytes(|sample| sample.written),
            megabytes(|sample| sample.temporary),
            shown(self.opened.map(|count| count as f64), 0),
        ];
        format!("| {} |\n", cells.join(" | "))
    }

    fn json(&self) -> Value {
        let samples = self.samples.iter().map(|sample| {
            json!({
                "seconds": sample.cost.seconds,
                "cpu_seconds": sample.cost.cpu_seconds,
                "peak_kib": sample.cost.peak_kib,
                "written": sample.written,
                "temporary": sample.temporary,
            })
        });
        json!({
            "tool": self.tool.name(),
            "runs": samples.collect::<Vec<_>>(),
            "opened": self.opened,
            "failures": self.failures,
        })
    }
}

impl Report {
    /// The targets, then a table for each work on each image.
    pub(super) fn markdown(&self) -> String {
        let mut text = self.machine.markdown();
        text += "\n## Must hold\n\n\
                 | target | image | measured | |\n| --- | --- | --- | --- |\n";
        for target in self.targets() {
            text += &target.markdown();
        }
        text += "\n## Figures\n\n\
                 Medians. The floor is GNU tar on the bare layers, or a copy of the archive. \
                 A daemon's CPU time, memory and files are not known.\n";
        for case in &self.cases {
            text += &case.markdown();
        }
        for (case, row) in self.cases.iter().flat_map(|case| {
            let rows = case.rows.iter();
            rows.map(move |row| (case, row))
        }) {
            for failure in &row.failures {
                let (image, work, tool) = (&case.image, case.work.name(), row.tool.name());
                let failure = failure.replace('\n', " ");
                text += &format!("\nNot measured: {image}, {work}, {tool}: {failure}\n");
            }
        }
        text
    }

    pub(super) fn json(&self) -> String {
        let cases: Vec<Value> = self.cases.iter().map(Case::json).collect();
        let targets: Vec<Value> = self.targets().iter().map(Target::json).collect();
        let all = json!({
            "machine": self.machine.json(),
            "must_hold": targets,
            "cases": cases,
        });
        format!("{all:#}\n")
    }
}

/// A figure with so many digits, a dash where there is none.
pub(super) fn shown(figure: Option<f64>, digits: usize) -> String {
    match figure {
        Some(figure) => format!("{figure:.digits$}"),
        None => "-".to_owned(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::measure::Cost;

    /// Runs that took so many seconds.
    pub(crate) fn row(tool: Tool, walls: &[f64]) -> Row {
        let sample = |seconds: &f64| Sample {
            cost: Cost {
                peak_kib: 20 << 10,
                seconds: *seconds,
                cpu_seconds: Some(*seconds),
            },
            written: 1_000_000,
            temporary: 0,
        };
        Row {
            samples: walls.iter().map(sample).collect(),
            ..Row::new(tool)
        }
    }

    pub(crate) fn case(work: Work, rows: Vec<Row>) -> Case {
        Case {
            image: "app".to_owned(),
            bytes: 600_000_000,
            work,
            rows,
        }
    }

    #[test]
    fn medians_are_of_odd_and_even_counts() {
        assert_eq!(row(Tool::Lith, &[9.0, 1.0, 2.0]).wall(), Some(2.0));
        assert_eq!(row(Tool::Lith, &[1.0, 4.0]).wall(), Some(2.5));
        assert_eq!(row(Tool::Lith, &[]).wall(), None);
    }

    #[test]
    fn the_fastest_is_of_its_side_and_keeps_a_store() {
        let rows = vec![
            row(Tool::Lith, &[1.0]),
            row(Tool::Podman, &[6.0]),
            row(Tool::Skopeo, &[5.0]),
            row(Tool::Docker, &[]),
            row(Tool::Umoci, &[2.0]),
            row(Tool::Skopeo13, &[4.0]),
            row(Tool::Cp, &[0.5]),
        ];
        let case = case(Work::LoadGzip, rows);
        assert_eq!(case.fastest(Side::Peer), Some((Tool::Skopeo, 5.0)));
        assert_eq!(case.fastest(Side::Newer), Some((Tool::Skopeo13, 4.0)));
        assert_eq!(case.floor(), Some((Tool::Cp, 0.5)));
        let table = case.markdown();
        assert!(
            table.contains("| skopeo | 5.00 | 5.00 | 10.00 | 5.00 | 20 | 1 | 0 | - |"),
            "{table}"
        );
        assert!(table.contains("| docker | - | - | - |"), "{table}");
    }
}
