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

/// Looks how much room is taken on a file system while something runs.
pub(super) struct Watch {
    stop: Arc<AtomicBool>,
    most: Arc<AtomicU64>,
    before: u64,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    pub(super) fn start(disk: &Disk) -> Result<Watch> {
        let before = used(&disk.path)?;
        let (stop, most) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(before)),
        );
        let thread = std::thread::spawn({
            let (stop, most, path) = (stop.clone(), most.clone(), disk.path.clone());
            move || {
                while !stop.load(Ordering::Relaxed) {
                    most.fetch_max(used(&path).unwrap_or(0), Ordering::Relaxed);
                    std::thread::sleep(LOOK);
                }
            }
        });
        Ok(Watch {
            stop,
            most,
            before,
            thread: Some(thread),
        })
    }

    /// The most that was taken at once, beyond what was before.
    pub(super) fn most(mut self) -> u64 {
        self.end();
        self.most.load(Ordering::Relaxed) - self.before
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It only looks.
            let _ = thread.join();
        }
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
