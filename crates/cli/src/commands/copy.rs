//! `lith copy`: images from anywhere to anywhere, through the store only where it is named.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, bail};
use lith_archive::{CopiedImage, CopyOptions, LoadOptions, Location, SaveOptions};
use lith_graph::{Graph, Observer};

use super::Open;
use crate::args::CopyArgs;
use crate::dest::{Dest, Place};
use crate::input;
use crate::output::progress::Progress;
use crate::output::{self, text};

pub(super) fn run(open: Open<'_, '_>, args: &CopyArgs, quiet: bool) -> anyhow::Result<()> {
    let dest = Dest::parse(&args.dest, args.format).context("DEST")?;
    if args.json && dest.place == Place::Standard {
        bail!("standard output cannot take both the copy and --json: write to a file");
    }
    let progress = Progress::new(quiet);
    let images = match (Location::parse(&args.source)?, &dest.place) {
        (Location::Store { .. }, Place::Store) => {
            bail!("source and destination are one store: `lith tag` gives an image another name")
        }
        (Location::Store { name }, _) => from_store(open()?, &name, &dest, args, &progress),
        (_, Place::Store) => into_store(open, &dest, args, &progress),
        (source, _) => {
            refuse_same(&source, &dest)?;
            between(&dest, args, &progress)
        }
    }?;
    drop(progress);
    if args.json {
        return output::json(&images);
    }
    // Standard output may be where the copy went.
    if dest.place == Place::Standard {
        return Ok(());
    }
    let members = images.iter().flat_map(|image| &image.members);
    let members: BTreeSet<_> = members.collect();
    for image in &images {
        // What an index consists of is part of it.
        if !image.names.is_empty() || !members.contains(&image.id) {
            output::image("Copied", &image.names, &image.id)?;
        }
    }
    Ok(())
}

/// Copies without a store.
fn between(
    dest: &Dest,
    args: &CopyArgs,
    observer: &dyn Observer,
) -> anyhow::Result<Vec<CopiedImage>> {
    let mut options = CopyOptions::default();
    options.images.clone_from(&args.images);
    options.platform.clone_from(&args.platform);
    options.all_platforms = args.all_platforms;
    options.name.clone_from(&dest.name);
    options.index_name.clone_from(&dest.index_name);
    options.tags = super::new_names(&args.tag).context("--tag")?;
    options.format = dest.format;
    options.compression = args.compress;
    options.docker_layout = args.docker_layout;
    let (name, source) = input::open(&args.source)?;
    dest.place.write(|target, waiting| {
        let report = lith_archive::copy(source, target, waiting, &options, observer);
        Ok(report
            .with_context(|| format!("cannot copy {name}"))?
            .images)
    })
}

/// Does what `lith save` does.
fn from_store(
    graph: &Graph,
    name: &str,
    dest: &Dest,
    args: &CopyArgs,
    observer: &dyn Observer,
) -> anyhow::Result<Vec<CopiedImage>> {
    if !args.images.is_empty() {
        bail!("store: names its image itself: no other can be given");
    }
    if args.all_platforms && !dest.format.takes_indexes() {
        bail!("{} holds no images for several platforms", dest.format);
    }
    let selection = super::select_for(dest.format, graph, &[name.to_owned()])?;
    let mut options = SaveOptions::default();
    options.platform.clone_from(&args.platform);
    options.name.clone_from(&dest.name);
    options.index_name.clone_from(&dest.index_name);
    options.tags = super::new_names(&args.tag).context("--tag")?;
    options.format = dest.format;
    options.compression = args.compress;
    options.docker_layout = args.docker_layout;
    dest.place.write(|target, _| {
        let report = lith_archive::save(graph, &selection, target, &options, observer);
        let name = text::escape(name);
        Ok(report
            .with_context(|| format!("cannot copy {name}"))?
            .images)
    })
}

/// Does what `lith load` does.
fn into_store(
    open: Open<'_, '_>,
    dest: &Dest,
    args: &CopyArgs,
    observer: &dyn Observer,
) -> anyhow::Result<Vec<CopiedImage>> {
    if args.compress.is_some() || args.docker_layout != Default::default() {
        bail!("the store has no --compress and no --docker-layout");
    }
    let (name, source) = input::open(&args.source)?;
    let mut options = LoadOptions::default();
    options.images.clone_from(&args.images);
    options.platform.clone_from(&args.platform);
    options.all_platforms = args.all_platforms;
    options.name.clone_from(&dest.name);
    options.tags = super::new_names(&args.tag).context("--tag")?;
    let report = lith_archive::load(open()?, source, &options, observer)
        .with_context(|| format!("cannot copy {name}"))?;
    Ok(report.images.into_iter().map(CopiedImage::from).collect())
}

/// Refuses to read what is to be written.
fn refuse_same(source: &Location, dest: &Dest) -> anyhow::Result<()> {
    let from = match source {
        Location::Path(path)
        | Location::DockerArchive { path, .. }
        | Location::OciArchive { path, .. } => path,
        Location::OciDir { dir, .. } | Location::DockerDir { dir } => dir,
        _ => return Ok(()),
    };
    let (Place::File(to) | Place::Folder(to)) = &dest.place else {
        return Ok(());
    };
    let (Ok(from), Ok(there)) = (fs::metadata(from), fs::metadata(to)) else {
        return Ok(());
    };
    if (from.dev(), from.ino()) == (there.dev(), there.ino()) {
        bail!("{} is source and destination at once", to.display());
    }
    Ok(())
}
