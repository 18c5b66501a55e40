//! What is mounted or started and has to be undone, whatever happens in between.

use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::lith::Lith;
use crate::process;

/// A mount of ours; unmounted when dropped.
pub(crate) struct Mounted {
    target: PathBuf,
}

impl Mounted {
    /// A fresh ext4 file system of `bytes` (a sparse file beside `target`) on `target`.
    pub(crate) fn fresh_ext4(target: &Path, bytes: u64) -> Result<Mounted> {
        // No lazy work behind our back: it would disturb what is timed.
        Mounted::ext4(
            target,
            bytes,
            &["-E", "lazy_itable_init=0,lazy_journal_init=0"],
        )
    }

    /// The same, large and made in a moment: the kernel finishes it while it is used.
    pub(crate) fn roomy_ext4(target: &Path, bytes: u64) -> Result<Mounted> {
        Mounted::ext4(
            target,
            bytes,
            &["-E", "lazy_itable_init=1,lazy_journal_init=1"],
        )
    }

    fn ext4(target: &Path, bytes: u64, options: &[&str]) -> Result<Mounted> {
        let image = target.with_extension("ext4");
        fs::File::create(&image)
            .and_then(|file| file.set_len(bytes))
            .with_context(|| format!("cannot make {}", image.display()))?;
        let mut mkfs = Command::new("mkfs.ext4");
        mkfs.args(["-q", "-F", "-m", "0"]).args(options);
        process::run(mkfs.arg(&image))?.ok()?;
        Mounted::mount(&["-t", "ext4", "-o", "loop"], &image, target)
    }

    /// A btrfs, whose file grows as it is filled.
    pub(crate) fn btrfs(target: &Path, bytes: u64) -> Result<Mounted> {
        let image = target.with_extension("btrfs");
        fs::File::create(&image)
            .and_then(|file| file.set_len(bytes))
            .with_context(|| format!("cannot make {}", image.display()))?;
        process::run(Command::new("mkfs.btrfs").arg("-q").arg(&image))?.ok()?;
        Mounted::mount(&["-t", "btrfs", "-o", "loop"], &image, target)
    }

    /// Loses what is not on the disk, as when the power fails, and mounts what is left. Only for an ext4
    /// that was made here.
    pub(crate) fn fail_power(self) -> Result<Mounted> {
        let mut shutdown = Command::new("xfs_io");
        process::run(shutdown.args(["-x", "-c", "shutdown"]).arg(&self.target))?.ok()?;
        let target = self.target.clone();
        drop(self);
        let image = target.with_extension("ext4");
        Mounted::mount(&["-t", "ext4", "-o", "loop"], &image, &target)
    }

    /// `source` once more at `target`, where nothing can be written.
    pub(crate) fn read_only(source: &Path, target: &Path) -> Result<Mounted> {
        let mounted = Mounted::mount(&["--bind"], source, target)?;
        let mut remount = Command::new("mount");
        process::run(remount.args(["-o", "remount,ro,bind"]).arg(target))?.ok()?;
        Ok(mounted)
    }

    /// A kernel overlay, the way a driver would mount one.
    pub(crate) fn overlay(lower: &Path, upper: &Path, target: &Path) -> Result<Mounted> {
        let layers = format!("lowerdir={}:{}", upper.display(), lower.display());
        Mounted::mount(
            &["-t", "overlay", "-o", &layers],
            Path::new("overlay"),
            target,
        )
    }

    fn mount(options: &[&str], source: &Path, target: &Path) -> Result<Mounted> {
        fs::create_dir_all(target)?;
        process::run(Command::new("mount").args(options).arg(source).arg(target))?.ok()?;
        Ok(Mounted {
            target: target.to_owned(),
        })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if !unmount(&self.target) {
            eprintln!("warning: cannot unmount {}", self.target.display());
        }
    }
}

fn unmount(target: &Path) -> bool {
    let umount = |options: &[&str]| {
        let output = process::run(Command::new("umount").args(options).arg(target));
        output.is_ok_and(|output| output.status.success())
    };
    // A lazy one detaches at least the path, so that folders can be removed.
    umount(&[]) || umount(&["-l"])
}

/// An image that lith mounted; lith unmounts it when this is dropped.
pub(crate) struct LithMount<'a> {
    lith: &'a Lith,
    target: PathBuf,
    mounted: bool,
}

impl<'a> LithMount<'a> {
    pub(crate) fn new(lith: &'a Lith, image: &str, target: &Path) -> Result<LithMount<'a>> {
        lith.ok(&[Path::new("mount"), Path::new(image), target])?;
        Ok(LithMount {
            lith,
            target: target.to_owned(),
            mounted: true,
        })
    }

    /// Unmounts and says whether that worked.
    pub(crate) fn leave(mut self) -> Result<()> {
        self.mounted = false;
        self.lith.ok(&[Path::new("umount"), &self.target])?;
        anyhow::ensure!(
            !mounts_below(&self.target)?.contains(&self.target),
            "{} is still mounted after `lith umount`",
            self.target.display()
        );
        Ok(())
    }
}

impl Drop for LithMount<'_> {
    fn drop(&mut self) {
        if self.mounted {
            unmount(&self.target);
        }
    }
}

/// A program that runs beside us; asked to end when dropped, then made to.
pub(crate) struct Daemon {
    child: Child,
}

impl Daemon {
    pub(crate) fn start(command: &mut Command) -> Result<Daemon> {
        let line = process::line(command);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start `{line}`"))?;
        Ok(Daemon { child })
    }

    /// Whether it still runs.
    pub(crate) fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        terminate(&self.child);
        let asked = Instant::now();
        while self.alive() && asked.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(50));
        }
        // Both fail when it has ended already, which is what is wanted.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Sends SIGTERM to a child of ours.
pub(crate) fn terminate(child: &Child) {
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).ok();
    }
}

/// Mount points at or below `folder`, the innermost first.
pub(crate) fn mounts_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let table = fs::read("/proc/self/mountinfo").context("cannot read the mount table")?;
    let mut found: Vec<PathBuf> = table
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .map(|field| PathBuf::from(std::ffi::OsString::from_vec(unescape(field))))
        .filter(|target| target.starts_with(folder))
        .collect();
    found.sort_by_key(|target| std::cmp::Reverse(target.as_os_str().as_bytes().len()));
    Ok(found)
}

/// Unmounts everything at or below `folder`; gives what was there.
pub(crate) fn sweep(folder: &Path) -> Result<Vec<PathBuf>> {
    unmount_all(mounts_below(folder)?)
}

/// The same, `folder` itself left alone.
pub(crate) fn sweep_inside(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = mounts_below(folder)?;
    found.retain(|target| target != folder);
    unmount_all(found)
}

fn unmount_all(found: Vec<PathBuf>) -> Result<Vec<PathBuf>> {
    for target in &found {
        unmount(target);
    }
    Ok(found)
}

/// The mount table writes blanks and the like as `\040`.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let octal = after
            .get(..3)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(value) if byte == b'\\' => {
                plain.push(value);
                rest = after.get(3..).unwrap_or_default();
            }
            _ => {
                plain.push(byte);
                rest = after;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_table_is_read_as_written() {
        assert_eq!(unescape(br"/a\040b\134c"), br"/a b\c");
        assert_eq!(unescape(b"/plain123"), b"/plain123");
        assert!(!mounts_below(Path::new("/proc")).unwrap().is_empty());
        assert!(
            mounts_below(Path::new("/no/such/folder"))
                .unwrap()
                .is_empty()
        );
    }
}
