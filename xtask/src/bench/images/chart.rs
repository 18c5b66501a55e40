//! The wall times as bars.

use super::report::Report;
use super::tools::Tool;

const BAR: u32 = 16;
const GAP: u32 = 26;
const LABELS: u32 = 120;
const WIDTH: u32 = 720;

/// Draws a group of bars for each work on each image, each group to its own scale.
pub(super) fn draw(report: &Report) -> String {
    let mut y = 0;
    let mut parts = String::new();
    for group in &report.groups {
        y += GAP;
        let title = format!("{} {}", group.work.name(), group.subject);
        parts += &text(0, y - 6, "font-weight=\"bold\"", &title);
        let walls = group.rows.iter();
        let walls = walls.filter_map(|row| Some((row.tool, group.wall(row.tool)?)));
        let walls: Vec<(Tool, f64)> = walls.collect();
        let most = walls.iter().map(|(_, wall)| *wall).fold(0.0, f64::max);
        for (tool, wall) in walls {
            let room = f64::from(WIDTH - LABELS - 60);
            let length = (wall / most * room).max(1.0);
            let fill = match tool {
                Tool::Lith | Tool::LithVfs => "#2f7d4f",
                Tool::Tar => "#999999",
                _ => "#b0643c",
            };
            parts += &text(0, y + BAR - 4, "", tool.name());
            parts += &format!(
                "<rect x=\"{LABELS}\" y=\"{y}\" width=\"{length:.1}\" height=\"{}\" \
                 fill=\"{fill}\"/>\n",
                BAR - 2
            );
            let behind = LABELS + length as u32 + 6;
            parts += &text(behind, y + BAR - 4, "", &format!("{wall:.2} s"));
            y += BAR;
        }
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n{parts}</svg>\n",
        y + GAP
    )
}

fn text(x: u32, y: u32, attributes: &str, content: &str) -> String {
    let content = content.replace('&', "&amp;").replace('<', "&lt;");
    format!("<text x=\"{x}\" y=\"{y}\" {attributes}>{content}</text>\n")
}
