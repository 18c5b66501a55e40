//! A gigabyte on a pipe: applied as it passes, in little memory, with nothing waiting on disk.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use sha2::{Digest, Sha256};
use walkdir::WalkDir;

use super::Cases;
use crate::archive::{config, sha256};
use crate::e2e::lab::Lab;
use crate::lith::Driver;
use crate::process::Running;
use crate::random::Random;

const LAYERS: usize = 4;
/// The only file of each layer; together with the others a gigabyte.
const PAYLOAD: u64 = 256 << 20;
/// What is written at once.
const PIECE: usize = 1 << 20;

/// What a load may take.
const MAX_MEMORY_KIB: u64 = 96 << 10;
/// A file that is larger, and no content of a layer, is a spool.
const MAX_WAITING: u64 = 1 << 20;

/// How long a layer may take to show after its last byte.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn add(cases: &mut Cases, driver: Driver) {
    // Other drivers need a layer's parent first, and keep what comes too early.
    if driver == Driver::Overlay {
        cases.add("stream/gigabyte", gigabyte);
    }
}

fn gigabyte(lab: &Lab) -> Result<String> {
    let folder = lab.scratch()?;
    let lith = lab.lith(Driver::Overlay, folder.path())?;
    let temp = folder.path().join("tmp");
    fs::create_dir(&temp)?;
    let mut command = lith.command();
    command.args(["load", "-i", "-"]).env("TMPDIR", &temp);
    let mut running = Running::start(&mut command, Stdio::piped())?;
    let watch = Watch {
        process: PathBuf::from(format!("/proc/{}", running.id())),
        folders: [lith.root.clone(), temp],
    };
    let mut feeder = Feeder {
        pipe: running.stdin()?,
        watch: &watch,
        written: 0,
    };
    let fed = feeder.feed();
    let (pipe, written) = (feeder.pipe, feeder.written);
    drop(pipe);
    let mut peak = 0;
    while !running.ended() {
        peak = peak.max(watch.peak_kib().unwrap_or(0));
        std::thread::sleep(Duration::from_millis(1));
    }
    let output = running.finish()?.ok()?;
    // What the program says of a broken pipe is told before that there was one.
    let image = fed?;
    ensure!(
        output.text().contains("example.com/stream:1"),
        "load printed {:?}",
        output.text()
    );
    let listed = lith.images()?;
    ensure!(
        listed.iter().any(|it| it.to_string().contains(&image)),
        "image {image} is not listed"
    );
    lith.nothing_staged()?;
    ensure!(
        peak > 0 && peak < MAX_MEMORY_KIB,
        "{peak} KiB of memory, allowed are {MAX_MEMORY_KIB}"
    );
    Ok(format!(
        "{} MiB in, first layer there before the second came, peak {} MiB",
        written >> 20,
        peak >> 10
    ))
}

/// Writes the archive, made on the way.
struct Feeder<'a> {
    pipe: ChildStdin,
    watch: &'a Watch,
    written: u64,
}

