//! `lith mount`, `umount` and `mounts`: images as directories.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use lith_drivers::MountInfo;
use lith_graph::Graph;
use lith_store::{EventKind, ImageId, LayerId};
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
            .join(image.hex().get(..12).unwrap_or_default()),
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
        let mut found = wanted(graph, target)?;
        // The newest first: mounts may lie in each other.
        found.reverse();
        for mount in found {
            unmount(graph, &mount)?;
        }
    }
    Ok(())
}

/// What a place, or an image's name or ID, stands for among the mounts of this store.
fn wanted(graph: &Graph, target: &Path) -> anyhow::Result<Vec<MountInfo>> {
    let shown = path_text(target);
    let mut mounts = graph.driver().mounts()?;
    if let Ok(path) = target.canonicalize() {
        mounts.retain(|mount| mount.target == path);
        if let Some(mount) = mounts.pop() {
            return Ok(vec![mount]);
        }
        bail!("{shown} is no mount of this store: `lith mounts` lists them");
    }
    let name = target
        .to_str()
        .with_context(|| format!("no such mount: {shown}"))?;
    let image = super::resolve(graph, name).with_context(|| format!("no such mount: {shown}"))?;
    let mut found = Vec::new();
    for mount in mounts {
        if image_of(graph, &mount)? == Some(image) {
            found.push(mount);
        }
    }
    if found.is_empty() {
        bail!("{shown} is not mounted: `lith mounts` lists what is");
    }
    Ok(found)
}

fn unmount(graph: &Graph, mount: &MountInfo) -> anyhow::Result<()> {
    let shown = path_text(&mount.target);
    if mount.covered {
        bail!("something else was mounted on top of {shown}: unmount that first");
    }
    let store = graph.store();
    let image = image_of(graph, mount)?;
    let layer = layer_of(graph, mount)?;
    lith_drivers::unmount(&mount.target).with_context(|| format!("cannot unmount {shown}"))?;
    super::note(
        graph,
        EventKind::Unmount,
        image.as_ref(),
        &mount.target.to_string_lossy(),
    );
    if mount.target.parent() == Some(&store.root().path().join("mounts")) {
        // Ours, and empty now; if it is not, it is nobody's loss that it stays.
        let _ = fs::remove_dir(&mount.target);
    }
    // Its image may have been removed while the mount still needed the layers.
    if let Some(layer) = layer {
        let session = store.begin()?;
        graph.sweep_unclaimed(&session, &[layer])?;
        session.end()?;
    }
    Ok(())
}

/// A mount in `mounts --json`; the names are stable.
#[derive(Serialize)]
struct Row {
    target: String,
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
            target: mount.target.to_string_lossy().into_owned(),
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
        text::escape(&row.target),
        short(&row.image),
        short(&row.layer),
        mode.to_owned(),
    ]
}

fn path_text(path: &Path) -> String {
    text::escape(&path.to_string_lossy())
}

fn layer_of(graph: &Graph, mount: &MountInfo) -> anyhow::Result<Option<LayerId>> {
    Ok(graph
        .store()
        .layers_by_cache(mount.layer.as_str())?
        .first()
        .copied())
}

/// The image that was mounted there: the one that the last mount of this place was of, if that
/// is its top layer. Else the only image with that top layer; with several, nobody knows.
fn image_of(graph: &Graph, mount: &MountInfo) -> anyhow::Result<Option<ImageId>> {
    let Some(layer) = layer_of(graph, mount)? else {
        return Ok(None);
    };
    let mut images = Vec::new();
    for image in graph.store().images_using(&layer)? {
        if graph.store().layers_of_image(&image)?.last() == Some(&layer) {
            images.push(image);
        }
    }
    let event = graph
        .store()
        .last_event(EventKind::Mount, &mount.target.to_string_lossy())?;
    let told = event
        .and_then(|event| event.image)
        .filter(|image| images.contains(image));
    Ok(match (told, images.as_slice()) {
        (Some(told), _) => Some(told),
        (None, [only]) => Some(*only),
        (None, _) => None,
    })
}
