//! A few wall times as bars, for people who read no tables.

use super::report::{Case, Report};
use super::tools::{Side, Tool, Work};

/// What is shown: the works that people wait for.
const WORKS: [Work; 4] = [Work::Load, Work::LoadGzip, Work::Save, Work::FourAtOnce];

const BAR: u32 = 18;
const GAP: u32 = 34;
const LABELS: u32 = 150;
const WIDTH: u32 = 720;

/// A bar and what stands before it.
struct Bar {
    tool: Tool,
    wall: f64,
}

/// Draws a group of bars for each work on each image, all to one scale within an image.
pub(super) fn draw(report: &Report) -> String {
    let cases: Vec<&Case> = report
        .cases
        .iter()
        .filter(|case| WORKS.contains(&case.work))
        .collect();
    let mut y = 0;
    let mut parts = String::new();
    for case in cases {
        let bars = bars(case);
        let most = bars.iter().map(|bar| bar.wall).fold(0.0, f64::max);
        if most == 0.0 {
            continue;
        }
        y += GAP;
        let title = format!(
            "{}: {} ({} MB)",
            case.image,
            case.work.name(),
            case.bytes / 1_000_000
        );
        parts += &text(0, y - 8, "font-weight=\"bold\"", &title);
        for bar in bars {
            parts += &bar.draw(y, most);
            y += BAR;
        }
    }
    let height = y + GAP / 2;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n{parts}</svg>\n"
    )
}

/// lith, the fastest of each side, and the floor.
fn bars(case: &Case) -> Vec<Bar> {
    let own = case.wall(Tool::Lith).map(|wall| (Tool::Lith, wall));
    let peers = [Side::Peer, Side::Newer].map(|side| case.fastest(side));
    let all = [own, peers[0], peers[1], case.floor()];
    let all = all.into_iter().flatten();
    all.map(|(tool, wall)| Bar { tool, wall }).collect()
}

impl Bar {
    fn draw(&self, y: u32, most: f64) -> String {
        let room = f64::from(WIDTH - LABELS - 70);
        let length = (self.wall / most * room).max(1.0);
        let fill = match self.tool.side() {
            Side::Own => "#2f7d4f",
            Side::Floor => "#999999",
            Side::Peer | Side::Newer => "#b0643c",
        };
        let (baseline, thickness) = (y + BAR - 5, BAR - 3);
        let mut drawn = text(8, baseline, "", self.tool.name());
        drawn += &format!(
            "<rect x=\"{LABELS}\" y=\"{y}\" width=\"{length:.1}\" height=\"{thickness}\" \
             fill=\"{fill}\"/>\n",
        );
        let behind = LABELS + length as u32 + 6;
        drawn += &text(behind, baseline, "", &format!("{:.2} s", self.wall));
        drawn
    }
}

fn text(x: u32, y: u32, attributes: &str, content: &str) -> String {
    let content = content.replace('&', "&amp;").replace('<', "&lt;");
    format!("<text x=\"{x}\" y=\"{y}\" fill=\"#222222\" {attributes}>{content}</text>\n")
}

#[cfg(test)]
mod tests {
    use super::super::machine::Machine;
    use super::super::report::tests::{case, row};
    use super::*;

    #[test]
    fn few_bars_and_the_fastest_of_them() {
        let rows = vec![
            row(Tool::Lith, &[1.0]),
            row(Tool::Podman, &[6.0]),
            row(Tool::Skopeo, &[5.0]),
            row(Tool::Tar, &[2.0]),
        ];
        let again = vec![row(Tool::Lith, &[0.1])];
        let report = Report {
            machine: Machine::default(),
            cases: vec![case(Work::Load, rows), case(Work::LoadAgain, again)],
        };
        let drawn = draw(&report);
        assert!(drawn.contains(">skopeo<") && drawn.contains(">5.00 s<"));
        assert!(!drawn.contains("podman") && !drawn.contains("again"));
        // The background and three bars.
        assert_eq!(drawn.matches("<rect").count(), 4);
    }
}
