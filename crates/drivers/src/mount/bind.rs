//! Bind mounts.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Access, AtFlags, Mode, Stat, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use super::MountRequest;
use super::target::Target;
use crate::tree::handle;

/// Shows a tree at a directory.
pub(crate) fn bind(
    tree: BorrowedFd<'_>,
    target: &Target,
    request: &MountRequest<'_>,
) -> io::Result<()> {
    rustix::mount::mount_bind(handle::magic_path(tree), target.magic_path())?;
    restrict(tree, target, request).inspect_err(|_| {
        // What could still be written must not stay.
        if let Err(error) =
            rustix::mount::unmount(&target.path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
        {
            tracing::warn!(target = %target.path.display(), %error, "cannot unmount");
        }
    })
}

fn restrict(tree: BorrowedFd<'_>, target: &Target, request: &MountRequest<'_>) -> io::Result<()> {
    // The mount's own root, not what it covers; and nothing else that came in between.
    let mounted = rustix::fs::open(&target.path, handle::DIRECTORY, Mode::empty())?;
    let same = |a: &Stat, b: &Stat| (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino);
    if !same(&rustix::fs::fstat(&mounted)?, &rustix::fs::fstat(tree)?) {
        return Err(io::Error::other("the mount point was moved meanwhile"));
    }
    let path = handle::magic_path(mounted.as_fd());
    let mut flags = MountFlags::BIND | inherited(&mounted)?;
    for (wanted, flag) in [
        (request.read_only, MountFlags::RDONLY),
        (!request.set_id, MountFlags::NOSUID),
        (!request.devices, MountFlags::NODEV),
    ] {
        if wanted {
            flags |= flag;
        }
    }
    rustix::mount::mount_remount(path.as_str(), flags, c"")?;
    // A mount on a shared place would otherwise let later mounts below it leak into others.
    match rustix::mount::mount_change(path.as_str(), MountPropagationFlags::PRIVATE) {
        Err(Errno::INVAL) => {}
        done => done?,
    }
    if !request.read_only {
        return Ok(());
    }
    // The kernel said yes; see that it is so.
    match rustix::fs::accessat(&mounted, ".", Access::WRITE_OK, AtFlags::empty()) {
        Err(Errno::ROFS) => Ok(()),
        _ => Err(io::Error::other("the mount can still be written")),
    }
}

/// Changes whether a mount can be written.
pub(crate) fn set_read_only(target: &Path, read_only: bool) -> io::Result<()> {
    let mounted = rustix::fs::open(target, handle::DIRECTORY, Mode::empty())?;
    let mut flags = MountFlags::BIND | inherited(&mounted)?;
    if read_only {
        flags |= MountFlags::RDONLY;
    }
    let path = handle::magic_path(mounted.as_fd());
    Ok(rustix::mount::mount_remount(path.as_str(), flags, c"")?)
}

/// What the file system is mounted with already: a user namespace may not take it away.
fn inherited(mounted: &OwnedFd) -> io::Result<MountFlags> {
    let found = rustix::fs::fstatvfs(mounted)?.f_flag;
    let mut flags = MountFlags::empty();
    for (has, flag) in [
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ] {
        flags.set(flag, found.contains(has));
    }
    Ok(flags)
}
