//! The graph of layers as people read it.
//!
//! The lowest layers come first, and what stands on a layer comes below it. A chain of only
//! children goes straight down, so that a stack of any height stays readable; only where
//! several layers stand on one does the drawing branch.

use std::collections::HashMap;

use lith_archive::{Forest, TreeImage, TreeLayer};
use lith_store::{ImageId, LayerId};

use crate::output::text;

/// The lines between layers.
struct Lines {
    branch: &'static str,
    last: &'static str,
    down: &'static str,
    none: &'static str,
}

const BOX: Lines = Lines {
    branch: "├─ ",
    last: "└─ ",
    down: "│  ",
    none: "   ",
};

const ASCII: Lines = Lines {
    branch: "|- ",
    last: "`- ",
    down: "|  ",
    none: "   ",
};

/// Columns line up as far as this; what is deeper sticks out.
const WIDEST: usize = 60;

/// A layer to be drawn, and how it hangs on what was drawn before.
struct Next {
    layer: usize,
    /// How much of the lines to the left of its parent's children stands here, in bytes.
    left: usize,
    hangs: Hangs,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Hangs {
    Straight,
    Branch,
    LastBranch,
}

/// Draws it, with a closing line of totals.
pub(crate) fn render(forest: &Forest, utf8: bool) -> String {
    let lines = if utf8 { &BOX } else { &ASCII };
    let images: HashMap<&ImageId, &TreeImage> = forest
        .images
        .iter()
        .map(|image| (&image.id, image))
        .collect();
    let mut rows: Vec<Option<[String; 4]>> = Vec::new();
    for (first, drawn) in draw(forest, lines) {
        let Some(layer) = forest.layers.get(drawn.layer) else {
            continue;
        };
        if first && !rows.is_empty() {
            rows.push(None);
        }
        rows.push(Some(row(&drawn.left, layer, &images)));
    }
    let mut out = aligned(rows);
    let bare: Vec<String> = forest
        .images
        .iter()
        .filter(|image| image.top.is_none())
        .map(name)
        .collect();
    if !bare.is_empty() {
        out.push_str(&format!("\nwithout layers: {}\n", bare.join("; ")));
    }
    if !out.is_empty() {
        out.push('\n');
    }
    out.push_str(&closing(forest));
    out
}

/// A layer and what stands to its left.
struct Drawn {
    layer: usize,
    left: String,
}

/// All layers in the order of the drawing; true for those that begin a new tree.
fn draw(forest: &Forest, lines: &Lines) -> Vec<(bool, Drawn)> {
    let place: HashMap<&LayerId, usize> = forest
        .layers
        .iter()
        .enumerate()
        .map(|(index, layer)| (&layer.id, index))
        .collect();
    let is_root = |layer: &TreeLayer| {
        layer
            .parent
            .as_ref()
            .is_none_or(|id| !place.contains_key(id))
    };
    let mut drawn = Vec::with_capacity(forest.layers.len());
    for (root, _) in forest
        .layers
        .iter()
        .enumerate()
        .filter(|(_, layer)| is_root(layer))
    {
        let mut left = String::new();
        let mut waiting = vec![Next {
            layer: root,
            left: 0,
            hangs: Hangs::Straight,
        }];
        while let Some(next) = waiting.pop() {
            left.truncate(next.left);
            let (own, below) = match next.hangs {
                Hangs::Straight => ("", ""),
                Hangs::Branch => (lines.branch, lines.down),
                Hangs::LastBranch => (lines.last, lines.none),
            };
            let line = Drawn {
                layer: next.layer,
                left: format!("{left}{own}"),
            };
            drawn.push((next.layer == root, line));
            left.push_str(below);
            let children = forest.layers.get(next.layer).map(|layer| &layer.children);
            let children = children
                .into_iter()
                .flatten()
                .filter_map(|id| place.get(id));
            let children: Vec<usize> = children.copied().collect();
            for (position, child) in children.iter().enumerate().rev() {
                waiting.push(Next {
                    layer: *child,
                    left: left.len(),
                    hangs: match (children.len(), children.len() - position) {
                        (1, _) => Hangs::Straight,
                        (_, 1) => Hangs::LastBranch,
                        _ => Hangs::Branch,
                    },
                });
            }
        }
    }
    drawn
}

fn row(left: &str, layer: &TreeLayer, images: &HashMap<&ImageId, &TreeImage>) -> [String; 4] {
    let needed = match layer.images {
        0 => "unused".to_owned(),
        1 => "unique".to_owned(),
        several => format!("shared by {several}"),
    };
    let tops: Vec<String> = layer
        .top_of
        .iter()
        .filter_map(|id| images.get(id))
        .map(|image| name(image))
        .collect();
    [
        format!("{left}{}", text::short(&layer.id.hex())),
        layer
            .size
            .map_or_else(|| "<unknown>".to_owned(), text::size),
        needed,
        tops.join("; "),
    ]
}

/// An image's names and its ID.
fn name(image: &TreeImage) -> String {
    let names: Vec<String> = image
        .names
        .iter()
        .map(|name| text::escape(&name.familiar()))
        .collect();
    let names = if names.is_empty() {
        "<none>".to_owned()
    } else {
        names.join(", ")
    };
    format!("{names} ({})", text::short(&image.id.hex()))
}

/// Columns under each other, with an empty line for no row.
fn aligned(rows: Vec<Option<[String; 4]>>) -> String {
    const HEADING: [&str; 4] = ["LAYER", "SIZE", "USE", "IMAGES"];
    if rows.is_empty() {
        return String::new();
    }
    let mut widths = HEADING.map(str::len);
    for row in rows.iter().flatten() {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count().min(WIDEST));
        }
    }
    let mut out = String::new();
    for row in std::iter::once(Some(HEADING.map(str::to_owned))).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().flatten().zip(widths) {
            line.push_str(&format!("{cell:<width$}   "));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn closing(forest: &Forest) -> String {
    let totals = &forest.totals;
    let mut line = format!(
        "{}, {}, {} in all, {} of it shared; sharing saves {}",
        text::count(totals.layers, "layer"),
        text::count(totals.images, "image"),
        text::size(totals.size),
        text::size(totals.shared),
        text::size(totals.saved),
    );
    if totals.unused > 0 {
        line.push_str(&format!("; no image needs {}", text::size(totals.unused)));
    }
    if totals.uncounted > 0 {
        let layers = text::count(totals.uncounted, "layer");
        line.push_str(&format!("; {layers} not counted"));
    }
    line.push('\n');
    line
}
