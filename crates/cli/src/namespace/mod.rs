//! Which namespaces a command runs in: decided and entered before anything else, since only a
//! process with one thread can.
//!
//! Root needs none, but for a mount that only one command is to see. A user's store with ID maps
//! is opened in a user namespace with these maps, where the user is root. Mounts of users are in
//! such a namespace always; without ID maps the user is the only one there is in it.

mod enter;
mod subordinate;

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail};
use lith_store::{IdMaps, IdRange, Ownership, Store};

use crate::args::{Cli, Command, DriverCommand, Global};
use crate::root;

/// This process is root only of a namespace that it made.
static ENTERED: AtomicBool = AtomicBool::new(false);
/// Set for what runs in a namespace of ours.
pub(crate) const VARIABLE: &str = "LITH_NAMESPACE";

/// Returns whether this process is root, and not a user that is root of a namespace of ours.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root() && !ENTERED.load(Ordering::Relaxed) && !is_inside()
}

/// Whether a namespace of ours is around this process.
fn is_inside() -> bool {
    std::env::var_os(VARIABLE).is_some_and(|value| !value.is_empty())
        && IdMaps::of_this_process().is_ok_and(|maps| maps.root() != Some((0, 0)))
}

/// Does what this process was started for by another of ours, if it was.
pub(crate) fn helper() -> Option<ExitCode> {
    enter::helper()
}

/// Enters the namespaces that a command needs, and says in its options what that depended on.
pub(crate) fn prepare(cli: &mut Cli) -> anyhow::Result<()> {
    let needs = Needs::of(&cli.command);
    if needs == Needs::Nothing {
        return Ok(());
    }
    let path = root::path(&cli.global)?;
    if rustix::process::geteuid().is_root() {
        inside_defaults(&mut cli.global, &path)?;
        return match needs {
            Needs::Mounts => enter::mount_namespace(),
            _ => Ok(()),
        };
    }
    if needs == Needs::MountsForAll {
        bail!(
            "only root can show a mount to everybody: run the command that needs it as \
             `lith mount IMAGE -- CMD`, or run `lith unshare` and mount in there"
        );
    }
    let maps = user_maps(&mut cli.global, &path)?;
    // What follows is another user's view: of what is the default, too.
    cli.global.root = Some(path);
    let (uid, gid) = own_ids();
    let maps = match maps {
        Maps::Of(maps) => maps,
        Maps::IfAllowed(maps) => match enter_with(&maps, uid, gid) {
            Err(error) if error.is::<enter::NotAllowed>() && needs != Needs::Mounts => {
                tracing::debug!(%error, "owners are recorded");
                cli.global.ownership = Some(Ownership::Recorded);
                (cli.global.uidmap, cli.global.gidmap) = (Vec::new(), Vec::new());
                return Ok(());
            }
            entered => return entered,
        },
        Maps::None if needs == Needs::Store => return Ok(()),
        Maps::None => enter::alone(uid, gid),
    };
    match enter_with(&maps, uid, gid) {
        // Then there is nothing that was written there either.
        Err(error) if error.is::<enter::NotAllowed>() && needs == Needs::AllFiles => Ok(()),
        entered => entered,
    }
}

fn enter_with(maps: &IdMaps, uid: u32, gid: u32) -> anyhow::Result<()> {
    enter::user_namespace(maps, uid, gid)?;
    ENTERED.store(true, Ordering::Relaxed);
    Ok(())
}

fn own_ids() -> (u32, u32) {
    (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    )
}

/// What a command needs of the system.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    Store,
    /// Files that their owner cannot read, too: written by what ran in a mount.
    AllFiles,
    /// Mounts that it sees alone, with what it runs.
    Mounts,
    /// Mounts that stay when it has ended.
    MountsForAll,
}

impl Needs {
    fn of(command: &Command) -> Self {
        match command {
            Command::Load(args) if args.list => Self::Nothing,
            Command::TarSplit(_) | Command::Driver(DriverCommand::Ls(_)) => Self::Nothing,
            Command::Driver(DriverCommand::Test(_)) => Self::Mounts,
            Command::Copy(args) => {
                let store =
                    |place: &std::ffi::OsStr| place.as_encoded_bytes().starts_with(b"store:");
                if store(&args.source) || store(&args.dest) {
                    Self::Store
                } else {
                    Self::Nothing
                }
            }
            Command::Commit(_) | Command::Diff(_) => Self::AllFiles,
            Command::Mount(args) if args.command.is_empty() => Self::MountsForAll,
            Command::Mount(_) | Command::Unshare(_) => Self::Mounts,
            _ => Self::Store,
        }
    }
}

/// By which maps a user's command runs.
enum Maps {
    None,
    Of(IdMaps),
    /// For a root that is to be made, and can be made without.
    IfAllowed(IdMaps),
}

/// Finds out what the store needs; for one that is to be made, decides and notes it.
fn user_maps(global: &mut Global, path: &Path) -> anyhow::Result<Maps> {
    match Store::ownership_of(path) {
        Ok(None) => {}
        Ok(Some((_, maps))) => return Ok(maps.map_or(Maps::None, Maps::Of)),
        // Opening it says what is wrong.
        Err(_) => return Ok(Maps::None),
    }
    let (uid, gid) = own_ids();
    let given = root::id_maps(global);
    let wanted = match (global.ownership, &given) {
        (Some(ownership), _) => Some(ownership),
        (None, Some(_)) => Some(Ownership::Mapped),
        (None, None) => None,
    };
    match wanted {
        Some(Ownership::Real | Ownership::Recorded) => Ok(Maps::None),
        Some(Ownership::Mapped) => {
            let maps = match given {
                Some(maps) => maps,
                None => subordinate::maps(uid, gid).context(
                    "this user has no subordinate IDs to map: have some added (usermod \
                     --add-subuids, --add-subgids; newuidmap must be installed), or use \
                     --ownership recorded",
                )?,
            };
            maps.check()?;
            if maps.root() != Some((uid, gid)) {
                bail!(
                    "the maps of a user must make the user root: --uidmap 0:{uid}:1 and \
                     --gidmap 0:{gid}:1, further ranges for other IDs (found: {maps})"
                );
            }
            note_new(global, &maps);
            Ok(Maps::Of(maps))
        }
        None => match subordinate::maps(uid, gid) {
            Some(maps) => {
                note_new(global, &maps);
                Ok(Maps::IfAllowed(maps))
            }
            None => Ok(Maps::None),
        },
    }
}

fn note_new(global: &mut Global, maps: &IdMaps) {
    global.ownership = Some(Ownership::Mapped);
    global.uidmap.clone_from(&maps.uids);
    global.gidmap.clone_from(&maps.gids);
}

/// How a root is made by who is root only of a user namespace, ours or that of a container: the
/// kernel lets nobody make devices there.
fn inside_defaults(global: &mut Global, path: &Path) -> anyhow::Result<()> {
    if global.ownership.is_some() || root::id_maps(global).is_some() {
        return Ok(());
    }
    if !matches!(Store::ownership_of(path), Ok(None)) {
        return Ok(());
    }
    let here = IdMaps::of_this_process().context("cannot read the ID maps of this process")?;
    // All IDs there are, but for the one that means none: the machine's own.
    let whole = |ranges: &[IdRange]| matches!(ranges, [all] if all.count == u32::MAX);
    if whole(&here.uids) && whole(&here.gids) {
        return Ok(());
    }
    if here.uids.iter().all(|range| range.count == 1) {
        global.ownership = Some(Ownership::Recorded);
    } else {
        note_new(global, &here);
    }
    Ok(())
}
