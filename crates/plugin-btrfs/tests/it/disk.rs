//! A btrfs made for a test, and the plugin as a shared object.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use lith_drivers::{Driver, DriverOptions, find_plugin};
use tempfile::TempDir;

/// Sparse: only what is written is taken.
const SIZE: u64 = 2 << 30;

/// A mounted btrfs; dropping it takes it away.
pub(crate) struct Disk {
    folder: TempDir,
}

impl Disk {
    /// Makes one; none, and says so, where that is not possible.
    pub(crate) fn new(what: &str) -> Option<Self> {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let disk = Self {
            folder: folder.unwrap(),
        };
        let image = disk.folder.path().join("image");
        File::create(&image).unwrap().set_len(SIZE).unwrap();
        std::fs::create_dir(disk.path()).unwrap();
        let made = run(Command::new("mkfs.btrfs").arg("-q").arg(&image)).and_then(|()| {
            run(Command::new("mount")
                .args(["-t", "btrfs", "-o", "loop"])
                .arg(&image)
                .arg(disk.path()))
        });
        match made {
            Ok(()) => Some(disk),
            Err(error) => {
                eprintln!("SKIPPED: {what}: no btrfs can be made and mounted here: {error}");
                None
            }
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("mounted")
    }

    pub(crate) fn driver(&self) -> Box<dyn Driver> {
        open(&self.path().join("drivers/btrfs"))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let mounted = self.path();
        if let Err(error) = run(Command::new("umount").arg("-R").arg(&mounted)) {
            eprintln!("{} is left: {error}", mounted.display());
        }
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let done = command.output().map_err(|error| error.to_string())?;
    match done.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&done.stderr).into_owned()),
    }
}

/// Where cargo puts the shared object beside the tests.
pub(crate) fn plugin() -> PathBuf {
    let here = std::env::current_exe().unwrap();
    here.parent().unwrap().join("liblith_btrfs.so")
}

pub(crate) fn open(home: &Path) -> Box<dyn Driver> {
    let kind = find_plugin(&plugin()).unwrap();
    kind.open(home, &DriverOptions::default()).unwrap()
}
