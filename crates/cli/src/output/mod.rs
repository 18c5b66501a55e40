//! How results, progress and errors look.

pub(crate) mod dot;
pub(crate) mod error;
pub(crate) mod file;
pub(crate) mod forest;
pub(crate) mod locale;
pub(crate) mod progress;
pub(crate) mod table;
pub(crate) mod text;

use std::io::{self, Write};

use anyhow::Context;
use lith_store::{ImageId, Reference};
use serde::Serialize;

/// Prints a JSON document for programs.
pub(crate) fn json<T: Serialize + ?Sized>(document: &T) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(document).context("cannot write JSON")?;
    text.push('\n');
    print(&text)
}

/// Prints a line of a result.
pub(crate) fn line(text: &str) -> anyhow::Result<()> {
    print(&format!("{text}\n"))
}

/// Prints what was done with an image: a line for each name, or the ID of one that has none.
pub(crate) fn image(done: &str, names: &[Reference], id: &ImageId) -> anyhow::Result<()> {
    if names.is_empty() {
        return line(&format!("{done} image: {id}"));
    }
    for name in names {
        line(&format!("{done} image: {}", name.familiar()))?;
    }
    Ok(())
}

/// Prints to standard output; unlike `print!` it does not panic when nobody reads.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("cannot write to standard output")
}
