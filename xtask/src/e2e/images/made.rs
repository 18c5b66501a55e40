//! Images made without any peer: this machine's own files, packed by GNU tar.
//!
//! Three layers: one in GNU tar's format, one in pax with extended attributes, one with
//! whiteouts and an opaque directory. The small one has a fourth with what other tools
//! refuse or lose: sparse files, a path that occurs twice, bytes behind the end.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use walkdir::WalkDir;

use super::odd::{self, Attributes, write};
use crate::archive::{self, Layout, NewImage, Packing};
use crate::process;

/// An archive of our own and the layers it was made of.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) name: &'static str,
    pub(crate) archive: PathBuf,
    /// Bottom first, as plain tar files.
    pub(crate) layers: Vec<PathBuf>,
    pub(crate) bytes: u64,
}

/// Where files come from, in this order, and how many bytes of each list are enough.
struct Plan {
    name: &'static str,
    lower: (&'static [&'static str], u64),
    upper: (&'static [&'static str], u64),
}

/// A few thousand small files and some programs.
pub(crate) fn small(folder: &Path) -> Result<Made> {
    let plan = Plan {
        name: "e2e/made:small",
        lower: (&["/etc", "/usr/share/zoneinfo"], 5 << 20),
        upper: (&["/usr/bin", "/usr/lib"], 16 << 20),
    };
    let mut layers = layers(&plan, folder)?;
    layers.push(beyond(folder)?);
    finish(&plan, folder, layers)
}

/// About 800 MB, where the machine has that much.
pub(crate) fn large(folder: &Path) -> Result<Made> {
    let plan = Plan {
        name: "e2e/machine:large",
        lower: (
            &[
                "/etc",
                "/usr/share/zoneinfo",
                "/usr/lib/python3",
                "/usr/lib/python3.*",
            ],
            200 << 20,
        ),
        upper: (
            &["/usr/bin", "/usr/sbin", "/usr/lib", "/usr/share"],
            600 << 20,
        ),
    };
    let layers = layers(&plan, folder)?;
    finish(&plan, folder, layers)
}

fn finish(plan: &Plan, folder: &Path, layers: Vec<PathBuf>) -> Result<Made> {
    let archive = folder.join("image.tar");
    let image = NewImage {
        name: plan.name,
        layers: &layers,
        command: &["/bin/sh"],
    };
    archive::write(&archive, &image, Layout::Flat, Packing::Plain)?;
    let bytes = archive.metadata()?.len();
    Ok(Made {
        name: plan.name,
        archive,
        layers,
        bytes,
    })
}

fn layers(plan: &Plan, folder: &Path) -> Result<Vec<PathBuf>> {
    let lower = choose(plan.lower.0, plan.lower.1)?;
    let upper = choose(plan.upper.0, plan.upper.1)?;
    let first = folder.join("1-gnu.tar");
    tar(
        &first,
        &["--format=gnu"],
        &[(Path::new("/"), &list(folder, "1", &lower)?)],
    )?;

    let second = folder.join("2-pax.tar");
    let tree = folder.join("2");
    odd::things(&tree.join("opt/odd"), Attributes::With)?;
    let own = list(folder, "2-own", &below(&tree)?)?;
    let others = list(folder, "2-machine", &upper)?;
    let pax = ["--format=pax", "--xattrs", "--xattrs-include=*"];
    tar(&second, &pax, &[(Path::new("/"), &others), (&tree, &own)])?;

    let third = folder.join("3-changes.tar");
    let tree = folder.join("3");
    changes(&tree, &lower)?;
    tar(
        &third,
        &["--format=gnu"],
        &[(&tree, &list(folder, "3", &below(&tree)?)?)],
    )?;
    Ok(vec![first, second, third])
}

/// Paths (without the leading slash, parents first) below `roots` until `enough` bytes.
fn choose(roots: &[&str], enough: u64) -> Result<Vec<PathBuf>> {
    let (mut chosen, mut seen) = (Vec::new(), HashSet::new());
    let mut bytes = 0;
    for root in roots.iter().flat_map(|root| expand(root)) {
        let above: Vec<&Path> = root
            .ancestors()
            .skip(1)
            .filter(|p| *p != Path::new("/"))
            .collect();
        for folder in above.into_iter().rev() {
            push(&mut chosen, &mut seen, folder);
        }
        for entry in WalkDir::new(&root).sort_by_file_name() {
            // What this user may not read, and sockets, which tar has no entry for, stay out.
            let Ok(entry) = entry else { continue };
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            let kind = metadata.file_type();
            if kind.is_socket() || (kind.is_file() && File::open(entry.path()).is_err()) {
                continue;
            }
            if bytes + metadata.len() > enough + enough / 10 {
                continue;
            }
            bytes += metadata.len();
            push(&mut chosen, &mut seen, entry.path());
            if bytes >= enough {
                break;
            }
        }
    }
    Ok(chosen)
}

/// Adds a path once: other tools refuse a layer that has one twice.
fn push(chosen: &mut Vec<PathBuf>, seen: &mut HashSet<PathBuf>, path: &Path) {
    if let Ok(path) = path.strip_prefix("/")
        && seen.insert(path.to_owned())
    {
        chosen.push(path.to_owned());
    }
}

