//! A backend whose snapshots are copies, so that the drivers over one can be tested anywhere.

use std::collections::BTreeMap;
use std::ffi::{CStr, OsString};
use std::fs;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Node, node_at};
use lith_plugin::{Backend, BackendError, BackendInfo, Powers};

/// The name of the driver over it.
pub(crate) const NAME: &str = "copying";

#[derive(Debug)]
pub(crate) struct Copying(BackendInfo);

impl Copying {
    pub(crate) fn new() -> Self {
        let info = BackendInfo::new(NAME, "1");
        Self(info.with(Powers::NONE.with_snapshot().with_changed()))
    }
}

/// As another program can open what this one has open.
fn path(dir: BorrowedFd<'_>) -> PathBuf {
    format!("/proc/{}/fd/{}", std::process::id(), dir.as_raw_fd()).into()
}

fn run(program: &str, arguments: &[PathBuf]) -> Result<(), BackendError> {
    let done = Command::new(program)
        .args(arguments)
        .output()
        .map_err(BackendError::from)?;
    match done.status.success() {
        true => Ok(()),
        false => Err(BackendError::new(String::from_utf8_lossy(&done.stderr))),
    }
}

impl Backend for Copying {
    fn info(&self) -> &BackendInfo {
        &self.0
    }

    fn create(&self, dir: BorrowedFd<'_>, name: &CStr) -> Result<(), BackendError> {
        Ok(rustix::fs::mkdirat(dir, name, rustix::fs::Mode::RWXU)?)
    }

    fn remove(&self, dir: BorrowedFd<'_>, name: &CStr) -> Result<(), BackendError> {
        let tree = path(dir).join(name.to_str().unwrap());
        run("rm", &["-rf".into(), tree])
    }

    fn snapshot(
        &self,
        tree: BorrowedFd<'_>,
        dir: BorrowedFd<'_>,
        name: &CStr,
    ) -> Result<(), BackendError> {
        let copy = path(dir).join(name.to_str().unwrap());
        run("cp", &["-aT".into(), path(tree).join("."), copy])
    }

    fn changed(
        &self,
        tree: BorrowedFd<'_>,
        since: BorrowedFd<'_>,
        found: &mut dyn FnMut(&[u8]),
    ) -> Result<(), BackendError> {
        Ok(compare(&path(tree), &path(since), Path::new(""), found)?)
    }
}

/// Tells of every directory that does not hold the same in both.
fn compare(
    new: &Path,
    old: &Path,
    place: &Path,
    found: &mut dyn FnMut(&[u8]),
) -> std::io::Result<()> {
    let (here, there) = (
        list(&new.join(place))?,
        list(&old.join(place)).unwrap_or_default(),
    );
    if here != there {
        found(place.as_os_str().as_bytes());
    }
    for (name, (node, _)) in here {
        if node.kind == 'd' {
            compare(new, old, &place.join(name), found)?;
        }
    }
    Ok(())
}

/// What is in a directory, with how many names files have.
fn list(dir: &Path) -> std::io::Result<BTreeMap<OsString, (Node, u64)>> {
    let entries = fs::read_dir(dir)?.map(|entry| {
        let entry = entry?;
        let (name, mut names) = (entry.file_name(), entry.metadata()?.nlink());
        let mut node = node_at(&dir.join(&name));
        if node.kind == 'd' {
            (node.mtime, names) = ((0, 0), 0);
        }
        Ok((name, (node, names)))
    });
    entries.collect()
}
