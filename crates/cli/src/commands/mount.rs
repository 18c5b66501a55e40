//! `lith mount`, `umount` and `mounts`: images as directories.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use lith_archive::MountedImage;
use lith_drivers::{CacheId, Mount};
use lith_graph::{Graph, Swept};
use lith_store::{EventKind, ImageId, LayerId, Ownership};
use serde::Serialize;

use super::held::Held;
use super::{inside, writable};
use crate::args::{JsonArgs, MountArgs, UmountArgs};
use crate::namespace;
use crate::output::{self, error, table, text};

/// A mount in `mounts --json`, `mount --json` and `umount --json`; the names are stable.
#[derive(Serialize)]
struct Row {
    /// Of a writable layer that is not mounted: none.
    target: Option<String>,
    image: Option<String>,
    layer: Option<String>,
    read_only: bool,
    /// The ID of the writable layer, where it is one.
    writable: Option<String>,
    pid: Option<u32>,
}

/// `umount --json`; the names are stable.
#[derive(Serialize, Default)]
struct Unmounted {
    unmounted: Vec<Row>,
    /// Writable layers that are gone.
    discarded: Vec<String>,
    /// Layers of removed images that only these had kept.
    layers: Vec<String>,
}

/// An image that was just mounted. Dropping it unmounts.
struct Mounted {
    mount: Mount,
    image: ImageId,
    top: LayerId,
    /// Holds the layers, as the kernel's table does for whoever can see it.
    _held: Held,
}

fn mount_image(graph: &Graph, args: &MountArgs) -> anyhow::Result<Mounted> {
    let image = super::resolve_for(graph, &args.image, args.of.platform.as_ref())?;
    let held = Held::new(graph, &image)?;
    let Some(top) = held.top else {
        bail!(
            "{} has no layers, so there is nothing to mount",
            text::escape(&args.image)
        );
    };
    let target = match &args.target {
        Some(target) => target.clone(),
        None if !args.command.is_empty() => private_place(graph)?,
        None => places(graph).join(image.hex().get(..12).unwrap_or_default()),
    };
    let target = make(&target)?;
    let mount = graph
        .mount(&top, &target)
        .with_context(|| format!("cannot mount {}", text::escape(&args.image)))?;
    graph.store().record_event(
        EventKind::Mount,
        Some(&image),
        Some(&target.to_string_lossy()),
    )?;
    Ok(Mounted {
        mount,
        image,
        top,
        _held: held,
    })
}

pub(super) fn mount(graph: &Graph, args: &MountArgs) -> anyhow::Result<()> {
    if args.rw {
        return mount_writable(graph, args);
    }
    let mounted = mount_image(graph, args)?;
    let shown = mounted.mount.target().to_string_lossy().into_owned();
    mounted.mount.leave();
    if args.json {
        return output::json(&Row {
            target: Some(shown),
            image: Some(mounted.image.to_string()),
            layer: Some(text::layer(&mounted.top)),
            read_only: true,
            writable: None,
            pid: None,
        });
    }
    if args.target.is_none() {
        output::line(&text::escape(&shown))?;
    }
    Ok(())
}

/// Mounts, runs a command there, and unmounts: in a mount namespace of its own, so that the mount
/// is gone whatever becomes of this process.
pub(super) fn with_command(
    graph: &Graph,
    args: &MountArgs,
    quiet: bool,
) -> anyhow::Result<ExitCode> {
    if args.rw {
        return with_writable(graph, args, quiet);
    }
    let mounted = mount_image(graph, args)?;
    if !quiet {
        say_what_shows(graph);
    }
    let target = mounted.mount.target().to_owned();
    let status = inside::run(&args.command, graph.store().root().path(), Some(&target));
    if let Err(error) = mounted.mount.unmount() {
        // What the command left running still has it, and keeps it alone.
        tracing::debug!(%error, "the mount stays until its last user ends");
    }
    let shown = target.to_string_lossy();
    super::note(graph, EventKind::Unmount, Some(&mounted.image), &shown);
    status
}

/// A user's files look like what they are.
fn say_what_shows(graph: &Graph) {
    if graph.store().ownership() == Ownership::Recorded {
        error::print_line(
            "note: owners are recorded, not shown: all files look like root's, their owner can \
             read and write them, and devices are empty files",
        );
    }
}

