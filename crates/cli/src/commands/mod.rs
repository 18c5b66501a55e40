//! The commands, one file each.

mod commit;
mod copy;
mod diff;
mod driver;
mod events;
mod held;
mod history;
mod images;
mod info;
mod inside;
mod inspect;
mod layers;
mod load;
mod mount;
mod names;
mod prune;
mod rmi;
mod save;
mod side;
mod store;
mod tar_split;
mod tree;
mod writable;

use std::cell::OnceCell;
use std::process::ExitCode;

use anyhow::Context;
use lith_graph::Graph;

use crate::args::{Cli, Command, DriverCommand, StoreCommand};
use crate::root;

/// The exit status of a command that failed.
pub(crate) fn failure(cli: &Cli) -> ExitCode {
    match &cli.command {
        Command::Diff(args) if args.exit_code => ExitCode::from(diff::FAILED),
        _ => ExitCode::FAILURE,
    }
}

/// Runs the command that the line asks for; gives the exit status.
pub(crate) fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    let opened = OnceCell::new();
    let status = dispatch(cli, &|| {
        if let Some(graph) = opened.get() {
            return Ok(graph);
        }
        let graph = root::open(&cli.global)?;
        Ok(opened.get_or_init(|| graph))
    })?;
    if let Some(graph) = opened.get() {
        sync(graph, cli.global.sync)?;
    }
    Ok(status)
}

/// Sees to it that layers are known to be on the disk: waits for that where it is asked for or costs
/// little.
fn sync(graph: &Graph, wait: bool) -> anyhow::Result<()> {
    if wait {
        let synced = graph.sync_layers();
        synced.context("cannot wait until the files of all layers are on the disk")?;
    } else if let Err(error) = graph.sync_layers_if_cheap() {
        // The command has done what it was to do; somebody else will.
        tracing::debug!(%error, "layers are not known to be on the disk");
    }
    Ok(())
}

/// What opens the store, for commands that need it.
type Open<'o, 'g> = &'o dyn Fn() -> anyhow::Result<&'g Graph>;

fn dispatch(cli: &Cli, open: Open<'_, '_>) -> anyhow::Result<ExitCode> {
    let global = &cli.global;
    let done = match &cli.command {
        Command::Mount(args) if !args.command.is_empty() => {
            return mount::with_command(open()?, args, global.quiet);
        }
        Command::Unshare(args) => return inside::unshare(&args.command, &root::path(global)?),
        Command::Driver(DriverCommand::Ls(args)) => driver::list(global, args),
        Command::Driver(DriverCommand::Test(args)) => return driver::test(open()?, args),
        Command::Store(StoreCommand::Migrate(args)) => store::migrate(global, args),
        Command::Diff(args) => return diff::run(open()?, args),
        Command::Load(args) if args.list => load::list(args, global.quiet),
        Command::Load(args) => load::run(open()?, args, global.quiet),
        Command::Save(args) => save::run(open()?, args, global.quiet),
        Command::Copy(args) => copy::run(open, args, global.quiet),
        Command::Images(args) => images::run(open()?, args, global.quiet),
        Command::Inspect(args) => inspect::run(open()?, args),
        Command::History(args) => history::run(open()?, args),
        Command::Layers(args) => layers::run(open()?, args),
        Command::Tree(args) => tree::run(open()?, args),
        Command::Events(args) => events::run(open()?, args),
        Command::Tag(args) => names::tag(open()?, args, global.quiet),
        Command::Untag(args) => names::untag(open()?, args),
        Command::Rmi(args) => rmi::run(open()?, args),
        Command::Prune(args) => prune::run(open()?, args),
        Command::Mount(args) => mount::mount(open()?, args),
        Command::Umount(args) => mount::umount(open()?, args, global.quiet),
        Command::Mounts(args) => mount::list(open()?, args),
        Command::Commit(args) => commit::commit(open()?, args, global.quiet),
        Command::Import(args) => commit::import(open()?, args, global.quiet),
        Command::Export(args) => diff::export(open()?, args),
        Command::Info(args) => info::run(open()?, args),
        Command::TarSplit(command) => tar_split::run(command),
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// The one image that a name, an ID or the start of one stands for.
fn resolve(graph: &Graph, wanted: &str) -> anyhow::Result<lith_store::ImageId> {
    Ok(lith_archive::resolve_one(graph.store(), wanted)?.id)
}

/// As [`resolve`], and where that is an index, its image for a platform.
fn resolve_for(
    graph: &Graph,
    wanted: &str,
    platform: Option<&lith_archive::oci::Platform>,
) -> anyhow::Result<lith_store::ImageId> {
    let found = resolve(graph, wanted)?;
    Ok(lith_archive::pick(graph.store(), &found, platform)?)
}

/// Finds and holds images that are to be written in `format`, which may be one for one image.
fn select_for(
    format: lith_archive::Format,
    graph: &Graph,
    wanted: &[String],
) -> Result<lith_archive::Selection, lith_archive::SelectError> {
    if format.takes_several() {
        lith_archive::select(graph, wanted)
    } else {
        lith_archive::select_single(graph, wanted)
    }
}

/// Names that an image can be given: `latest` where there is no tag, and no digest.
fn new_names(names: &[String]) -> anyhow::Result<Vec<lith_store::Reference>> {
    let parse = |name: &String| {
        let parsed = lith_store::Reference::parse(name)?;
        if parsed.digest().is_some() {
            let name = crate::output::text::escape(name);
            anyhow::bail!("{name}: a name that is given to an image has no digest");
        }
        Ok(parsed)
    };
    names.iter().map(parse).collect()
}

/// Takes note of what was done. It is done by now, whether that can be noted or not.
fn note(
    graph: &Graph,
    kind: lith_store::EventKind,
    image: Option<&lith_store::ImageId>,
    subject: &str,
) {
    if let Err(error) = graph.store().record_event(kind, image, Some(subject)) {
        tracing::warn!(%error, %kind, subject, "not noted as an event");
    }
}
