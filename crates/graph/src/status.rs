//! What the driver says of itself.

use lith_drivers::Powers;

use crate::{Graph, GraphError};

/// The driver of a graph and the place it works in.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DriverStatus {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The file system that its layers lie on, as the kernel calls it.
    pub backing: String,
    /// What it can do beyond what every driver does.
    pub features: Powers,
    /// Bytes of that file system.
    pub total: u64,
    /// Bytes of it that are free for this user.
    pub free: u64,
    /// Further facts for people, as names and values.
    pub details: Vec<(String, String)>,
}

impl Graph {
    /// Returns what the driver is, what it can do, and how much space there is.
    ///
    /// # Errors
    /// When its folder cannot be looked at.
    pub fn driver_status(&self) -> Result<DriverStatus, GraphError> {
        let info = self.driver().info();
        let space = rustix::fs::statvfs(&info.home).map_err(|source| GraphError::Io {
            action: "look at the file system of",
            path: info.home.clone(),
            source: source.into(),
        })?;
        Ok(DriverStatus {
            name: info.name.clone(),
            version: info.version.clone(),
            backing: info.backing.clone(),
            features: info.powers,
            total: space.f_blocks.saturating_mul(space.f_frsize),
            free: space.f_bavail.saturating_mul(space.f_frsize),
            details: self.driver().status()?,
        })
    }
}