/// The folder with the places of mounts that were given none.
pub(super) fn places(graph: &Graph) -> PathBuf {
    graph.store().root().path().join("mounts")
}

/// A folder where nothing is mounted in this namespace.
///
/// It is everybody's and stays: taking a folder away takes away what is mounted on it in other
/// namespaces.
fn private_place(graph: &Graph) -> anyhow::Result<PathBuf> {
    let mounts = lith_archive::mounts(graph)?;
    let taken = |place: &PathBuf| mounts.iter().any(|mount| mount.target == *place);
    let place = |n: usize| places(graph).join(format!("here{n}"));
    // Commands may run in each other's mounts.
    Ok((0..=mounts.len())
        .map(place)
        .find(|place| !taken(place))
        .unwrap_or_else(|| place(0)))
}

/// The same with a writable layer, which stays.
fn with_writable(graph: &Graph, args: &MountArgs, quiet: bool) -> anyhow::Result<ExitCode> {
    let made = writable::mount(graph, args)?;
    if !quiet {
        say_what_shows(graph);
    }
    let status = inside::run(
        &args.command,
        graph.store().root().path(),
        Some(&made.target),
    );
    if let Err(error) = lith_drivers::unmount(&made.target) {
        tracing::debug!(%error, "the mount stays until its last user ends");
    }
    let shown = made.target.to_string_lossy();
    super::note(graph, EventKind::Unmount, made.image.as_ref(), &shown);
    writable::forget_place(graph, &made.target);
    if !quiet {
        error::print_line(&format!(
            "what was written is in writable layer {}",
            made.id
        ));
    }
    status
}

/// Makes a place to mount at, and says where it really is.
pub(super) fn make(target: &Path) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(target).with_context(|| format!("cannot make {}", target.display()))?;
    target
        .canonicalize()
        .with_context(|| format!("cannot find {}", target.display()))
}

fn mount_writable(graph: &Graph, args: &MountArgs) -> anyhow::Result<()> {
    let made = writable::mount(graph, args)?;
    if args.json {
        return output::json(&Row {
            target: Some(made.target.to_string_lossy().into_owned()),
            image: made.image.map(|image| image.to_string()),
            layer: made.layer.as_ref().map(text::layer),
            read_only: false,
            writable: Some(made.id.to_string()),
            pid: None,
        });
    }
    match args.target {
        Some(_) => output::line(made.id.as_str()),
        None => output::line(&path_text(&made.target)),
    }
}

pub(super) fn umount(graph: &Graph, args: &UmountArgs, quiet: bool) -> anyhow::Result<()> {
    let mut done = Unmounted::default();
    let result = args
        .targets
        .iter()
        .try_for_each(|target| unmount_all(graph, target, args.discard, &mut done));
    // Also when one of several failed.
    if args.json {
        output::json(&done)?;
    } else if !quiet {
        for id in &done.discarded {
            output::line(&format!("Discarded writable layer: {id}"))?;
        }
        for layer in &done.layers {
            output::line(&format!("Deleted layer: {layer}"))?;
        }
    }
    result
}

fn unmount_all(
    graph: &Graph,
    target: &Path,
    discard: bool,
    done: &mut Unmounted,
) -> anyhow::Result<()> {
    if let Some(id) = target.to_str().filter(|_| !target.exists())
        && let Some(id) = writable::find(graph, id)?
    {
        return unmount_writable(graph, &id, discard, done);
    }
    let mut found = wanted(graph, target)?;
    // The newest first: mounts may lie in each other.
    found.reverse();
    for mount in found {
        if discard && mount.writable.is_none() {
            let shown = path_text(&mount.target);
            bail!("{shown} is no writable layer: there is nothing to discard");
        }
        unmount_one(graph, &mount, discard, done)?;
    }
    Ok(())
}

fn unmount_one(
    graph: &Graph,
    mount: &MountedImage,
    discard: bool,
    done: &mut Unmounted,
) -> anyhow::Result<()> {
    let layers = unmount(graph, mount)?;
    done.add_layers(&layers);
    done.unmounted.push(row(mount));
    match &mount.writable {
        Some(id) if discard || is_committed(graph, id)? => end(graph, id, done),
        _ => Ok(()),
    }
}

/// What a writable layer holds has become an image: nothing could be written since.
fn is_committed(graph: &Graph, id: &CacheId) -> anyhow::Result<bool> {
    let all = lith_archive::writable_images(graph)?;
    Ok(all
        .iter()
        .any(|one| one.id == *id && one.committed.is_some()))
}

