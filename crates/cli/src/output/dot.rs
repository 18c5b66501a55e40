//! The graph of layers for Graphviz.

use lith_archive::{Forest, TreeImage, TreeLayer};

use crate::output::text;

/// A digraph: an arrow from each image to its top layer, and from each layer to the one below.
pub(crate) fn render(forest: &Forest) -> String {
    let mut out = String::from("digraph lith {\n  rankdir=BT;\n  node [fontname=\"monospace\"];\n");
    for layer in &forest.layers {
        out.push_str(&format!(
            "  {} [shape=box, style={}, label={}];\n",
            quoted(&text::layer(&layer.id)),
            if layer.is_shared() { "bold" } else { "solid" },
            label(&facts(layer)),
        ));
    }
    for image in &forest.images {
        let node = quoted(&format!("image {}", image.id));
        out.push_str(&format!(
            "  {node} [shape=note, label={}];\n",
            label(&names(image))
        ));
        if let Some(top) = &image.top {
            out.push_str(&format!("  {node} -> {};\n", quoted(&text::layer(top))));
        }
    }
    for layer in &forest.layers {
        let id = quoted(&text::layer(&layer.id));
        for child in &layer.children {
            out.push_str(&format!("  {} -> {id};\n", quoted(&text::layer(child))));
        }
    }
    out.push_str("}\n");
    out
}

fn facts(layer: &TreeLayer) -> Vec<String> {
    let size = layer
        .size
        .map_or_else(|| "<unknown>".to_owned(), text::size);
    let images = usize::try_from(layer.images).unwrap_or(usize::MAX);
    vec![
        text::short(&layer.id.hex()),
        size,
        text::count(images, "image"),
    ]
}

fn names(image: &TreeImage) -> Vec<String> {
    let mut lines: Vec<String> = image.names.iter().map(|name| name.familiar()).collect();
    lines.push(text::short(&image.id.hex()));
    lines
}

/// A label of several lines.
fn label(lines: &[String]) -> String {
    let lines: Vec<String> = lines
        .iter()
        .map(|line| inner(&text::escape(line)))
        .collect();
    format!("\"{}\"", lines.join("\\n"))
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", inner(text))
}

/// What Graphviz would read as something else: the quote, the backslash, and in labels
/// the ampersand of character references.
fn inner(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('&', "&amp;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_hold_anything() {
        let lines = ["a\"b\\".to_owned(), "&lt;\n\u{1b}".to_owned()];
        let expected = r#""a\"b\\\n&amp;lt;\\n\\u{1b}""#;
        assert_eq!(label(&lines), expected);
    }
}
