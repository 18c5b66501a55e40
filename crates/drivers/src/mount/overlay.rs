//! Kernel overlay mounts.
//!
//! A writable layer is mounted with these options, so that its upper directory alone says what
//! was changed, and goes on saying so when it is mounted again or read without a mount:
//!
//! - `redirect_dir=off`: a lower directory that is renamed is copied by whoever renames it, and the
//!   upper one has all of it; with redirects it would be empty and name another place. (`nofollow`
//!   with `userxattr`, where the kernel takes nothing else.)
//! - `metacopy=off`: a file whose owner or mode is changed is copied up with its content.
//! - `index=off`: a name of a lower file with several is copied up alone and the other names keep
//!   the old bytes, as on kernels without the option; with an index, a change would show under names
//!   that the upper directory does not have. It is also what keeps the kernel from refusing the same
//!   upper directory twice; that is done here.
//! - not `volatile`: such a mount loses what was written when the machine dies, and can then not be
//!   mounted again. A writable layer is to survive.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags};

use super::MountRequest;
use super::target::Target;
use crate::options::Ownership;
use crate::tree::handle;
use crate::tree::recorded::Means;

/// The kernel puts at most so many layers on top of each other.
pub(crate) const LIMIT: usize = 500;

/// Options of a mount that is written: see above.
const WRITABLE: [(&str, &str); 2] = [("metacopy", "off"), ("index", "off")];

/// What is to be laid over each other.
#[derive(Debug)]
pub(crate) struct Layers<'a> {
    /// The driver's folder.
    pub(crate) home: &'a Path,
    pub(crate) home_fd: BorrowedFd<'a>,
    /// Trees below it, topmost first: at least two, or one under an upper directory.
    pub(crate) trees: &'a [String],
    /// The directory that is written, and the kernel's own beside it, below the driver's folder.
    pub(crate) upper: Option<(&'a str, &'a str)>,
    /// What the mount table is to call it.
    pub(crate) source: &'a str,
    /// Directories hide those below by `user.overlay.` attributes, not by `trusted.overlay.` ones.
    pub(crate) user_xattrs: bool,
    /// A folder for short names, where the kernel needs them.
    pub(crate) work: BorrowedFd<'a>,
}

impl Layers<'_> {
    /// The options of a mount that is written.
    fn written(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        // `off` follows redirects that are there, which the kernel refuses for users' attributes.
        let redirect = if self.user_xattrs { "nofollow" } else { "off" };
        [("redirect_dir", redirect)].into_iter().chain(WRITABLE)
    }
}

/// Why a mount did not come about, with what the kernel said about it.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) detail: String,
    pub(crate) source: io::Error,
}

impl From<Errno> for Refusal {
    fn from(error: Errno) -> Self {
        Self {
            detail: String::new(),
            source: error.into(),
        }
    }
}

impl From<io::Error> for Refusal {
    fn from(source: io::Error) -> Self {
        Self {
            detail: String::new(),
            source,
        }
    }
}

/// Shows the layers at a directory.
pub(crate) fn mount(
    layers: &Layers<'_>,
    target: &Target,
    request: &MountRequest<'_>,
    old_api: bool,
) -> Result<(), Refusal> {
    if !old_api {
        match mount_new(layers, target, request) {
            Ok(()) => return Ok(()),
            Err(Attempt::NotThere) => {}
            Err(Attempt::Refused(refusal)) => return Err(refusal),
        }
    }
    mount_old(layers, target, request)
}

enum Attempt {
    /// The kernel does not know the call, or not this way to name layers.
    NotThere,
    Refused(Refusal),
}