impl Feeder<'_> {
    /// Gives the image's ID.
    fn feed(&mut self) -> Result<String> {
        let mut diff_ids = Vec::new();
        for number in 0..LAYERS {
            diff_ids.push(self.layer(number)?);
            self.watch.wait_for(&payload_name(0))?;
        }
        let ids: Vec<&str> = diff_ids.iter().map(String::as_str).collect();
        let config = config(&["/bin/sh"], &ids);
        self.member("config.json", config.len() as u64)?;
        self.padded(&config)?;
        let layers: Vec<String> = (0..LAYERS).map(|n| format!("{n}/layer.tar")).collect();
        let manifest = json!([{
            "Config": "config.json", "RepoTags": ["example.com/stream:1"], "Layers": layers,
        }]);
        let manifest = manifest.to_string();
        self.member("manifest.json", manifest.len() as u64)?;
        self.padded(manifest.as_bytes())?;
        // Now all but the last bytes are there, and nothing may wait for them.
        for number in 0..LAYERS {
            self.watch.wait_for(&payload_name(number))?;
        }
        self.write(&[0; 1024])?;
        Ok(sha256(&config))
    }

    /// Writes a layer; gives its diff ID.
    fn layer(&mut self, number: usize) -> Result<String> {
        let inner = header(&payload_name(number), PAYLOAD)?;
        self.member(&format!("{number}/layer.tar"), 512 + PAYLOAD + 1024)?;
        let mut hash = Sha256::new();
        let mut put = |feeder: &mut Self, bytes: &[u8]| {
            hash.update(bytes);
            feeder.write(bytes)
        };
        put(self, &inner)?;
        let mut piece = noise(number as u64);
        for count in 0..PAYLOAD / PIECE as u64 {
            // Different everywhere, and quick to make.
            let (mark, _) = piece.split_at_mut(8);
            mark.copy_from_slice(&count.to_le_bytes());
            put(self, &piece)?;
            if count % 64 == 0 {
                self.watch.nothing_waits()?;
            }
        }
        put(self, &[0; 1024])?;
        self.watch.nothing_waits()?;
        Ok(hex::encode(hash.finalize()))
    }

    fn member(&mut self, name: &str, size: u64) -> Result<()> {
        self.write(&header(name, size)?)
    }

    fn padded(&mut self, bytes: &[u8]) -> Result<()> {
        self.write(bytes)?;
        self.write(&vec![0; bytes.len().next_multiple_of(512) - bytes.len()])
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.pipe.write_all(bytes).context("the pipe broke")?;
        self.written += bytes.len() as u64;
        Ok(())
    }
}

fn header(name: &str, size: u64) -> Result<[u8; 512]> {
    let mut header = tar::Header::new_ustar();
    header.set_path(name)?;
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    Ok(*header.as_bytes())
}

fn payload_name(number: usize) -> String {
    format!("payload-{number}")
}

fn noise(seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    (0..PIECE / 8)
        .flat_map(|_| random.next().to_le_bytes())
        .collect()
}

/// Looks at what a process has in memory and on disk.
struct Watch {
    process: PathBuf,
    /// Where it may write.
    folders: [PathBuf; 2],
}

impl Watch {
    /// The most that was resident so far.
    fn peak_kib(&self) -> Option<u64> {
        let status = fs::read_to_string(self.process.join("status")).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().strip_suffix(" kB")?.trim().parse().ok()
    }

    /// Waits until the whole file of a layer is there.
    fn wait_for(&self, payload: &str) -> Result<()> {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            let whole = |(path, size): &(PathBuf, u64)| path.ends_with(payload) && *size == PAYLOAD;
            if self.files().iter().any(whole) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("{payload} is not there though all but the last bytes were written")
    }

    /// An error when something large lies around that is no content of a layer, with a name or
    /// without.
    fn nothing_waits(&self) -> Result<()> {
        let mut files = self.files();
        files.extend(self.nameless());
        for (path, size) in files {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let meant = name.starts_with("payload-") || name.starts_with("lith.db");
            ensure!(
                meant || size <= MAX_WAITING,
                "{} has {size} bytes",
                path.display()
            );
        }
        Ok(())
    }

    fn files(&self) -> Vec<(PathBuf, u64)> {
        let walk = self.folders.iter().flat_map(WalkDir::new);
        // What goes while it is looked at is not there.
        walk.filter_map(|entry| {
            let entry = entry.ok()?;
            let metadata = entry.metadata().ok().filter(fs::Metadata::is_file)?;
            Some((entry.into_path(), metadata.len()))
        })
        .collect()
    }

    /// Open files that have no name any more.
    fn nameless(&self) -> Vec<(PathBuf, u64)> {
        let Ok(open) = fs::read_dir(self.process.join("fd")) else {
            return Vec::new();
        };
        open.filter_map(|entry| {
            let path = entry.ok()?.path();
            let target = fs::read_link(&path).ok()?;
            let metadata = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
            is_gone(&target).then_some((target, metadata.len()))
        })
        .collect()
    }
}

fn is_gone(target: &Path) -> bool {
    target.to_string_lossy().ends_with(" (deleted)")
}
