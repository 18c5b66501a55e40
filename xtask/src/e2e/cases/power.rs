//! The power fails: what a load had not waited for is gone, is found to be, and comes back.
//!
//! The store is on a file system of its own, which is shut down as it is. Another boot is made of the
//! same one by showing lith another boot ID.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use super::Cases;
use crate::archive::{Archive, Bundle, Layer, chain_ids, compare};
use crate::e2e::guards::Mounted;
use crate::e2e::lab::Lab;
use crate::e2e::report::skip;
use crate::lith::{Driver, Lith};
use crate::process;

const NAME: &str = "localhost/lith-e2e/power:1";
const DISK: u64 = 1 << 30;
/// More than a command waits for at its end: see the graph's `sync`.
const UNWRITTEN: u64 = 64 << 20;
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

pub(super) fn add(cases: &mut Cases, driver: Driver) {
    cases.add("power/what-was-lost-is-found-and-healed", move |lab| {
        lost(lab, driver)
    });
    cases.add("power/what-was-waited-for-stays", move |lab| {
        waited_for(lab, driver)
    });
}

fn lost(lab: &Lab, driver: Driver) -> Result<String> {
    let machine = Machine::new(lab, driver)?;
    machine.lith.ok(&machine.load(&[]))?;
    let before = machine.files()?;
    let machine = machine.fail_power()?;
    let after = machine.files()?;
    let lost = before
        .iter()
        .filter(|(path, was)| after.get(*path) != Some(was));
    let lost = lost.count();
    ensure!(lost > 0, "nothing was lost: this says nothing of lith");

    machine.rebooted(&["images"])?.ok()?;
    for command in [
        &["mount", NAME, "--", "true"][..],
        &["export", NAME, "-o", "/dev/null"],
    ] {
        let refused = machine.rebooted(command)?;
        let complaint = refused.complaint();
        ensure!(
            refused.status.code() == Some(1)
                && complaint.contains("lost files when the machine went down")
                && complaint.contains(&machine.base),
            "expected to hear which layer lost files: {refused}"
        );
    }
    machine.rebooted(&machine.load(&[]))?.ok()?;
    machine.expect_whole()?;
    Ok(format!("{lost} files lost, found, and there again"))
}

fn waited_for(lab: &Lab, driver: Driver) -> Result<String> {
    let machine = Machine::new(lab, driver)?;
    machine.lith.ok(&machine.load(&["--sync"]))?;
    let before = machine.files()?;
    let machine = machine.fail_power()?;
    ensure!(machine.files()? == before, "files are gone after --sync");
    machine.expect_whole()?;
    Ok(format!("{} files, all there", before.len()))
}

/// A machine whose power fails.
struct Machine {
    folder: TempDir,
    disk: Mounted,
    lith: Lith,
    archive: PathBuf,
    /// The ID of the lower layer.
    base: String,
}

impl Machine {
    fn new(lab: &Lab, driver: Driver) -> Result<Machine> {
        if !rustix::process::geteuid().is_root() {
            return skip("only root can mount a file system that fails");
        }
        if process::run(Command::new("xfs_io").arg("-V")).is_err() {
            return skip("xfs_io is not installed");
        }
        let folder = lab.scratch()?;
        let archive = folder.path().join("archive.tar");
        let base = archive_of_two(&archive)?;
        let place = folder.path().join("disk");
        let disk = Mounted::fresh_ext4(&place, DISK)?;
        let lith = lab.lith(driver, &place)?;
        // Else lith would see that there is next to nothing to write, and wait for it.
        let noise = File::create(place.join("noise"))?;
        std::io::copy(&mut std::io::repeat(b'x').take(UNWRITTEN), &mut &noise)?;
        Ok(Machine {
            folder,
            disk,
            lith,
            archive,
            base,
        })
    }

    fn load<'a>(&'a self, options: &[&'a str]) -> Vec<&'a str> {
        let archive = self.archive.to_str().unwrap_or_default();
        [&["load", "-q", "-i", archive], options].concat()
    }

    fn fail_power(self) -> Result<Machine> {
        let disk = self.disk.fail_power()?;
        Ok(Machine { disk, ..self })
    }

    /// Runs lith in another boot, as far as it can tell.
    fn rebooted(&self, arguments: &[&str]) -> Result<process::Output> {
        let id = self.folder.path().join("boot-id");
        fs::write(&id, "3f1d2c8e-0000-4000-8000-00000000b007\n")?;
        let lith = self.lith.command();
        let script = format!("mount --bind \"$0\" {BOOT_ID} && exec \"$@\"");
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", &script]).arg(&id);
        command.arg(lith.get_program()).args(lith.get_args());
        process::copy_variables(&lith, &mut command);
        process::run(command.args(arguments))
    }

    /// The files that the driver keeps, and what they have in them.
    fn files(&self) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
        let mut files = BTreeMap::new();
        for entry in walkdir::WalkDir::new(self.lith.root.join("drivers")) {
            let entry = entry?;
            if entry.file_type().is_file() {
                files.insert(entry.path().to_owned(), fs::read(entry.path())?);
            }
        }
        ensure!(
            !files.is_empty(),
            "{} has no files",
            self.lith.root.display()
        );
        Ok(files)
    }

    /// The image can be mounted after the reboot, and comes out as it went in.
    fn expect_whole(&self) -> Result<()> {
        let shown = self.rebooted(&["mount", NAME, "--", "cat", "etc/name", "own"])?;
        let shown = shown.ok()?.text();
        ensure!(shown == "base own", "the image shows {shown:?}");
        let saved = self.folder.path().join("saved.tar");
        let out = saved.to_str().context("no UTF-8")?;
        self.rebooted(&["save", "-q", "-o", out, NAME])?.ok()?;
        let (loaded, saved) = (Archive::open(&self.archive)?, Archive::open(&saved)?);
        match compare(&loaded, &saved, true)? {
            None => Ok(()),
            Some(difference) => bail!("another image came out: {difference}"),
        }
    }
}

/// Writes an archive of an image with two layers; gives the lower one's ID.
fn archive_of_two(path: &Path) -> Result<String> {
    let large = vec![b'l'; 3 << 20];
    let base = Layer::new(&[
        ("etc/", &b""[..]),
        ("etc/name", b"base "),
        ("large", &large),
    ])?;
    let own = Layer::new(&[("own", "own")])?;
    let mut bundle = Bundle::create(path)?;
    bundle.image(&[NAME], &[&base, &own])?;
    bundle.finish()?;
    let ids = chain_ids(&[&base.diff_id, &own.diff_id]);
    ids.into_iter().next().context("no layers")
}
