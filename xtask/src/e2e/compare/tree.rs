//! Two mounted or unpacked trees: kind, mode, owner, size, link, device, time, extended
//! attributes, hard links, content.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::{lgetxattr, llistxattr};

use crate::archive;

/// How many differences are shown; the rest is counted.
const SHOWN: usize = 12;

/// What was compared.
#[derive(Default, Debug)]
pub(crate) struct Seen {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

/// Compares everything below `one` with everything below `other`.
///
/// The roots themselves are left out: layers seldom describe them, and then every tool gives
/// them what it likes. `ignore` may leave out single fields of single paths.
pub(crate) fn compare(
    one: &Path,
    other: &Path,
    ignore: &dyn Fn(&Path, &str) -> bool,
) -> Result<Seen> {
    let mut comparison = Comparison {
        roots: [one, other],
        ignore,
        links: [HashMap::new(), HashMap::new()],
        seen: Seen::default(),
        differences: Vec::new(),
    };
    comparison.folder(Path::new(""))?;
    let Comparison {
        seen, differences, ..
    } = comparison;
    if differences.is_empty() {
        return Ok(seen);
    }
    let more = differences.len().saturating_sub(SHOWN);
    let shown: Vec<&str> = differences.iter().take(SHOWN).map(String::as_str).collect();
    let more = if more > 0 {
        format!("\n  and {more} more")
    } else {
        String::new()
    };
    bail!(
        "{} differences between {} and {}:\n  {}{more}",
        differences.len(),
        one.display(),
        other.display(),
        shown.join("\n  ")
    )
}

/// Nothing is ignored.
pub(crate) fn nothing(_: &Path, _: &str) -> bool {
    false
}

/// What umoci does in another way: an extended attribute of no bytes is none to it, as to
/// every reader written in Go (in pax, a record without value takes one back). GNU tar keeps
/// it, and so does the file system the layer was made from.
pub(crate) fn umocis_own(path: &Path, field: &str) -> bool {
    field == "extended attributes" && path.ends_with("attribute-without-value")
}

/// What podman does in another way: also, times before 1970 are 1970. umoci and GNU tar,
/// which are asked too, keep them.
pub(crate) fn podmans_own(path: &Path, field: &str) -> bool {
    umocis_own(path, field) || field == "time" && path.ends_with("before-1970")
}

struct Comparison<'a> {
    roots: [&'a Path; 2],
    ignore: &'a dyn Fn(&Path, &str) -> bool,
    /// First path at which each file with several names was met.
    links: [HashMap<(u64, u64), PathBuf>; 2],
    seen: Seen,
    differences: Vec<String>,
}

impl Comparison<'_> {
    fn differ(&mut self, path: &Path, field: &str, [one, other]: [String; 2]) {
        if one != other && !(self.ignore)(path, field) {
            self.differences
                .push(format!("{path:?}: {field} {one} against {other}"));
        }
    }

    fn folder(&mut self, path: &Path) -> Result<()> {
        let [one, other] = self.roots.map(|root| names(&root.join(path)));
        let (one, other) = (one?, other?);
        for name in &one {
            let inside = path.join(name);
            match other.binary_search(name) {
                Ok(_) => self.entry(&inside)?,
                Err(_) => self.differ(&inside, "is there:", ["yes".into(), "no".into()]),
            }
        }
        for name in other.iter().filter(|name| one.binary_search(name).is_err()) {
            self.differ(&path.join(name), "is there:", ["no".into(), "yes".into()]);
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path) -> Result<()> {
        let full = self.roots.map(|root| root.join(path));
        let [a, b] = &full;
        let metadata = [a, b].map(|p| p.symlink_metadata().with_context(|| format!("{p:?}")));
        let [one, other] = metadata;
        let both = [one?, other?];
        self.seen.entries += 1;
        let kinds = both.each_ref().map(kind);
        if kinds[0] != kinds[1] {
            self.differ(path, "kind", kinds.map(str::to_owned));
            return Ok(());
        }
        let each = |field: fn(&Metadata) -> String| both.each_ref().map(field);
        if kinds[0] != "link" {
            self.differ(path, "mode", each(|m| format!("{:04o}", m.mode() & 0o7777)));
        }
        self.differ(path, "owner", each(|m| format!("{}:{}", m.uid(), m.gid())));
        self.differ(
            path,
            "time",
            each(|m| format!("{}.{:09}", m.mtime(), m.mtime_nsec())),
        );
        let attributes = full.each_ref().map(|p| attributes(p));
        let [one, other] = attributes;
        self.differ(path, "extended attributes", [one?, other?]);
        self.links(path, &both);
        match kinds[0] {
            "folder" => self.folder(path)?,
            "file" => self.content(path, &full, &both)?,
            "link" => {
                let [one, other] = full.each_ref().map(fs::read_link);
                self.differ(
                    path,
                    "target",
                    [format!("{:?}", one?), format!("{:?}", other?)],
                );
            }
            "device" | "block device" => {
                self.differ(path, "device", each(|m| format!("{:x}", m.rdev())));
            }
            _ => {}
        }
        Ok(())
    }

    fn content(&mut self, path: &Path, full: &[PathBuf; 2], both: &[Metadata; 2]) -> Result<()> {
        if both[0].len() != both[1].len() {
            self.differ(path, "size", both.each_ref().map(|m| m.len().to_string()));
            return Ok(());
        }
        self.seen.bytes += both[0].len();
        let [one, other] = full.each_ref().map(File::open);
        if let Some(offset) = archive::first_difference(one?, other?)? {
            self.differ(
                path,
                "content",
                ["one".into(), format!("another from byte {offset}")],
            );
        }
        Ok(())
    }

    /// Files with several names: the first name that was met has to be the same one.
    fn links(&mut self, path: &Path, both: &[Metadata; 2]) {
        let mut first = [path.to_owned(), path.to_owned()];
        for ((metadata, seen), first) in both.iter().zip(&mut self.links).zip(&mut first) {
            if metadata.nlink() > 1 && !metadata.is_dir() {
                let key = (metadata.dev(), metadata.ino());
                first.clone_from(seen.entry(key).or_insert_with(|| path.to_owned()));
            }
        }
        self.differ(path, "hard link to", first.map(|path| format!("{path:?}")));
    }
}

fn names(folder: &Path) -> Result<Vec<OsString>> {
    let read = || {
        folder
            .read_dir()?
            .map(|entry| Ok(entry?.file_name()))
            .collect()
    };
    let names: std::io::Result<Vec<OsString>> = read();
    let mut names = names.with_context(|| format!("cannot list {}", folder.display()))?;
    names.sort();
    Ok(names)
}

fn kind(metadata: &Metadata) -> &'static str {
    let kind = metadata.file_type();
    match () {
        () if kind.is_dir() => "folder",
        () if kind.is_file() => "file",
        () if kind.is_symlink() => "link",
        () if kind.is_fifo() => "fifo",
        () if kind.is_char_device() => "device",
        () if kind.is_block_device() => "block device",
        () => "socket",
    }
}

