//! Writable layers on the command line: found by DIR or ID, mounted, ended.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use lith_archive::{MountedImage, WritableImage};
use lith_drivers::CacheId;
use lith_graph::{Graph, Swept};
use lith_store::{EventKind, ImageId, LayerId};

use crate::args::MountArgs;
use crate::output::text;

/// The writable layer of this ID, or of one that begins so.
pub(super) fn find(graph: &Graph, id: &str) -> anyhow::Result<Option<CacheId>> {
    Ok(graph.find_writable(id)?)
}

/// The writable layer that is mounted at a place, or that has this ID.
pub(super) fn find_at(graph: &Graph, wanted: &Path) -> anyhow::Result<CacheId> {
    let shown = text::escape(&wanted.to_string_lossy());
    if let Some(mount) = mount_at(graph, wanted)? {
        return match mount.writable {
            Some(id) => Ok(id),
            None => bail!("{shown} is mounted read-only, so that nothing was written there"),
        };
    }
    match wanted.to_str().map(|id| find(graph, id)).transpose()? {
        Some(Some(id)) => Ok(id),
        _ => bail!("{shown} is no writable layer: `lith mounts` lists them"),
    }
}

/// The mount of this store at a place, if there is one; of several the one that shows.
pub(super) fn mount_at(graph: &Graph, place: &Path) -> anyhow::Result<Option<MountedImage>> {
    let Ok(place) = place.canonicalize() else {
        return Ok(None);
    };
    let mut mounts = lith_archive::mounts(graph)?;
    mounts.retain(|mount| mount.target == place);
    Ok(mounts.pop())
}

/// Where one is mounted.
pub(super) fn target(graph: &Graph, id: &CacheId) -> anyhow::Result<Option<PathBuf>> {
    Ok(describe(graph, id)?.target)
}

fn describe(graph: &Graph, id: &CacheId) -> anyhow::Result<WritableImage> {
    let found = lith_archive::writable_images(graph)?.into_iter();
    let mut found = found.filter(|one| one.id == *id);
    found
        .next()
        .with_context(|| format!("writable layer {id} is gone"))
}

/// A writable layer that was mounted.
pub(super) struct Written {
    pub(super) id: CacheId,
    pub(super) image: Option<ImageId>,
    pub(super) layer: Option<LayerId>,
    pub(super) target: PathBuf,
}

/// Mounts the writable layer of the ID that is asked for, or a new one over the image.
pub(super) fn mount(graph: &Graph, args: &MountArgs) -> anyhow::Result<Written> {
    let (wanted, platform) = (args.image.as_str(), args.of.platform.as_ref());
    let (id, new) = match find(graph, wanted)? {
        Some(id) => (id, false),
        None => {
            let image = super::resolve_for(graph, wanted, platform)?;
            // Its layers are held until the writable layer stands on them.
            let selection = lith_archive::select(graph, &[image.to_string()])?;
            let image = selection.images().first().context("no image is selected")?;
            let made = lith_archive::create_writable(graph, image);
            let made = made.with_context(|| {
                format!("cannot make a writable layer over {}", text::escape(wanted))
            })?;
            (made, true)
        }
    };
    let mounted = show(graph, &id, args.target.as_deref());
    if mounted.is_err() && new {
        // Nobody knows its ID.
        if let Err(error) = graph.discard_writable(&id) {
            tracing::warn!(%error, %id, "stays, though it could not be mounted");
        }
    }
    mounted.with_context(|| format!("cannot mount {}", text::escape(wanted)))
}

fn show(graph: &Graph, id: &CacheId, dir: Option<&Path>) -> anyhow::Result<Written> {
    let found = describe(graph, id)?;
    if let Some(image) = found.committed {
        bail!("writable layer {id} was committed already, as image {image}: mount that");
    }
    let target = match dir {
        Some(dir) => dir.to_owned(),
        None => super::mount::places(graph).join(id.as_str()),
    };
    let target = super::mount::make(&target)?;
    let mount = graph.mount_writable(id, &target)?;
    mount.leave();
    let shown = target.to_string_lossy();
    super::note(graph, EventKind::Mount, found.image.as_ref(), &shown);
    Ok(Written {
        id: id.clone(),
        image: found.image,
        layer: found.layer,
        target,
    })
}

/// Removes a writable layer that is not mounted, and the layers below it that nobody needs then.
pub(super) fn discard(graph: &Graph, id: &CacheId) -> anyhow::Result<Vec<Swept>> {
    let layer = graph.writable_layer(id)?.layer;
    graph
        .discard_writable(id)
        .with_context(|| format!("cannot remove writable layer {id}"))?;
    sweep(graph, layer)
}

/// Removes a layer that was let go of, and those below, where nobody needs them any more: their
/// image may have been removed while a mount or a writable layer still did.
pub(super) fn sweep(graph: &Graph, layer: Option<LayerId>) -> anyhow::Result<Vec<Swept>> {
    let Some(layer) = layer else {
        return Ok(Vec::new());
    };
    let session = graph.store().begin_small()?;
    let swept = graph.sweep_unclaimed(&session, &[layer])?;
    session.end()?;
    Ok(swept)
}

/// Removes the folder of a mount that is gone, where it was one of ours.
pub(super) fn forget_place(graph: &Graph, target: &Path) {
    if target.parent() == Some(&super::mount::places(graph)) {
        // Ours, and empty now; if it is not, it is nobody's loss that it stays.
        let _ = fs::remove_dir(target);
    }
}