/// Names the layers one by one.
fn mount_new(
    layers: &Layers<'_>,
    target: &Target,
    request: &MountRequest<'_>,
) -> Result<(), Attempt> {
    let context = match rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC) {
        Err(Errno::NOSYS | Errno::PERM) => return Err(Attempt::NotThere),
        context => context.map_err(|error| Attempt::Refused(error.into()))?,
    };
    let refused = |error: Errno| {
        Attempt::Refused(Refusal {
            detail: messages(context.as_fd()),
            source: error.into(),
        })
    };
    rustix::mount::fsconfig_set_string(&context, "source", layers.source).map_err(refused)?;
    if layers.user_xattrs {
        rustix::mount::fsconfig_set_flag(&context, "userxattr").map_err(refused)?;
    }
    let set = |option: &str, tree: &str| -> Result<Result<(), Errno>, Attempt> {
        let path = layers.home.join(tree);
        let held: OwnedFd;
        let name = if is_plain(&path) {
            path
        } else {
            let opened = handle::open_below(layers.home_fd, tree.as_bytes(), handle::DIRECTORY);
            held = opened.map_err(|error| Attempt::Refused(error.into()))?;
            PathBuf::from(handle::magic_path(held.as_fd()))
        };
        Ok(rustix::mount::fsconfig_set_string(&context, option, &name))
    };
    for (index, tree) in layers.trees.iter().enumerate() {
        match set("lowerdir+", tree)? {
            Ok(()) => {}
            // Kernels before 6.7 do not know the option.
            Err(Errno::INVAL) if index == 0 => return Err(Attempt::NotThere),
            Err(error) => return Err(refused(error)),
        }
    }
    if let Some((upper, work)) = layers.upper {
        set("upperdir", upper)?.map_err(refused)?;
        set("workdir", work)?.map_err(refused)?;
        for (option, value) in layers.written() {
            rustix::mount::fsconfig_set_string(&context, option, value).map_err(refused)?;
        }
    }
    rustix::mount::fsconfig_create(&context).map_err(refused)?;
    let mut attributes = MountAttrFlags::empty();
    attributes.set(MountAttrFlags::MOUNT_ATTR_RDONLY, request.read_only);
    attributes.set(MountAttrFlags::MOUNT_ATTR_NOSUID, !request.set_id);
    attributes.set(MountAttrFlags::MOUNT_ATTR_NODEV, !request.devices);
    let mount = rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        .map_err(refused)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(&mount, "", &target.fd, "", flags).map_err(refused)
}

/// Returns whether the mount table can show a path, and the kernel take it as one string.
fn is_plain(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    let plain = |byte: &u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'_' | b'-' | b'+' | b'@')
    };
    bytes.len() < 250 && bytes.iter().all(plain)
}

/// Returns what the kernel noted about a mount that is being set up.
fn messages(context: BorrowedFd<'_>) -> String {
    let mut text = String::new();
    let mut buffer = [0; 1024];
    for _ in 0..16 {
        match rustix::io::read(context, &mut buffer) {
            Ok(length) if length > 0 => {
                let message =
                    String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned();
                text.push_str(": ");
                text.push_str(message.trim());
            }
            _ => break,
        }
    }
    text
}

/// Names all layers in one string of at most a page: by names of one or two characters, in a
/// folder made for the moment of mounting.
fn mount_old(
    layers: &Layers<'_>,
    target: &Target,
    request: &MountRequest<'_>,
) -> Result<(), Refusal> {
    rustix::fs::mkdirat(layers.work, "l", Mode::RWXU)?;
    let folder = rustix::fs::openat(layers.work, "l", handle::DIRECTORY, Mode::empty())?;
    let mut data = String::new();
    if layers.user_xattrs {
        data.push_str("userxattr,");
    }
    data.push_str("lowerdir=");
    for (index, tree) in layers.trees.iter().enumerate() {
        let short = short_name(index);
        rustix::fs::symlinkat(layers.home.join(tree), &folder, short.as_str())?;
        if index > 0 {
            data.push(':');
        }
        data.push_str(&short);
    }
    if let Some((upper, work)) = layers.upper {
        // No short name of a layer begins so.
        for (name, tree) in [("-u", upper), ("-w", work)] {
            rustix::fs::symlinkat(layers.home.join(tree), &folder, name)?;
        }
        data.push_str(",upperdir=-u,workdir=-w");
        for (option, value) in layers.written() {
            data.push_str(&format!(",{option}={value}"));
        }
    }
    let mut flags = MountFlags::empty();
    flags.set(MountFlags::RDONLY, request.read_only);
    flags.set(MountFlags::NOSUID, !request.set_id);
    flags.set(MountFlags::NODEV, !request.devices);
    let data = CString::new(data).map_err(io::Error::other)?;
    let (source, target) = (layers.source.to_owned(), target.magic_path());
    // Short names mean: relative to the current directory. A thread can have one of its own.
    let mounted = std::thread::scope(|scope| {
        let mount = scope.spawn(|| -> io::Result<()> {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS).map_err(io::Error::from)?;
            rustix::process::fchdir(&folder)?;
            Ok(rustix::mount::mount(
                source,
                target,
                "overlay",
                flags,
                data.as_c_str(),
            )?)
        });
        mount
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the mounting thread failed")))
    });
    let removed = crate::tree::remove::remove(layers.work, b"l");
    mounted?;
    Ok(removed?)
}

