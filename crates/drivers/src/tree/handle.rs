//! Directory handles: opening below them without ever leaving.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::name;

/// A handle that only stands for a directory: nothing is read through it.
pub(crate) const DIRECTORY: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
/// A directory to be listed.
pub(crate) const LISTING: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
/// A handle for any kind of file that opens nothing: no device wakes up.
pub(crate) const NODE: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// A regular file for reading; a fifo would not block, a terminal would not become ours.
pub(crate) const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);
/// A file of ours that is there, to be read and written.
pub(crate) const CHANGE: OFlags = OFlags::RDWR.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// A new file, never an existing one.
pub(crate) const CREATE: OFlags = OFlags::RDWR
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Paths longer than this are opened piece by piece (the kernel takes 4095 bytes at once).
const LONGEST: usize = 3800;

static NO_OPENAT2: AtomicBool = AtomicBool::new(false);

/// Opens `path`, which has no `..` and no slash at its ends, below `root`, through no link.
///
/// The empty path opens the root again. `flags` are for the last part; everything before it must
/// be a directory.
pub(crate) fn open_below(
    root: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    if path.is_empty() {
        return rustix::fs::openat(root, c".", flags, Mode::empty());
    }
    let mut rest = path;
    let mut held: Option<OwnedFd> = None;
    while rest.len() > LONGEST {
        let window = rest.get(..LONGEST).unwrap_or(rest);
        // A part that is longer than any file name: the kernel says so.
        let cut = window
            .iter()
            .rposition(|byte| *byte == b'/')
            .ok_or(Errno::NAMETOOLONG)?;
        let (piece, behind) = rest.split_at(cut);
        let dir = held.as_ref().map_or(root, |fd| fd.as_fd());
        held = Some(open_piece(dir, piece, DIRECTORY)?);
        rest = behind.get(1..).unwrap_or_default();
    }
    open_piece(held.as_ref().map_or(root, |fd| fd.as_fd()), rest, flags)
}

fn open_piece(dir: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    if !path.contains(&b'/') {
        return rustix::fs::openat(dir, path, flags | OFlags::NOFOLLOW, Mode::empty());
    }
    if !NO_OPENAT2.load(Ordering::Relaxed) {
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        // EAGAIN: something was renamed meanwhile, and the kernel could not be sure.
        for _ in 0..64 {
            match rustix::fs::openat2(dir, path, flags, Mode::empty(), how) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                // Kernels before 5.6, and seccomp filters that do not know the call.
                Err(Errno::NOSYS | Errno::PERM) => {
                    NO_OPENAT2.store(true, Ordering::Relaxed);
                    break;
                }
                done => return done,
            }
        }
    }
    open_by_parts(dir, path, flags)
}

/// The same, part by part.
fn open_by_parts(dir: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let (parent, last) = name::split(path);
    let mut held: Option<OwnedFd> = None;
    for part in name::parts(parent) {
        let at = held.as_ref().map_or(dir, |fd| fd.as_fd());
        held = Some(rustix::fs::openat(at, part, DIRECTORY, Mode::empty())?);
    }
    let at = held.as_ref().map_or(dir, |fd| fd.as_fd());
    rustix::fs::openat(at, last, flags | OFlags::NOFOLLOW, Mode::empty())
}

/// Opens a directory to be listed.
///
/// # Errors
/// `BUSY` when something is mounted on it.
pub(crate) fn open_unmounted(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    loop {
        match rustix::fs::openat2(dir, name, LISTING, Mode::empty(), how) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(Errno::XDEV) => return Err(Errno::BUSY),
            Err(Errno::NOSYS | Errno::PERM) => {
                let fd = rustix::fs::openat(dir, name, LISTING, Mode::empty())?;
                let same = rustix::fs::fstat(&fd)?.st_dev == rustix::fs::fstat(dir)?.st_dev;
                return if same { Ok(fd) } else { Err(Errno::BUSY) };
            }
            done => return done,
        }
    }
}

/// Says what stands at `name` in a directory, itself and not what it points to.
pub(crate) fn look(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Option<Stat>, Errno> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(other) => Err(other),
    }
}

