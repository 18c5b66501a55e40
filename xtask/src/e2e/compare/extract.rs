//! A reference extraction: layers unpacked one over the other by GNU tar.
//!
//! Whiteouts are worked out here, in the plainest way: before a layer is unpacked, what it
//! hides is removed from the tree.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::BufReader;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result};

use crate::process;

/// Unpacks `layers` (plain tar files, bottom first) into `target`.
pub(crate) fn extract(layers: &[PathBuf], target: &Path) -> Result<()> {
    fs::create_dir_all(target)?;
    for layer in layers {
        hide(layer, target).with_context(|| format!("whiteouts of {}", layer.display()))?;
        let mut tar = Command::new("tar");
        tar.args([
            "--extract",
            "--preserve-permissions",
            "--same-owner",
            "--numeric-owner",
        ]);
        tar.args([
            "--xattrs",
            "--xattrs-include=*",
            "--delay-directory-restore",
        ]);
        tar.args(["--exclude=.wh.*", "--file"])
            .arg(layer)
            .arg("--directory")
            .arg(target);
        process::run(&mut tar)?.ok()?;
    }
    Ok(())
}

/// Removes from `target` what `layer` hides or replaces by something of another kind.
fn hide(layer: &Path, target: &Path) -> Result<()> {
    let mut tar = tar::Archive::new(BufReader::new(File::open(layer)?));
    let mut opaque = BTreeSet::new();
    let mut gone = BTreeSet::new();
    for entry in tar.entries_with_seek()? {
        let entry = entry?;
        let path = entry.path_bytes().into_owned();
        let path: PathBuf = Path::new(OsStr::from_bytes(&path))
            .components()
            .filter(|part| matches!(part, Component::Normal(_)))
            .collect();
        let Some(name) = path.file_name() else {
            continue;
        };
        let at = target.join(&path);
        if name == ".wh..wh..opq" {
            opaque.extend(at.parent().map(Path::to_owned));
        } else if let Some(hidden) = name.as_bytes().strip_prefix(b".wh.") {
            gone.insert(at.with_file_name(OsStr::from_bytes(hidden)));
        } else if let Ok(there) = at.symlink_metadata() {
            // tar itself would not put a file where a folder stands.
            if there.is_dir() != entry.header().entry_type().is_dir() {
                gone.insert(at);
            }
        }
    }
    for folder in opaque.iter().filter(|folder| folder.is_dir()) {
        for child in folder.read_dir()? {
            gone.insert(child?.path());
        }
    }
    gone.iter().try_for_each(|path| remove(path))
}

/// Removes what is at `path`; its folder keeps its time, as in a layered tree it would.
fn remove(path: &Path) -> Result<()> {
    let Ok(metadata) = path.symlink_metadata() else {
        return Ok(());
    };
    let folder = path.parent().context("a path without a folder")?;
    let time: SystemTime = folder.metadata()?.modified()?;
    let removed = if metadata.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    removed.with_context(|| format!("cannot remove {}", path.display()))?;
    Ok(File::open(folder)?.set_modified(time)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(path: &Path, entries: &[(&str, &str)]) {
        let mut tar = tar::Builder::new(File::create(path).unwrap());
        for (name, content) in entries {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, content.as_bytes())
                .unwrap();
        }
        tar.finish().unwrap();
    }

    #[test]
    fn later_layers_hide_and_replace() {
        let folder = tempfile::tempdir().unwrap();
        let [lower, upper] = ["1.tar", "2.tar"].map(|name| folder.path().join(name));
        layer(
            &lower,
            &[
                ("a/gone", "1"),
                ("a/kept", "1"),
                ("b/old", "1"),
                ("c/x", "1"),
            ],
        );
        layer(
            &upper,
            &[
                ("a/.wh.gone", ""),
                ("b/new", "2"),
                ("b/.wh..wh..opq", ""),
                ("c", "2"),
            ],
        );
        let target = folder.path().join("tree");
        extract(&[lower, upper], &target).unwrap();
        let exists = |name: &str| target.join(name).exists();
        assert!(!exists("a/gone") && exists("a/kept") && !exists("a/.wh.gone"));
        assert!(!exists("b/old") && exists("b/new") && !exists("b/.wh..wh..opq"));
        assert_eq!(fs::read_to_string(target.join("c")).unwrap(), "2");
    }
}
