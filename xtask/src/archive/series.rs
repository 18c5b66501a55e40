//! As many images as wanted: one base, and a small layer of its own for each.

use std::path::Path;

use anyhow::Result;

use super::{Bundle, Layer};

/// Files of the base, and bytes of each.
const BASE: (usize, usize) = (16, 16 << 10);

/// The images with numbers from `start` up to, and without, `end`.
///
/// The same number is the same image wherever it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Series {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Series {
    /// The name of an image of any series.
    pub(crate) fn name(number: usize) -> String {
        format!("scale/image-{number:05}:1")
    }

    /// Writes all of them into one archive; gives their IDs, as hex.
    pub(crate) fn write(self, out: &Path) -> Result<Vec<String>> {
        let base = base()?;
        let mut bundle = Bundle::create(out)?;
        let mut ids = Vec::new();
        for number in self.start..self.end {
            let own = Layer::new(&[
                ("own/".to_owned(), String::new()),
                ("own/number".to_owned(), format!("{number}\n")),
            ])?;
            ids.push(bundle.image(&[&Series::name(number)], &[&base, &own])?);
        }
        bundle.finish()?;
        Ok(ids)
    }
}

fn base() -> Result<Layer> {
    let (files, bytes) = BASE;
    let mut entries = vec![("base/".to_owned(), Vec::new())];
    for number in 0..files {
        let line = format!("file {number} of the base\n");
        let mut content = line.repeat(bytes / line.len()).into_bytes();
        content.truncate(bytes);
        entries.push((format!("base/{number}"), content));
    }
    Layer::new(&entries)
}
