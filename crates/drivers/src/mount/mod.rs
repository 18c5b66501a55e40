//! Mounts: asked for, made, found again in the kernel's table, taken away.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use crate::error::DriverError;
use crate::id::CacheId;

pub(crate) mod bind;
pub(crate) mod overlay;
pub(crate) mod table;
pub(crate) mod target;

/// What is to be mounted where, and how.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MountRequest<'a> {
    /// The topmost layer; where it is to be written, the writable layer.
    pub layer: &'a CacheId,
    /// An existing directory.
    pub target: &'a Path,
    /// Nothing can be written. Else `layer` names one of the driver's
    /// [writable layers](crate::Driver::writable), which can be mounted at one place at a time.
    pub read_only: bool,
    /// Set-id bits of the layer's programs count. Default: no, they are shown but do nothing.
    pub set_id: bool,
    /// Device files of the layer open devices. Default: no.
    pub devices: bool,
}

impl<'a> MountRequest<'a> {
    /// Asks for a layer to appear at a directory, not to be written, set-id bits and device
    /// files without effect.
    #[must_use]
    pub fn new(layer: &'a CacheId, target: &'a Path) -> Self {
        Self {
            layer,
            target,
            read_only: true,
            set_id: false,
            devices: false,
        }
    }
}

impl<'a> MountRequest<'a> {
    /// Asks for a writable layer to appear at a directory, to be written; for the rest as
    /// [`MountRequest::new`].
    #[must_use]
    pub fn writable(layer: &'a CacheId, target: &'a Path) -> Self {
        Self {
            read_only: false,
            ..Self::new(layer, target)
        }
    }
}

/// A mounted layer. Dropping it unmounts.
#[derive(Debug)]
pub struct Mount {
    target: PathBuf,
    mounted: bool,
}

impl Mount {
    pub(crate) fn new(target: PathBuf) -> Self {
        Self {
            target,
            mounted: true,
        }
    }

    /// Returns where it is, without links on the way.
    #[must_use]
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Leaves it mounted.
    pub fn leave(mut self) {
        self.mounted = false;
    }

    /// Unmounts.
    ///
    /// # Errors
    /// When somebody uses it. It then stays mounted.
    pub fn unmount(mut self) -> Result<(), DriverError> {
        self.mounted = false;
        unmount(&self.target)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.mounted && unmount(&self.target).is_err() {
            // Somebody uses it: out of sight now, gone when they are done.
            let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
            if let Err(error) = rustix::mount::unmount(&self.target, flags) {
                tracing::warn!(target = %self.target.display(), %error, "cannot unmount");
            }
        }
    }
}

/// A layer that is mounted somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MountInfo {
    /// The topmost layer, or the writable layer.
    pub layer: CacheId,
    /// Whether it is a writable layer.
    pub writable: bool,
    /// Where it is.
    pub target: PathBuf,
    /// Whether nothing can be written.
    pub read_only: bool,
    /// Whether something was mounted on top of it since: an unmount there would take that away.
    pub covered: bool,
}

/// Takes the right to write away from what is mounted on a directory, or gives it back; the rest of
/// the mount stays as it is. Whoever comes to the same files by another mount is not concerned.
///
/// # Errors
/// When somebody has a file open there for writing; when nothing is mounted there.
pub fn set_read_only(target: &Path, read_only: bool) -> Result<(), DriverError> {
    let failed = |error| DriverError::io("change the mount at", target, error);
    bind::set_read_only(target, read_only).map_err(failed)
}

/// How long somebody may go on using a mount that is to go. A process that is being started has all
/// the descriptors of the one that starts it for a moment, those of other threads too.
const PATIENCE: Duration = Duration::from_secs(1);

/// The time between two attempts.
const PAUSE: Duration = Duration::from_millis(10);

/// Unmounts what is mounted on a directory, whoever mounted it. Waits up to a second for whoever
/// uses it.
///
/// # Errors
/// When nothing is mounted there, or somebody uses it for longer.
pub fn unmount(target: &Path) -> Result<(), DriverError> {
    let end = Instant::now() + PATIENCE;
    let done = loop {
        match rustix::mount::unmount(target, UnmountFlags::NOFOLLOW) {
            Err(Errno::BUSY) if Instant::now() < end => std::thread::sleep(PAUSE),
            done => break done,
        }
    };
    done.map_err(|error| DriverError::io("unmount", target, error))
}
