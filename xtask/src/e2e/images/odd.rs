//! Everything that a layer may hold and that is easily lost.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use rustix::fs::{CWD, FileType, Mode, XattrFlags, makedev, mknodat, setxattr};

/// `cap_net_raw+ep`, as the kernel keeps it (revision 2, little-endian).
const CAPABILITY: [u8; 20] = [
    1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

/// Whether extended attributes are part of it: GNU tar's own format cannot carry them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attributes {
    With,
    Without,
}

/// The second layer: odd things, and things that [`changes`] will touch.
pub(crate) fn content(root: &Path) -> Result<()> {
    let base = root.join("opt/lith");
    things(&base.join("odd"), Attributes::With)?;
    for name in [
        "gone/file",
        "gone/stays",
        "gone-dir/a/b/c",
        "opaque/old",
        "opaque/sub/older",
    ] {
        write(&base.join(name), b"of the lower layer\n")?;
    }
    write(
        &base.join("dir-to-file/inside"),
        b"a directory stood here\n",
    )?;
    write(&base.join("file-to-dir"), b"a file stood here\n")?;
    write(&base.join("link-to-file-target"), b"the target\n")?;
    symlink("link-to-file-target", base.join("link-to-file"))?;
    write(&base.join("replaced"), &vec![b'x'; 100_000])?;
    write(
        &base.join("attributes-only"),
        b"content stays, attributes change\n",
    )
}

/// The third layer: deletes, replaces, hides.
pub(crate) fn changes(root: &Path) -> Result<()> {
    let base = root.join("opt/lith");
    fs::remove_file(base.join("gone/file"))?;
    fs::remove_dir_all(base.join("gone-dir"))?;
    fs::remove_dir_all(base.join("opaque"))?;
    write(&base.join("opaque/new"), b"all else here is hidden\n")?;
    fs::remove_dir_all(base.join("dir-to-file"))?;
    write(&base.join("dir-to-file"), b"now a file\n")?;
    fs::remove_file(base.join("file-to-dir"))?;
    write(&base.join("file-to-dir/inside"), b"now a directory\n")?;
    fs::remove_file(base.join("link-to-file"))?;
    write(&base.join("link-to-file"), b"no link any more\n")?;
    write(&base.join("replaced"), b"short\n")?;
    fs::set_permissions(
        base.join("attributes-only"),
        fs::Permissions::from_mode(0o4711),
    )?;
    fs::hard_link(base.join("gone/stays"), base.join("linked-across-layers"))?;
    // Of Debian, where this is Debian: whole folders and a system file.
    for folder in ["usr/share/doc", "usr/share/locale"] {
        let path = root.join(folder);
        if path.is_dir() {
            fs::remove_dir_all(path)?;
        }
    }
    if root.join("etc/issue").exists() {
        write(&root.join("etc/issue"), b"lith e2e\n")?;
    }
    Ok(())
}

/// One of each kind, in `folder`.
pub(crate) fn things(folder: &Path, attributes: Attributes) -> Result<()> {
    fs::create_dir_all(folder)?;
    let long = "n".repeat(180);
    let deep: PathBuf = ["a-rather-long-folder-name"; 12].iter().collect();
    write(&folder.join(&long), b"a long name\n")?;
    write(&folder.join(&deep).join(&long), b"a long path\n")?;
    symlink(
        Path::new("..").join(&deep),
        folder.join("a-link-with-a-long-target"),
    )?;
    write(&folder.join("naïve-名前.txt"), b"UTF-8\n")?;
    write(
        &folder.join(OsStr::from_bytes(b"latin1-\xe9-\xff")),
        b"not UTF-8\n",
    )?;
    write(&folder.join("blank and\nnewline <&>"), b"odd characters\n")?;
    write(&folder.join(".wh"), b"no whiteout\n")?;
    write(&folder.join("empty"), b"")?;
    links(folder)?;
    special_files(folder)?;
    modes_and_owners(folder)?;
    times(folder)?;
    File::create(folder.join("zeros"))?.set_len(1 << 20)?;
    match attributes {
        Attributes::With => extended_attributes(folder),
        Attributes::Without => Ok(()),
    }
}

