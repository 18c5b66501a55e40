//! Medians and ratios, as a table and as JSON.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::json;

use super::subject::Subject;
use super::tools::{Tool, Work};
use super::trial::Sample;

/// All that was measured, in the order in which it was.
#[derive(Default)]
pub(super) struct Report {
    pub(super) groups: Vec<Group>,
}

/// One work on one image.
pub(super) struct Group {
    pub(super) subject: String,
    pub(super) bytes: u64,
    pub(super) work: Work,
    pub(super) rows: Vec<Row>,
}

/// One tool at it.
pub(super) struct Row {
    pub(super) tool: Tool,
    samples: Vec<Sample>,
    failures: Vec<String>,
}

impl Report {
    pub(super) fn add(
        &mut self,
        subject: &Subject,
        work: Work,
        tool: Tool,
        outcome: Result<Sample>,
    ) {
        let fits = |group: &&mut Group| group.subject == subject.name && group.work == work;
        let group = match self
            .groups
            .iter()
            .position(|group| group.subject == subject.name && group.work == work)
        {
            Some(at) => self.groups.get_mut(at),
            None => {
                self.groups.push(Group {
                    subject: subject.name.clone(),
                    bytes: subject.bytes,
                    work,
                    rows: Vec::new(),
                });
                self.groups.last_mut()
            }
        };
        let Some(group) = group.filter(fits) else {
            return;
        };
        if !group.rows.iter().any(|row| row.tool == tool) {
            group.rows.push(Row {
                tool,
                samples: Vec::new(),
                failures: Vec::new(),
            });
        }
        let Some(row) = group.rows.iter_mut().find(|row| row.tool == tool) else {
            return;
        };
        match outcome {
            Ok(sample) => row.samples.push(sample),
            Err(error) => {
                eprintln!("not measured: {error:#}");
                row.failures.push(format!("{error:#}"));
            }
        }
    }

    /// A table for each work on each image; ratios are of the wall time to lith's.
    pub(super) fn markdown(&self) -> String {
        let mut text = String::new();
        for group in &self.groups {
            let megabytes = group.bytes / 1_000_000;
            text += &format!(
                "\n{} {} ({megabytes} MB)\n\n\
                 | tool | wall s | of lith's | CPU s | peak MiB | written MB | temporary MB |\n\
                 | --- | --- | --- | --- | --- | --- | --- |\n",
                group.work.name(),
                group.subject,
            );
            let own = group.wall(Tool::Lith);
            for row in &group.rows {
                text += &row.line(own);
            }
        }
        text
    }

    pub(super) fn json(&self) -> String {
        let groups = self.groups.iter().map(|group| {
            let rows = group.rows.iter().map(Row::json);
            json!({
                "work": group.work.name(),
                "image": group.subject,
                "bytes": group.bytes,
                "tools": rows.collect::<BTreeMap<_, _>>(),
            })
        });
        let all: Vec<serde_json::Value> = groups.collect();
        format!("{:#}\n", json!(all))
    }
}

impl Group {
    /// The median of a tool's wall time.
    pub(super) fn wall(&self, tool: Tool) -> Option<f64> {
        let row = self.rows.iter().find(|row| row.tool == tool)?;
        row.median(|sample| Some(sample.cost.seconds))
    }
}

impl Row {
    fn median(&self, figure: impl Fn(&Sample) -> Option<f64>) -> Option<f64> {
        let mut figures: Vec<f64> = self.samples.iter().filter_map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures.get(figures.len() / 2).copied()
    }

    fn line(&self, own: Option<f64>) -> String {
        let wall = self.median(|sample| Some(sample.cost.seconds));
        let ratio = wall.zip(own).map(|(wall, own)| wall / own);
        let shown = |figure: Option<f64>, digits: usize| match figure {
            Some(figure) => format!("{figure:.digits$}"),
            None => "-".to_owned(),
        };
        let megabytes = |figure: fn(&Sample) -> u64| {
            let bytes = self.median(|sample| Some(figure(sample) as f64));
            shown(bytes.map(|bytes| bytes / 1e6), 0)
        };
        format!(
            "| {} | {} | {} | {} | {} | {} | {} |\n",
            self.tool.name(),
            shown(wall, 2),
            shown(ratio, 2),
            shown(self.median(|sample| sample.cost.cpu_seconds), 2),
            shown(
                self.median(|sample| Some(sample.cost.peak_kib as f64 / 1024.0)),
                0
            ),
            megabytes(|sample| sample.written),
            megabytes(|sample| sample.temporary),
        )
    }

    fn json(&self) -> (String, serde_json::Value) {
        let samples = self.samples.iter().map(|sample| {
            json!({
                "seconds": sample.cost.seconds,
                "cpu_seconds": sample.cost.cpu_seconds,
                "peak_kib": sample.cost.peak_kib,
                "written": sample.written,
                "temporary": sample.temporary,
            })
        });
        let value = json!({
            "runs": samples.collect::<Vec<_>>(),
            "failures": self.failures,
        });
        (self.tool.name().to_owned(), value)
    }
}
