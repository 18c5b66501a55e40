//! Entering a user namespace.
//!
//! Has to come before there is a second thread. Maps of more than the user's own IDs are written
//! by `newuidmap` and `newgidmap`, which must run outside: a helper process, this program again,
//! is started before and waits until the namespace is there.

use std::fs;
use std::io::{Read, Write};
use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::{Context, bail};
use lith_store::{IdMaps, IdRange};
use nix::sched::{CloneFlags, unshare};
use rustix::mount::MountPropagationFlags;

use super::subordinate;

/// The first argument of the helper process.
const HELPER: &str = "write-id-maps";

/// A failure that has changed nothing: whoever has another way can go it.
#[derive(Debug)]
pub(super) struct NotAllowed(nix::Error);

impl std::fmt::Display for NotAllowed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(
            "this system lets users make no user namespaces (see /proc/sys/user/max_user_namespaces, \
             and the settings of the security module)",
        )
    }
}

impl std::error::Error for NotAllowed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// Returns the maps by which a user is root, and nobody else is there.
pub(super) fn alone(uid: u32, gid: u32) -> IdMaps {
    let single = |host| {
        vec![IdRange {
            container: 0,
            host,
            count: 1,
        }]
    };
    IdMaps {
        uids: single(uid),
        gids: single(gid),
    }
}

/// Moves this process into a user namespace with these maps, and a mount namespace.
pub(super) fn user_namespace(maps: &IdMaps, uid: u32, gid: u32) -> anyhow::Result<()> {
    let flags = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS;
    if *maps == alone(uid, gid) {
        unshare(flags).map_err(NotAllowed)?;
        // Or a user could drop a group to get past what denies that group.
        return write("/proc/self/setgroups", "deny")
            .and_then(|()| write("/proc/self/uid_map", &lines(&maps.uids)))
            .and_then(|()| write("/proc/self/gid_map", &lines(&maps.gids)));
    }
    let mut helper = start_helper(maps)?;
    let unshared = unshare(flags);
    let go = if unshared.is_ok() { &b"go"[..] } else { b"" };
    let mut stdin = helper.stdin.take().context("the helper has no input")?;
    let told = stdin.write_all(go);
    drop(stdin);
    let mut said = String::new();
    if let Some(mut stderr) = helper.stderr.take() {
        stderr.read_to_string(&mut said).unwrap_or_default();
    }
    let status = helper.wait().context("cannot wait for the helper")?;
    unshared.map_err(NotAllowed)?;
    told.context("cannot talk to the helper")?;
    if !status.success() {
        bail!(
            "cannot set the ID maps ({maps}): {}; the files /etc/subuid and /etc/subgid say which \
             IDs the user may map",
            said.trim()
        );
    }
    Ok(())
}

/// Moves this process, which is root, into a mount namespace of its own.
pub(super) fn mount_namespace() -> anyhow::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("cannot make a mount namespace")?;
    let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", flags)
        .context("cannot keep mounts to the namespace: / is no mount point")
}

fn write(path: &str, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {path}"))
}

fn lines(ranges: &[IdRange]) -> String {
    let line = |range: &IdRange| format!("{} {} {}\n", range.container, range.host, range.count);
    ranges.iter().map(line).collect()
}

fn start_helper(maps: &IdMaps) -> anyhow::Result<Child> {
    let this = std::env::current_exe().context("cannot find this program")?;
    let mut helper = Command::new(this);
    helper.arg(HELPER).arg(std::process::id().to_string());
    for (program, ranges) in [("newuidmap", &maps.uids), ("newgidmap", &maps.gids)] {
        let program = subordinate::program(program)
            .with_context(|| format!("no {program} that may map subordinate IDs is installed"))?;
        let ranges: Vec<String> = ranges.iter().map(ToString::to_string).collect();
        helper.arg(program).arg(ranges.join(","));
    }
    helper
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start the process that sets the ID maps")
}

/// Does the helper's work, where this process is the helper.
pub(super) fn helper() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    if args.next()? != HELPER {
        return None;
    }
    let mut go = Vec::new();
    if std::io::stdin().read_to_end(&mut go).is_err() || go != b"go" {
        return Some(ExitCode::FAILURE);
    }
    let process = args.next()?;
    while let (Some(program), Some(ranges)) = (args.next(), args.next()) {
        let ranges = ranges.to_string_lossy().replace(',', ":");
        let status = Command::new(program)
            .arg(&process)
            .args(ranges.split(':'))
            .stdin(Stdio::null())
            .status();
        if !status.is_ok_and(|status| status.success()) {
            return Some(ExitCode::FAILURE);
        }
    }
    Some(ExitCode::SUCCESS)
}