fn links(folder: &Path) -> Result<()> {
    write(&folder.join("link-a"), b"three names, one file\n")?;
    fs::hard_link(folder.join("link-a"), folder.join("link-b"))?;
    fs::create_dir(folder.join("linked"))?;
    fs::hard_link(folder.join("link-a"), folder.join("linked/link-c"))?;
    symlink("/nonexistent/target", folder.join("dangling"))?;
    symlink("../../../../../../etc/passwd", folder.join("outside"))?;
    symlink(".", folder.join("loop"))?;
    Ok(())
}

fn special_files(folder: &Path) -> Result<()> {
    let node = |name: &str, kind, device| {
        let path = folder.join(name);
        mknodat(CWD, &path, kind, Mode::from_raw_mode(0o640), device)
            .with_context(|| format!("cannot make {}", path.display()))
    };
    node("fifo", FileType::Fifo, 0)?;
    node("null", FileType::CharacterDevice, makedev(1, 3))?;
    node("block", FileType::BlockDevice, makedev(7, 300))
}

fn modes_and_owners(folder: &Path) -> Result<()> {
    let modes = [
        ("setuid", 0o4755),
        ("setgid", 0o2755),
        ("secret", 0),
        ("all", 0o777),
    ];
    for (name, mode) in modes {
        let path = folder.join(name);
        write(&path, name.as_bytes())?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    let sticky = folder.join("sticky");
    fs::create_dir(&sticky)?;
    fs::set_permissions(&sticky, fs::Permissions::from_mode(0o3777))?;
    let locked = folder.join("locked");
    write(
        &locked.join("inside"),
        b"in a folder that its owner cannot write\n",
    )?;
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o555))?;
    // More than seven octal digits: tar has to write this one in another way.
    for (name, owner) in [("of-a-user", 1000), ("of-a-high-user", 3_000_000)] {
        let path = folder.join(name);
        write(&path, name.as_bytes())?;
        chown(&path, Some(owner), Some(owner))?;
    }
    let set_id = folder.join("setuid-of-a-user");
    write(&set_id, b"owner first, then the bit\n")?;
    chown(&set_id, Some(1000), Some(1000))?;
    Ok(fs::set_permissions(
        &set_id,
        fs::Permissions::from_mode(0o6755),
    )?)
}

fn times(folder: &Path) -> Result<()> {
    let old = UNIX_EPOCH - Duration::new(3, 500_000_000);
    let late = UNIX_EPOCH + Duration::new(2_150_000_000, 123_456_789);
    for (name, time) in [
        ("before-1970", old),
        ("after-2038", late),
        ("epoch", UNIX_EPOCH),
    ] {
        write(&folder.join(name), name.as_bytes())?;
        set_time(&folder.join(name), time)?;
    }
    set_time(
        &folder.join("sticky"),
        UNIX_EPOCH + Duration::from_secs(86_400),
    )
}

fn extended_attributes(folder: &Path) -> Result<()> {
    let file = folder.join("attributes");
    write(&file, b"look at my attributes\n")?;
    attribute(&file, "user.lith", b"a value")?;
    attribute(&file, "user.binary", b"=\n\0\xff")?;
    let empty = folder.join("attribute-without-value");
    write(&empty, b"an attribute of no bytes\n")?;
    attribute(&empty, "user.empty", b"")?;
    let inside = folder.join("attributes-of-a-folder");
    fs::create_dir(&inside)?;
    attribute(&inside, "user.folder", b"folders have them, too")?;
    let capable = folder.join("capable");
    write(&capable, b"#!/bin/true\n")?;
    attribute(&capable, "security.capability", &CAPABILITY)
}

fn attribute(path: &Path, name: &str, value: &[u8]) -> Result<()> {
    setxattr(path, name, value, XattrFlags::empty())
        .with_context(|| format!("cannot set {name} of {}", path.display()))
}

/// Sets the modification time of a file or folder.
pub(crate) fn set_time(path: &Path, time: SystemTime) -> Result<()> {
    let file = File::open(path).with_context(|| format!("{}", path.display()))?;
    Ok(file.set_modified(time)?)
}

/// Writes a file and the folders above it.
pub(crate) fn write(path: &Path, content: &[u8]) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}