/// A root with a `*` at its end stands for every sibling that begins like it.
fn expand(root: &str) -> Vec<PathBuf> {
    let path = Path::new(root);
    let Some(start) = root.strip_suffix('*') else {
        // A link (/usr/sbin on some systems) is not walked into.
        return if path.symlink_metadata().is_ok_and(|m| m.is_dir()) {
            vec![path.into()]
        } else {
            vec![]
        };
    };
    let siblings = path.parent().and_then(|folder| folder.read_dir().ok());
    let mut found: Vec<PathBuf> = siblings
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_dir() && path.to_string_lossy().starts_with(start))
        .collect();
    found.sort();
    found
}

/// Every path below `tree`, the tree itself left out, parents first.
fn below(tree: &Path) -> Result<Vec<PathBuf>> {
    let walk = WalkDir::new(tree).min_depth(1).sort_by_file_name();
    let relative = |path: &Path| Ok(path.strip_prefix(tree)?.to_owned());
    walk.into_iter()
        .map(|entry| relative(entry?.path()))
        .collect()
}

/// A list of paths for GNU tar: no path means anything but itself.
fn list(folder: &Path, name: &str, paths: &[PathBuf]) -> Result<PathBuf> {
    let out = folder.join(format!("{name}.list"));
    let mut file = std::io::BufWriter::new(File::create(&out)?);
    for path in paths {
        file.write_all(path.as_os_str().as_bytes())?;
        file.write_all(b"\0")?;
    }
    file.flush()?;
    Ok(out)
}

fn tar(out: &Path, options: &[&str], parts: &[(&Path, &Path)]) -> Result<()> {
    let mut command = Command::new("tar");
    command
        .args(options)
        .args(["--create", "--numeric-owner", "--ignore-failed-read"]);
    command
        .args(["--no-recursion", "--null", "--file"])
        .arg(out);
    for (folder, list) in parts {
        command
            .arg("--directory")
            .arg(folder)
            .arg("--files-from")
            .arg(list);
    }
    let output = process::run(&mut command)?;
    // 1: a file changed or went while it was read, which a living machine's files do. The
    // archive is whole all the same, and it is the archive that is tested.
    if !matches!(output.status.code(), Some(0 | 1)) {
        output.ok()?;
    }
    Ok(())
}

/// A tree of whiteouts, replacements and odd things, over what the lower layer has.
fn changes(tree: &Path, lower: &[PathBuf]) -> Result<()> {
    let below = |folder: &str, directory: bool| -> Vec<PathBuf> {
        let children = lower
            .iter()
            .filter(|path| path.parent() == Some(Path::new(folder)));
        let kind = |path: &PathBuf| {
            let metadata = Path::new("/").join(path).symlink_metadata();
            metadata.is_ok_and(|m| if directory { m.is_dir() } else { m.is_file() })
        };
        children.filter(|path| kind(path)).cloned().collect()
    };
    let (files, folders) = (below("etc", false), below("usr/share/zoneinfo", true));
    let etc_folders = below("etc", true);
    let [deleted, to_folder, replaced, to_link, ..] = files.as_slice() else {
        bail!("/etc has too few files to make an image of");
    };
    write(&tree.join(whiteout(deleted)?), b"")?;
    write(&tree.join(to_folder).join("inside"), b"a file stood here\n")?;
    write(&tree.join(replaced), b"replaced by the third layer\n")?;
    if let Some(folder) = tree.join(to_link).parent() {
        fs::create_dir_all(folder)?;
    }
    symlink("replaced-by-a-link", tree.join(to_link))?;
    // Not every machine has time zones; /etc has folders everywhere.
    let folders = if folders.len() < 3 {
        etc_folders
    } else {
        folders
    };
    let [removed, hidden, to_file, ..] = folders.as_slice() else {
        bail!("neither /usr/share/zoneinfo nor /etc has three folders to make an image of");
    };
    write(&tree.join(whiteout(removed)?), b"")?;
    write(&tree.join(hidden).join(".wh..wh..opq"), b"")?;
    write(&tree.join(hidden).join("new"), b"all else here is hidden\n")?;
    write(&tree.join(to_file), b"a folder stood here\n")?;
    odd::things(&tree.join("srv/odd"), Attributes::Without)
}

fn whiteout(path: &Path) -> Result<PathBuf> {
    let name = path.file_name().context("a path without a name")?;
    let mut marked = std::ffi::OsString::from(".wh.");
    marked.push(name);
    Ok(path.with_file_name(marked))
}

/// What only lith gives back: sparse files, a path twice, bytes behind the end.
fn beyond(folder: &Path) -> Result<PathBuf> {
    use std::os::unix::fs::FileExt;
    let tree = folder.join("4");
    let holes = tree.join("beyond/holes");
    write(&holes, b"start")?;
    let file = File::options().write(true).open(&holes)?;
    file.write_all_at(b"middle", 3 << 20)?;
    file.set_len(8 << 20)?;
    write(&tree.join("beyond/twice"), b"first\n")?;
    let out = folder.join("4-beyond.tar");
    let all = list(folder, "4", &below(&tree)?)?;
    tar(&out, &["--format=pax", "--sparse"], &[(&tree, &all)])?;
    write(&tree.join("beyond/twice"), b"second, and longer\n")?;
    let mut append = Command::new("tar");
    append
        .arg("--append")
        .arg("--file")
        .arg(&out)
        .arg("--directory")
        .arg(&tree);
    process::run(append.arg("beyond/twice"))?.ok()?;
    File::options()
        .append(true)
        .open(&out)?
        .write_all(b"bytes behind the end")?;
    Ok(out)
}
