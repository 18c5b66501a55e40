//! What `lith diff` compares and `lith export` writes: a writable layer, an image of the store, or
//! an image of an archive.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use lith_archive::oci::Platform;
use lith_archive::{LoadOptions, LoadedImage, Location};
use lith_drivers::{CacheId, LayerTree};
use lith_graph::Graph;
use lith_store::{OpenOptions, Session, Store};

use super::held::Held;
use super::writable;
use crate::input;
use crate::output::progress::Progress;
use crate::output::text;

/// One of them, held for as long as this lives.
pub(super) enum Side {
    Writable(CacheId),
    Image(Held),
    Archive(Unpacked),
}

/// An image of an archive, in a store of its own that goes with it.
pub(super) struct Unpacked {
    image: Option<Held>,
    graph: Option<Graph>,
    session: Option<Session>,
}

/// Finds a mount's place, the ID of a writable layer, an image, or a SOURCE with one image.
pub(super) fn find(
    graph: &Graph,
    wanted: &str,
    platform: Option<&Platform>,
) -> anyhow::Result<Side> {
    if let Some(mount) = writable::mount_at(graph, Path::new(wanted))? {
        if let Some(id) = mount.writable {
            return Ok(Side::Writable(id));
        }
        if let Some(image) = mount.image {
            return Ok(Side::Image(Held::new(graph, &image)?));
        }
    }
    if let Some(id) = writable::find(graph, wanted)? {
        return Ok(Side::Writable(id));
    }
    match super::resolve(graph, wanted) {
        Ok(found) => {
            let image = lith_archive::pick(graph.store(), &found, platform)?;
            Ok(Side::Image(Held::new(graph, &image)?))
        }
        Err(_) if is_source(wanted) => Ok(Side::Archive(unpack(graph, wanted, platform)?)),
        Err(error) => Err(error),
    }
}

/// True for a path where something is, and for a source with its prefix.
fn is_source(wanted: &str) -> bool {
    match Location::parse(wanted.as_ref()) {
        Ok(Location::Path(path)) => path.exists(),
        Ok(Location::Standard | Location::Store { .. }) | Err(_) => false,
        Ok(_) => true,
    }
}

/// Loads an archive into a store in this one's staging: whatever ends this command, it goes.
fn unpack(graph: &Graph, source: &str, platform: Option<&Platform>) -> anyhow::Result<Unpacked> {
    let store = graph.store();
    let session = store.begin_small()?;
    let root: PathBuf = session.dir().join("unpacked");
    let mut unpacked = Unpacked {
        image: None,
        graph: None,
        session: Some(session),
    };
    let options = OpenOptions {
        driver: Some(store.driver().to_owned()),
        plugin: Store::plugin_of(store.root().path())?,
        ownership: Some(store.ownership()),
        id_maps: store.id_maps().cloned(),
        create: true,
    };
    let own = unpacked
        .graph
        .insert(Graph::open_root(&root, &options).context("cannot make a store for the archive")?);
    let (name, input) = input::open(source.as_ref())?;
    let mut options = LoadOptions::default();
    options.platform = platform.cloned();
    let progress = Progress::new(true);
    let report = lith_archive::load(own, input, &options, &progress)
        .with_context(|| format!("cannot load {name}"))?;
    let [image] = &report.images[..] else {
        bail!("{name} holds several images: {}", several(&report.images));
    };
    unpacked.image = Some(Held::new(own, &image.id)?);
    Ok(unpacked)
}

fn several(images: &[LoadedImage]) -> String {
    let name = |image: &LoadedImage| match image.names.first() {
        Some(name) => name.familiar(),
        None => image.id.to_string(),
    };
    let names: Vec<String> = images.iter().map(name).collect();
    let names = text::escape(&names.join(", "));
    format!("write docker-archive:PATH:NAME, say, with one of {names}")
}

impl Side {
    /// The whole tree; none of an image without layers.
    pub(super) fn tree(&self, graph: &Graph) -> anyhow::Result<Option<LayerTree>> {
        let of_image = |graph: &Graph, image: &Held| -> anyhow::Result<Option<LayerTree>> {
            let tree = image.top.as_ref().map(|top| graph.tree(top));
            Ok(tree.transpose()?)
        };
        match self {
            Side::Writable(id) => Ok(Some(graph.tree_of_writable(id)?)),
            Side::Image(image) => of_image(graph, image),
            Side::Archive(unpacked) => match (&unpacked.graph, &unpacked.image) {
                (Some(own), Some(image)) => of_image(own, image),
                _ => Ok(None),
            },
        }
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        // Before the folder goes that they are in.
        self.image.take();
        self.graph.take();
        if let Some(session) = self.session.take()
            && let Err(error) = session.end()
        {
            tracing::warn!(%error, "an unpacked archive stays until the next command");
        }
    }
}
