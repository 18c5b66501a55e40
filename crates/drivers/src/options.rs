//! How a driver is opened.

use std::fmt;
use std::str::FromStr;

use crate::id_maps::IdMaps;

/// How owners, modes and devices of a layer lie on the disk. Fixed when a store is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Ownership {
    /// As the layer says. Needs root of the machine.
    #[default]
    Real,
    /// Shifted by [`IdMaps`]. Needs root, or to run as root of a user namespace with these maps.
    ///
    /// This goes for owners, for users and groups of access lists and for the root user of file
    /// capabilities; attributes that only programs understand stay as they are. Shifted files are
    /// what a container with these maps takes for its own. What a user namespace does not allow,
    /// devices above all, is recorded as below.
    Mapped,
    /// All files are the user's own, and can be read and removed; owner, group, mode and whatever
    /// else the layer says and the user cannot do stands in one extended attribute, `user.lith.recorded`.
    Recorded,
}

impl Ownership {
    /// Returns its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Real => "real",
            Self::Mapped => "mapped",
            Self::Recorded => "recorded",
        }
    }
}

impl fmt::Display for Ownership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text names no [`Ownership`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an ownership mode: {0:?} (expected real, mapped or recorded)")]
pub struct InvalidOwnership(pub String);

impl FromStr for Ownership {
    type Err = InvalidOwnership;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "real" => Ok(Self::Real),
            "mapped" => Ok(Self::Mapped),
            "recorded" => Ok(Self::Recorded),
            other => Err(InvalidOwnership(other.to_owned())),
        }
    }
}

/// How a driver is opened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DriverOptions {
    /// How owners lie on the disk.
    pub ownership: Ownership,
    /// The maps of [`Ownership::Mapped`], always the same for one folder; none otherwise.
    pub id_maps: Option<IdMaps>,
    /// This process runs in a user namespace that has these very maps, so that the kernel shifts.
    pub in_namespace: bool,
    /// Makes the driver's folder when it is missing. Default: yes.
    pub create: bool,
    /// Removes what dead processes left behind while opening. Default: yes.
    pub sweep: bool,
    /// Mounts overlays the way that kernels before 6.7 need, also where the kernel is newer.
    pub old_mount_api: bool,
}

impl Default for DriverOptions {
    fn default() -> Self {
        Self {
            ownership: Ownership::Real,
            id_maps: None,
            in_namespace: false,
            create: true,
            sweep: true,
            old_mount_api: false,
        }
    }
}