fn short_name(index: usize) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut name = Vec::new();
    let mut rest = index;
    loop {
        name.push(DIGITS.get(rest % 36).copied().unwrap_or(b'0'));
        rest /= 36;
        if rest == 0 {
            break;
        }
    }
    name.reverse();
    String::from_utf8_lossy(&name).into_owned()
}

/// Returns whether overlay mounts work on the file system of a folder, by making one.
///
/// A user without a namespace cannot mount. Then it is only tried whether layers can be made.
pub(crate) fn probe(folder: &Path, ownership: Ownership) -> io::Result<()> {
    use rustix::fs::{FileType, XattrFlags};
    let user_xattrs = ownership != Ownership::Real;
    let opaque = if user_xattrs {
        Means::Own.opaque_xattr()
    } else {
        Means::All.opaque_xattr()
    };
    let temp = tempfile::Builder::new()
        .prefix(".overlay-probe-")
        .tempdir_in(folder)?;
    let at = |name: &str| temp.path().join(name);
    for dir in [
        "upper",
        "lower",
        "lower/gone",
        "lower/dir",
        "upper/dir",
        "target",
        "work",
    ] {
        std::fs::create_dir(at(dir))?;
    }
    for file in ["lower/file", "lower/dir/hidden"] {
        std::fs::write(at(file), "x")?;
    }
    rustix::fs::mknodat(
        CWD,
        at("upper/gone"),
        FileType::CharacterDevice,
        Mode::empty(),
        0,
    )?;
    rustix::fs::setxattr(at("upper/dir"), opaque, b"y", XattrFlags::empty())?;
    if ownership == Ownership::Recorded {
        return expect_user_xattr_mounts();
    }
    let open = |name: &str| rustix::fs::open(at(name), handle::DIRECTORY, Mode::empty());
    let (home, work) = (open(".")?, open("work")?);
    let layers = Layers {
        home: temp.path(),
        home_fd: home.as_fd(),
        trees: &["upper".to_owned(), "lower".to_owned()],
        upper: None,
        source: "lith-probe",
        user_xattrs,
        work: work.as_fd(),
    };
    let target = Target::open(&at("target"))?;
    let id = crate::id::CacheId::random();
    let request = MountRequest::new(&id, &target.path);
    mount(&layers, &target, &request, false).map_err(|refusal| refusal.source)?;
    let mounted = super::Mount::new(target.path.clone());
    let shown = |name: &str| mounted.target().join(name).symlink_metadata().is_ok();
    let works = shown("file") && !shown("gone") && shown("dir") && !shown("dir/hidden");
    mounted
        .unmount()
        .map_err(|error| io::Error::other(error.to_string()))?;
    if works {
        Ok(())
    } else {
        Err(io::Error::other("overlay mounts show the wrong files"))
    }
}

/// The option `userxattr` came with Linux 5.11.
fn expect_user_xattr_mounts() -> io::Result<()> {
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= (5, 11) {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "Linux {release} mounts no overlays for users (5.11 does)"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn short_names_of_500_layers_fit_a_page() {
        let names: Vec<String> = (0..LIMIT).map(short_name).collect();
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), LIMIT);
        assert!(names.join(":").len() + "lowerdir=".len() < 4000);
    }
}
