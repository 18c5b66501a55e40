//! `lith mount`, `umount` and `mounts`: images as directories.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use lith_drivers::MountInfo;
use lith_graph::Graph;
use lith_store::EventKind;
use serde::Serialize;

use crate::args::{JsonArgs, MountArgs, UmountArgs};
use crate::output::{self, table, text};

pub(super) fn mount(graph: &Graph, args: &MountArgs) -> anyhow::Result<()> {
    let image = super::resolve(graph, &args.image)?;
    let layers = graph.store().layers_of_image(&image)?;
    let Some(top) = layers.last() else {
        bail!(
            "{} has no layers, so there is nothing to mount",
            text::escape(&args.image)
        );
    };
    // Held until the mount stands in the kernel's table, which then says that it is needed.
    let session = graph.store().begin()?;
    graph.store().retain(&session, &[*top])?;
    let target = match &args.target {
        Some(target) => target.clone(),
        None => graph
            .store()
            .root()
            .path()
            .join("mounts")
            .join(&image.hex()[..12]),
    };
    fs::create_dir_all(&target).with_context(|| format!("cannot make {}", target.display()))?;
    let target = target
        .canonicalize()
        .with_context(|| format!("cannot find {}", target.display()))?;
    let mount = graph
        .mount(top, &target)
        .with_context(|| format!("cannot mount {}", text::escape(&args.image)))?;
    graph.store().record_event(
        EventKind::Mount,
        Some(&image),
        Some(&target.to_string_lossy()),
    )?;
    mount.leave();
    session.end()?;
    if args.target.is_none() {
        output::line(&text::escape(&target.to_string_lossy()))?;
    }
    Ok(())
}

pub(super) fn umount(graph: &Graph, args: &UmountArgs) -> anyhow::Result<()> {
    for target in &args.targets {
        let shown = text::escape(&target.to_string_lossy());
        let path = target
            .canonicalize()
            .with_context(|| format!("cannot find {shown}"))?;
        let mounts = graph.driver().mounts()?;
        let Some(mount) = mounts.iter().rev().find(|mount| mount.target == path) else {
            bail!("{shown} is no mount of this store: `lith mounts` lists them");
        };
        let image = image_of(graph, mount)?;
        lith_drivers::unmount(&path).with_context(|| format!("cannot unmount {shown}"))?;
        let event = Some(path.to_string_lossy());
        graph
            .store()
            .record_event(EventKind::Unmount, image.as_ref(), event.as_deref())?;
        if path.parent() == Some(&graph.store().root().path().join("mounts")) {
            // Ours, and empty now; if it is not, it is nobody's loss that it stays.
            let _ = fs::remove_dir(&path);
        }
    }
    Ok(())
}

/// A mount in `mounts --json`; the names are stable.
#[derive(Serialize)]
struct Row {
    target: PathBuf,
    image: Option<String>,
    layer: Option<String>,
    read_only: bool,
    pid: Option<u32>,
}

pub(super) fn list(graph: &Graph, args: &JsonArgs) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for mount in graph.driver().mounts()? {
        rows.push(Row {
            image: image_of(graph, &mount)?.map(|image| image.to_string()),
            layer: layer_of(graph, &mount)?.map(|layer| layer.to_string()),
            read_only: mount.read_only,
            target: mount.target,
            pid: None,
        });
    }
    rows.sort_by(|a, b| a.target.cmp(&b.target));
    if args.json {
        return output::json(&rows);
    }
    let cells: Vec<Vec<String>> = rows.iter().map(cells).collect();
    output::print(&table::render(
        &["TARGET", "IMAGE ID", "LAYER ID", "MODE"],
        &cells,
    ))
}

fn cells(row: &Row) -> Vec<String> {
    let short = |id: &Option<String>| {
        let id = id.as_deref().unwrap_or("<none>");
        id.strip_prefix("sha256:")
            .unwrap_or(id)
            .chars()
            .take(12)
            .collect()
    };
    let mode = if row.read_only {
        "read-only"
    } else {
        "writable"
    };
    vec![
        path_text(&row.target),
        short(&row.image),
        short(&row.layer),
        mode.to_owned(),
    ]
}

fn path_text(path: &Path) -> String {
    text::escape(&path.to_string_lossy())
}

fn layer_of(graph: &Graph, mount: &MountInfo) -> anyhow::Result<Option<lith_store::LayerId>> {
    Ok(graph
        .store()
        .layers_by_cache(mount.layer.as_str())?
        .first()
        .copied())
}

/// The image whose top layer is mounted; of several the one that sorts first.
fn image_of(graph: &Graph, mount: &MountInfo) -> anyhow::Result<Option<lith_store::ImageId>> {
    let Some(layer) = layer_of(graph, mount)? else {
        return Ok(None);
    };
    let mut images = graph.store().images_using(&layer)?;
    images.sort_unstable();
    for image in images {
        if graph.store().layers_of_image(&image)?.last() == Some(&layer) {
            return Ok(Some(image));
        }
    }
    Ok(None)
}