/// All extended attributes, but those with which an overlay keeps its own books.
fn attributes(path: &Path) -> Result<String> {
    let what = || format!("extended attributes of {}", path.display());
    let mut list = vec![0; 1 << 16];
    let length = llistxattr(path, &mut list).with_context(what)?;
    list.truncate(length);
    let mut found = Vec::new();
    for name in list
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        if name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") {
            continue;
        }
        let mut value = vec![0; 1 << 16];
        let name = OsString::from_vec(name.to_vec());
        let length = lgetxattr(path, &name, &mut value).with_context(what)?;
        value.truncate(length);
        let text = OsString::from_vec(value);
        found.push(format!(
            "{name:?}={:?}",
            text.as_bytes().escape_ascii().to_string()
        ));
    }
    found.sort();
    Ok(format!("[{}]", found.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::time::UNIX_EPOCH;

    fn tree(folder: &Path) {
        fs::create_dir_all(folder.join("d")).unwrap();
        fs::write(folder.join("d/file"), "content").unwrap();
        fs::hard_link(folder.join("d/file"), folder.join("same")).unwrap();
        symlink("d/file", folder.join("link")).unwrap();
        let times = rustix::fs::Timestamps {
            last_access: rustix::fs::Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            last_modification: rustix::fs::Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
        };
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::utimensat(rustix::fs::CWD, folder.join("link"), &times, flags).unwrap();
        for name in ["d/file", "d"] {
            File::open(folder.join(name))
                .unwrap()
                .set_modified(UNIX_EPOCH)
                .unwrap();
        }
    }

    fn changed(change: impl FnOnce(&Path)) -> String {
        let [one, other] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        tree(one.path());
        tree(other.path());
        change(other.path());
        compare(one.path(), other.path(), &nothing)
            .map_or_else(|e| e.to_string(), |_| String::new())
    }

    #[test]
    fn equal_trees_are_equal() {
        assert_eq!(changed(|_| ()), "");
    }

    #[test]
    fn each_kind_of_change_is_seen() {
        let mode = |path: &Path| {
            fs::set_permissions(path.join("d"), fs::Permissions::from_mode(0o711)).unwrap();
        };
        assert!(changed(mode).contains("mode"));
        assert!(changed(|p| fs::write(p.join("d/file"), "CONTENT").unwrap()).contains("content"));
        assert!(changed(|p| fs::remove_file(p.join("link")).unwrap()).contains("is there"));
        let unlinked = changed(|p| {
            fs::remove_file(p.join("same")).unwrap();
            fs::copy(p.join("d/file"), p.join("same")).unwrap();
        });
        assert!(unlinked.contains("hard link"), "{unlinked}");
        let late = |p: &Path| {
            let later = UNIX_EPOCH + std::time::Duration::from_nanos(1);
            File::open(p.join("d"))
                .unwrap()
                .set_modified(later)
                .unwrap();
        };
        assert!(changed(late).contains("0.000000001"));
    }
}
