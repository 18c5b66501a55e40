//! `lith info`: the store and its driver.

use std::collections::BTreeMap;

use lith_graph::Graph;
use lith_store::FORMAT;
use serde::Serialize;

use crate::args::JsonArgs;
use crate::output::{self, text};

/// `info --json`; the names are stable.
#[derive(Serialize)]
struct Info {
    version: &'static str,
    format: u32,
    root: String,
    driver: String,
    driver_status: BTreeMap<String, String>,
    ownership: &'static str,
    images: usize,
    layers: usize,
    /// Layers that can be written, mounted or not.
    writable_layers: usize,
    names: usize,
    /// Bytes of file content in all layers.
    size: u64,
    /// Layers that no image, layer, session or caller needs.
    unclaimed_layers: usize,
    free_space: Option<u64>,
    /// Drivers that have trees here and are not the store's: what interrupted moves left.
    other_drivers: Vec<String>,
}

pub(super) fn run(graph: &Graph, args: &JsonArgs) -> anyhow::Result<()> {
    let store = graph.store();
    let layers = store.layers()?;
    let space = rustix::fs::statvfs(store.root().path()).ok();
    let info = Info {
        version: env!("CARGO_PKG_VERSION"),
        format: FORMAT,
        root: store.root().path().to_string_lossy().into_owned(),
        driver: store.driver().to_owned(),
        driver_status: graph.driver().status()?.into_iter().collect(),
        ownership: store.ownership().as_str(),
        images: store.images()?.len(),
        size: layers.iter().filter_map(|layer| layer.size).sum(),
        layers: layers.len(),
        writable_layers: graph.writable_layers()?.len(),
        names: store.names()?.len(),
        unclaimed_layers: store.unclaimed_layers()?.len(),
        other_drivers: store.other_drivers()?,
        free_space: space.map(|space| space.f_bavail.saturating_mul(space.f_frsize)),
    };
    if args.json {
        return output::json(&info);
    }
    let mut out = String::new();
    let mut line = |name: &str, value: &str| out.push_str(&format!("{name}: {value}\n"));
    line("version", info.version);
    line("root", &text::escape(&info.root));
    line("store format", &info.format.to_string());
    line("ownership", info.ownership);
    line("driver", &info.driver);
    for (name, value) in &info.driver_status {
        line(&format!("  {}", text::escape(name)), &text::escape(value));
    }
    for name in &info.other_drivers {
        line("unfinished move to driver", &text::escape(name));
    }
    line("images", &info.images.to_string());
    line("names", &info.names.to_string());
    line("layers", &info.layers.to_string());
    line("writable layers", &info.writable_layers.to_string());
    line("unclaimed layers", &info.unclaimed_layers.to_string());
    line("size of layers", &text::size(info.size));
    if let Some(free) = info.free_space {
        line("free space", &text::size(free));
    }
    output::print(&out)
}