fn end(graph: &Graph, id: &CacheId, done: &mut Unmounted) -> anyhow::Result<()> {
    let layers = writable::discard(graph, id)?;
    done.discarded.push(id.to_string());
    done.add_layers(&layers);
    Ok(())
}

/// A writable layer by its ID, mounted or not.
fn unmount_writable(
    graph: &Graph,
    id: &CacheId,
    discard: bool,
    done: &mut Unmounted,
) -> anyhow::Result<()> {
    let mut mounts = lith_archive::mounts(graph)?.into_iter();
    match mounts.find(|mount| mount.writable.as_ref() == Some(id)) {
        Some(mount) => unmount_one(graph, &mount, discard, done),
        None if discard || is_committed(graph, id)? => end(graph, id, done),
        None => bail!("writable layer {id} is not mounted; --discard removes it"),
    }
}

impl Unmounted {
    fn add_layers(&mut self, layers: &[Swept]) {
        let layers = layers.iter().map(|layer| text::layer(&layer.id));
        self.layers.extend(layers);
    }
}

/// What a place, or an image's name or ID, stands for among the mounts of this store.
fn wanted(graph: &Graph, target: &Path) -> anyhow::Result<Vec<MountedImage>> {
    let shown = path_text(target);
    let mut mounts = lith_archive::mounts(graph)?;
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
    mounts.retain(|mount| mount.image == Some(image));
    if mounts.is_empty() {
        bail!("{shown} is not mounted: `lith mounts` lists what is");
    }
    Ok(mounts)
}

/// Unmounts; gives the layers that went with it.
fn unmount(graph: &Graph, mount: &MountedImage) -> anyhow::Result<Vec<Swept>> {
    let shown = path_text(&mount.target);
    if mount.covered {
        bail!("something else was mounted on top of {shown}: unmount that first");
    }
    lith_drivers::unmount(&mount.target).with_context(|| format!("cannot unmount {shown}"))?;
    super::note(
        graph,
        EventKind::Unmount,
        mount.image.as_ref(),
        &mount.target.to_string_lossy(),
    );
    if mount.writable.is_some() || namespace::is_root() {
        // A user may have mounted the image at the same place in another namespace, where it
        // would go with the folder.
        writable::forget_place(graph, &mount.target);
    }
    writable::sweep(graph, mount.layer)
}

pub(super) fn list(graph: &Graph, args: &JsonArgs) -> anyhow::Result<()> {
    let mut rows: Vec<Row> = lith_archive::mounts(graph)?.iter().map(row).collect();
    for one in lith_archive::writable_images(graph)? {
        if one.target.is_none() {
            rows.push(Row {
                target: None,
                image: one.image.map(|image| image.to_string()),
                layer: one.layer.as_ref().map(text::layer),
                read_only: false,
                writable: Some(one.id.to_string()),
                pid: None,
            });
        }
    }
    // What is not mounted comes last.
    let key = |row: &Row| {
        (
            row.target.is_none(),
            row.target.clone(),
            row.writable.clone(),
        )
    };
    rows.sort_by_key(key);
    if args.json {
        return output::json(&rows);
    }
    let cells: Vec<Vec<String>> = rows.iter().map(cells).collect();
    output::print(&table::render(
        &["TARGET", "IMAGE ID", "LAYER ID", "MODE", "WRITABLE LAYER"],
        &cells,
    ))
}

fn row(mount: &MountedImage) -> Row {
    Row {
        target: Some(mount.target.to_string_lossy().into_owned()),
        image: mount.image.map(|image| image.to_string()),
        layer: mount.layer.as_ref().map(text::layer),
        read_only: mount.read_only,
        writable: mount.writable.as_ref().map(ToString::to_string),
        pid: None,
    }
}

fn cells(row: &Row) -> Vec<String> {
    let short = |id: &Option<String>| text::short(id.as_deref().unwrap_or("<none>"));
    let mode = if row.read_only {
        "read-only"
    } else {
        "writable"
    };
    vec![
        text::escape(row.target.as_deref().unwrap_or("-")),
        short(&row.image),
        short(&row.layer),
        mode.to_owned(),
        row.writable.clone().unwrap_or_else(|| "-".to_owned()),
    ]
}

fn path_text(path: &Path) -> String {
    text::escape(&path.to_string_lossy())
}