pub(crate) fn kind_of(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Returns whether this is what overlay file systems take for a deleted name.
pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    kind_of(stat) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// The path by which calls that know no handles reach exactly what a handle stands for.
///
/// What it leads to is the handle's own file: no name is looked up, no link is followed.
pub(crate) fn magic_path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// Opens a regular file for reading, leaving its access time alone where that is allowed.
///
/// # Errors
/// `InvalidInput` for whatever is no regular file; that is looked at before it is opened.
pub(crate) fn open_regular(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<(OwnedFd, Stat)> {
    let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    expect_regular(&stat)?;
    open_own(dir, name)
}

/// The same in a tree of the store's own, where files stand whose record says so: what is no
/// regular file is refused when it is open.
///
/// # Errors
/// `InvalidInput`, or the kernel's, for whatever is no regular file.
pub(crate) fn open_own(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<(OwnedFd, Stat)> {
    let fd = match rustix::fs::openat(dir, name, READ | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => rustix::fs::openat(dir, name, READ, Mode::empty())?,
        done => done?,
    };
    let stat = rustix::fs::fstat(&fd)?;
    expect_regular(&stat)?;
    Ok((fd, stat))
}

fn expect_regular(stat: &Stat) -> io::Result<()> {
    match kind_of(stat) {
        FileType::RegularFile => Ok(()),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_below_and_never_through_links() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(temp.path().join("a/b/c")).unwrap();
        std::os::unix::fs::symlink("/etc", temp.path().join("a/out")).unwrap();
        std::os::unix::fs::symlink("b", temp.path().join("a/in")).unwrap();
        let root = rustix::fs::open(temp.path(), DIRECTORY, Mode::empty()).unwrap();
        for open in [open_below, |d: BorrowedFd<'_>, p: &[u8], f| {
            open_by_parts(d, p, f)
        }] {
            open(root.as_fd(), b"a/b/c", DIRECTORY).unwrap();
            for bad in [&b"a/out"[..], b"a/out/passwd", b"a/in", b"a/in/c"] {
                assert!(open(root.as_fd(), bad, DIRECTORY).is_err(), "{bad:?}");
            }
            assert_eq!(
                open(root.as_fd(), b"a/none/c", DIRECTORY).unwrap_err(),
                Errno::NOENT
            );
        }
    }

    #[test]
    fn paths_may_be_longer_than_the_kernel_takes() {
        let temp = tempfile::tempdir().unwrap();
        let root = rustix::fs::open(temp.path(), DIRECTORY, Mode::empty()).unwrap();
        let part = vec![b'd'; 200];
        let (mut path, mut at) = (Vec::new(), root.try_clone().unwrap());
        for _ in 0..60 {
            rustix::fs::mkdirat(&at, part.as_slice(), Mode::RWXU).unwrap();
            at = open_below(at.as_fd(), &part, DIRECTORY).unwrap();
            name::push(&mut path, &part);
        }
        let there = open_below(root.as_fd(), &path, DIRECTORY).unwrap();
        let (one, two) = (
            rustix::fs::fstat(&there).unwrap(),
            rustix::fs::fstat(&at).unwrap(),
        );
        assert_eq!(one.st_ino, two.st_ino);
        let long = vec![b'x'; 5000];
        assert_eq!(
            open_below(root.as_fd(), &long, DIRECTORY).unwrap_err(),
            Errno::NAMETOOLONG
        );
    }

    #[test]
    fn only_regular_files_are_opened() {
        let temp = tempfile::tempdir().unwrap();
        let root = rustix::fs::open(temp.path(), DIRECTORY, Mode::empty()).unwrap();
        rustix::fs::mknodat(&root, "fifo", FileType::Fifo, Mode::RWXU, 0).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", temp.path().join("link")).unwrap();
        std::fs::write(temp.path().join("file"), "x").unwrap();
        assert!(open_regular(root.as_fd(), b"fifo").is_err());
        assert!(open_regular(root.as_fd(), b"link").is_err());
        assert!(open_regular(root.as_fd(), b".").is_err());
        open_regular(root.as_fd(), b"file").unwrap();
    }
}
