//! A file system for one run, and what was written to it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::e2e::Mounted;

/// Room for an image as a copy for each layer.
const ROOM: u64 = 10 << 30;

/// How often the room that is taken is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// A fresh file system; it goes when this is dropped.
pub(super) struct Disk {
    pub(super) path: PathBuf,
    image: PathBuf,
    mounted: Option<Mounted>,
}

impl Disk {
    pub(super) fn fresh(path: &Path) -> Result<Disk> {
        Ok(Disk {
            mounted: Some(Mounted::fresh_ext4(path, ROOM)?),
            path: path.to_owned(),
            image: path.with_extension("ext4"),
        })
    }

    /// Bytes that the kernel has written to it since it was made, once all is written.
    pub(super) fn written(&self) -> Result<u64> {
        rustix::fs::syncfs(fs::File::open(&self.path)?)?;
        let device = std::os::unix::fs::MetadataExt::dev(&fs::metadata(&self.path)?);
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let path = format!("/sys/dev/block/{major}:{minor}/stat");
        let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
        let sectors = text.split_whitespace().nth(6).context("no seventh field")?;
        Ok(sectors.parse::<u64>()? * 512)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.mounted.take();
        for path in [&self.image, &self.path] {
            let removed = match path.is_dir() {
                true => fs::remove_dir(path),
                false => fs::remove_file(path),
            };
            if let Err(error) = removed {
                eprintln!("warning: cannot remove {}: {error}", path.display());
            }
        }
    }
}

/// Looks how much room is taken on file systems while something runs.
pub(super) struct Watch {
    stop: Arc<AtomicBool>,
    disks: Vec<Seen>,
    thread: Option<JoinHandle<()>>,
}

/// The most that was taken on one of them.
#[derive(Clone)]
struct Seen {
    path: PathBuf,
    most: Arc<AtomicU64>,
}

impl Watch {
    pub(super) fn start(disks: &[&Disk]) -> Result<Watch> {
        let disks = disks.iter().map(|disk| Seen::new(&disk.path));
        let disks: Vec<Seen> = disks.collect::<Result<_>>()?;
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (stop, disks) = (stop.clone(), disks.clone());
            move || {
                while !stop.load(Ordering::Relaxed) {
                    disks.iter().for_each(Seen::look);
                    std::thread::sleep(LOOK);
                }
            }
        });
        Ok(Watch {
            stop,
            disks,
            thread: Some(thread),
        })
    }

    /// What was taken at some time and is free now, of all file systems together.
    pub(super) fn temporary(mut self) -> Result<u64> {
        self.end();
        let gone = self.disks.iter().map(|seen| {
            let now = used(&seen.path)?;
            Ok(seen.most.load(Ordering::Relaxed).saturating_sub(now))
        });
        gone.sum()
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It only looks.
            let _ = thread.join();
        }
    }
}

impl Seen {
    fn new(path: &Path) -> Result<Seen> {
        Ok(Seen {
            path: path.to_owned(),
            most: Arc::new(AtomicU64::new(used(path)?)),
        })
    }

    fn look(&self) {
        let used = used(&self.path).unwrap_or(0);
        self.most.fetch_max(used, Ordering::Relaxed);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end();
    }
}

fn used(path: &Path) -> Result<u64> {
    let all = rustix::fs::statvfs(path)?;
    Ok((all.f_blocks - all.f_bfree) * all.f_frsize)
}
