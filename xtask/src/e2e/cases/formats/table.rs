//! A table of who reads what.

use anyhow::{Result, bail};

use crate::e2e::report::Stop;

/// What came of one tool with one format.
pub(super) enum Cell {
    /// The same images came out.
    Same,
    /// The tool does not know the format.
    None,
    Skipped(String),
    Failed(String),
}

impl Cell {
    /// The result of trying it.
    pub(super) fn of(result: Result<()>) -> Cell {
        match result.map_err(Stop::from) {
            Ok(()) => Cell::Same,
            Err(Stop::Skip(reason)) => Cell::Skipped(reason),
            Err(Stop::Fail(reason)) => Cell::Failed(reason),
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Cell::Same => "same",
            Cell::None => "",
            Cell::Skipped(_) => "SKIPPED",
            Cell::Failed(_) => "FAILED",
        }
    }
}

/// Formats and tools.
pub(super) struct Table {
    columns: Vec<&'static str>,
    rows: Vec<(&'static str, Vec<Cell>)>,
}

impl Table {
    pub(super) fn new(columns: &[&'static str]) -> Table {
        Table {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a format, with one cell for each tool.
    pub(super) fn row(&mut self, format: &'static str, cells: Vec<Cell>) {
        self.rows.push((format, cells));
    }

    /// The table as the README shows it, and what went wrong; an error when anything did.
    pub(super) fn finish(self) -> Result<String> {
        let (mut same, mut skipped, mut failed) = (0, 0, 0);
        let mut notes = String::new();
        for (format, cells) in &self.rows {
            for (tool, cell) in self.columns.iter().zip(cells) {
                match cell {
                    Cell::Same => same += 1,
                    Cell::None => {}
                    Cell::Skipped(reason) => {
                        skipped += 1;
                        notes.push_str(&format!("\n{format}, {tool}: skipped, {reason}"));
                    }
                    Cell::Failed(reason) => {
                        failed += 1;
                        notes.push_str(&format!("\n{format}, {tool}: {reason}"));
                    }
                }
            }
        }
        let mut text = format!("{same} the same, {failed} failed, {skipped} skipped");
        text.push_str(&format!("\n| format | {} |", self.columns.join(" | ")));
        text.push_str(&format!("\n|{}", " --- |".repeat(self.columns.len() + 1)));
        for (format, cells) in &self.rows {
            let words: Vec<&str> = cells.iter().map(Cell::word).collect();
            text.push_str(&format!("\n| {format} | {} |", words.join(" | ")));
        }
        text.push_str(&notes);
        if failed > 0 {
            bail!("{text}");
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_fails_the_table_and_is_told() {
        let mut table = Table::new(&["a", "b"]);
        table.row("x", vec![Cell::Same, Cell::None]);
        table.row(
            "y",
            vec![Cell::Failed("why".into()), Cell::Skipped("not here".into())],
        );
        let text = table.finish().unwrap_err().to_string();
        let expected = "1 the same, 1 failed, 1 skipped\n| format | a | b |\n| --- | --- | --- |\n\
                        | x | same |  |\n| y | FAILED | SKIPPED |\ny, a: why\ny, b: skipped, not here";
        assert_eq!(text, expected);
    }
}
