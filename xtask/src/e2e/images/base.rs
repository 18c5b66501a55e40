//! Root file systems to start from: a static busybox, Debian by debootstrap.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::e2e::guards;
use crate::e2e::lab::Lab;
use crate::e2e::report::skip;
use crate::process;

const SUITE: &str = "bookworm";

/// Fills `root` with busybox and the links it answers to.
pub(crate) fn busybox(root: &Path) -> Result<()> {
    let Some(program) = process::find("busybox") else {
        return skip("busybox is not installed (busybox-static)");
    };
    for folder in ["bin", "etc", "tmp", "root"] {
        fs::create_dir_all(root.join(folder))?;
    }
    fs::copy(&program, root.join("bin/busybox"))?;
    for applet in [
        "sh", "ls", "cat", "echo", "cp", "mv", "rm", "mkdir", "ps", "sleep", "true",
    ] {
        symlink("busybox", root.join("bin").join(applet))?;
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    fs::set_permissions(root.join("root"), fs::Permissions::from_mode(0o700))?;
    Ok(())
}

/// Debian's minimal root file system, kept between runs; a skip where it cannot be had.
pub(crate) fn debian_rootfs(lab: &Lab) -> Result<PathBuf> {
    let folder = lab.cache.join(format!("debian-{SUITE}"));
    let done = folder.with_extension("done");
    if done.exists() {
        return Ok(folder);
    }
    let mut debootstrap = lab.settings.command("debootstrap")?;
    if folder.exists() {
        // Of a run that was stopped half-way; debootstrap mounts things in there.
        guards::sweep(&folder)?;
        fs::remove_dir_all(&folder)?;
    }
    debootstrap.args(["--variant=minbase", SUITE]).arg(&folder);
    if let Some(mirror) = std::env::var_os("DEBIAN_MIRROR") {
        debootstrap.arg(mirror);
    }
    let output = process::run(&mut debootstrap)?;
    guards::sweep(&folder)?;
    if !output.status.success() {
        let text = format!("{}\n{}", output.text(), output.complaint());
        let last = text
            .trim()
            .lines()
            .last()
            .unwrap_or("it says nothing")
            .to_owned();
        return skip(format!("debootstrap made no Debian: {last}"));
    }
    // Names of this machine, and packages that are unpacked already.
    for file in ["etc/hostname", "etc/resolv.conf", "var/log/bootstrap.log"] {
        fs::remove_file(folder.join(file)).ok();
    }
    for package in fs::read_dir(folder.join("var/cache/apt/archives"))? {
        let path = package?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            fs::remove_file(path)?;
        }
    }
    fs::write(&done, "").with_context(|| format!("cannot make {}", done.display()))?;
    Ok(folder)
}

/// Copies a tree with everything a file can have.
pub(crate) fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    let mut copy = Command::new("cp");
    process::run(copy.arg("-a").arg(from.join(".")).arg(to))?
        .ok()
        .map(drop)
}
