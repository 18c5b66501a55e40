//! podman and skopeo of Debian 13, in a root folder of its own on a machine that has older ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::e2e::{Settings, sweep, sweep_inside};
use crate::process;

const SUITE: &str = "trixie";

/// A root folder at a mount point, as podman wants its `/`; entered with chroot.
pub(super) struct Debian13 {
    at: PathBuf,
    made: Vec<PathBuf>,
    /// For the programs in there.
    pub(super) settings: Settings,
}

/// A folder of ours that is seen in there; no longer when this is dropped.
pub(super) struct Shown(PathBuf);

/// Makes such a root folder with debootstrap and apt; nothing is done when it is there.
pub(super) fn install(root: &Path, settings: &Settings) -> Result<()> {
    let done = root.with_extension("done");
    if done.exists() {
        return Ok(());
    }
    ensure!(
        !root.exists(),
        "{} is of a run that was stopped: remove it",
        root.display()
    );
    eprintln!("making {}: this takes minutes", root.display());
    let mut debootstrap = settings.command("debootstrap")?;
    debootstrap.args(["--variant=minbase", SUITE]).arg(root);
    if let Some(mirror) = std::env::var_os("DEBIAN_MIRROR") {
        debootstrap.arg(mirror);
    }
    process::run(&mut debootstrap)?.ok()?;
    // The names of hosts are found as on this machine.
    fs::copy("/etc/resolv.conf", root.join("etc/resolv.conf"))?;
    let mut apt = Command::new("chroot");
    apt.arg(root).args(["apt-get", "-qq", "-y"]);
    apt.args(["-o", "APT::Sandbox::User=root", "--no-install-recommends"]);
    apt.args(["install", "podman", "skopeo"]);
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    let installed = process::run(&mut apt);
    sweep(root)?;
    installed?.ok()?;
    fs::write(done, "").context("cannot note that it is made")
}

impl Debian13 {
    /// Mounts `root` at `at`, with `folders` at their own paths in there.
    pub(super) fn enter(
        root: &Path,
        at: &Path,
        settings: &Settings,
        folders: &[&Path],
    ) -> Result<Debian13> {
        ensure!(
            root.join("usr/bin/skopeo").exists(),
            "there is no usr/bin/skopeo in {}",
            root.display()
        );
        let mut entered = Debian13 {
            at: at.to_owned(),
            made: Vec::new(),
            settings: settings.within(at),
        };
        fs::create_dir(at)?;
        mount(&["--bind"], root, at)?;
        mount(&["-t", "proc"], Path::new("proc"), &at.join("proc"))?;
        mount(&["--bind"], Path::new("/sys"), &at.join("sys"))?;
        mount(&["-t", "tmpfs"], Path::new("tmpfs"), &at.join("dev"))?;
        let nodes = ["null", "zero", "full", "random", "urandom", "tty"];
        let mut copy = Command::new("cp");
        copy.arg("-a")
            .args(nodes.map(|node| Path::new("/dev").join(node)));
        process::run(copy.arg(at.join("dev")))?.ok()?;
        for (number, name) in ["stdin", "stdout", "stderr"].iter().enumerate() {
            let target = format!("/proc/self/fd/{number}");
            std::os::unix::fs::symlink(target, at.join("dev").join(name))?;
        }
        std::os::unix::fs::symlink("/proc/self/fd", at.join("dev/fd"))?;
        let mut folders = [&settings.folders()[..], folders].concat();
        folders.sort();
        // What is in one of them is seen with it.
        folders.dedup_by(|inner, outer| inner.starts_with(outer));
        for folder in folders {
            entered.add(folder)?;
        }
        Ok(entered)
    }

    /// Shows a folder that comes and goes.
    pub(super) fn show(&self, folder: &Path) -> Result<Shown> {
        let target = inside(&self.at, folder);
        mount(&["--bind"], folder, &target)?;
        Ok(Shown(target))
    }

    fn add(&mut self, folder: &Path) -> Result<()> {
        let target = inside(&self.at, folder);
        let missing = |path: &&Path| path.starts_with(&self.at) && !path.exists();
        self.made
            .extend(target.ancestors().take_while(missing).map(Path::to_owned));
        fs::create_dir_all(&target)?;
        mount(&["--bind"], folder, &target)
    }
}

impl Drop for Debian13 {
    fn drop(&mut self) {
        // Folders that were made to mount upon are gone from the root folder afterwards.
        let clean = || -> Result<()> {
            sweep_inside(&self.at)?;
            let mut made = self.made.clone();
            made.sort();
            // What was made on a file system that was mounted in there has gone with it.
            for folder in made.iter().rev().filter(|folder| folder.exists()) {
                fs::remove_dir(folder).with_context(|| folder.display().to_string())?;
            }
            Ok(())
        };
        let cleaned = clean();
        let swept = sweep(&self.at).map(drop);
        let removed = fs::remove_dir(&self.at).context("removing where it was mounted");
        for error in [cleaned, swept, removed]
            .into_iter()
            .filter_map(Result::err)
        {
            eprintln!("warning: leaving Debian 13: {error:#}");
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Err(error) = sweep(&self.0) {
            eprintln!("warning: {error:#}");
        }
    }
}

fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn mount(options: &[&str], source: &Path, target: &Path) -> Result<()> {
    process::run(Command::new("mount").args(options).arg(source).arg(target))?
        .ok()
        .map(drop)
}
