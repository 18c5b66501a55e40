//! Formats by name, and where they are written to.

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::str::FromStr;

#[cfg(feature = "daemon")]
use crate::EngineAddress;

/// A format that images are saved in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Format {
    /// What `docker save` writes and `docker load` reads.
    #[default]
    DockerArchive,
    /// An OCI layout as a tar.
    OciArchive,
    /// An OCI layout as a folder.
    OciDir,
    /// The folder that skopeo calls `dir`.
    DockerDir,
    /// A docker-archive that a running engine takes.
    DockerDaemon,
}

impl Format {
    /// All formats.
    pub const ALL: [Format; 5] = [
        Format::DockerArchive,
        Format::OciArchive,
        Format::OciDir,
        Format::DockerDir,
        Format::DockerDaemon,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Format::DockerArchive => "docker-archive",
            Format::OciArchive => "oci-archive",
            Format::OciDir => "oci-dir",
            Format::DockerDir => "docker-dir",
            Format::DockerDaemon => "docker-daemon",
        }
    }

    /// True for what is written as one file.
    pub fn is_archive(self) -> bool {
        matches!(self, Format::DockerArchive | Format::OciArchive)
    }

    /// What it is, for an error text.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Format::DockerArchive | Format::OciArchive => "a file",
            Format::OciDir | Format::DockerDir => "a folder",
            Format::DockerDaemon => "a running engine",
        }
    }

    /// True for what is written as a folder.
    pub fn is_folder(self) -> bool {
        matches!(self, Format::OciDir | Format::DockerDir)
    }

    /// True for what holds images for several platforms behind one name.
    pub fn takes_indexes(self) -> bool {
        matches!(self, Format::OciArchive | Format::OciDir)
    }

    /// True for what holds any number of images.
    pub fn takes_several(self) -> bool {
        self != Format::DockerDir
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no format: expected {}", crate::error::join(&Format::ALL))]
pub struct ParseFormatError {
    /// What was given.
    pub text: String,
}

impl FromStr for Format {
    type Err = ParseFormatError;

    fn from_str(text: &str) -> Result<Format, ParseFormatError> {
        let found = Format::ALL.into_iter().find(|format| format.name() == text);
        found.ok_or_else(|| ParseFormatError {
            text: text.chars().take(40).collect(),
        })
    }
}

/// How a docker-archive is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum DockerLayout {
    /// As podman and skopeo write it.
    #[default]
    Default,
    /// As docker up to 24 writes it.
    Dirs,
    /// As docker from 25 writes it: an OCI layout inside.
    Blobs,
}

/// A text that names no layout.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no layout of docker-archives: expected default, dirs or blobs")]
pub struct ParseLayoutError {
    /// What was given.
    pub text: String,
}

impl FromStr for DockerLayout {
    type Err = ParseLayoutError;

    fn from_str(text: &str) -> Result<DockerLayout, ParseLayoutError> {
        match text {
            "default" => Ok(DockerLayout::Default),
            "dirs" => Ok(DockerLayout::Dirs),
            "blobs" => Ok(DockerLayout::Blobs),
            _ => Err(ParseLayoutError {
                text: text.chars().take(40).collect(),
            }),
        }
    }
}

/// Where a save goes.
pub enum Target<'a> {
    /// A pipe or anything else that only goes forward. A compressed layer waits in the
    /// store's staging until its size is known.
    Stream(&'a mut (dyn Write + Send)),
    /// A file that can seek, written from where it stands, which has to be its end.
    File(&'a mut File),
    /// The path of a folder, for the formats that are one.
    Folder(&'a Path),
    /// A running engine.
    #[cfg(feature = "daemon")]
    Daemon(&'a EngineAddress),
}

impl Target<'_> {
    /// What it is, for an error text.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Target::Stream(_) => "a stream",
            Target::File(_) => "a file",
            Target::Folder(_) => "a folder",
            #[cfg(feature = "daemon")]
            Target::Daemon(_) => "a running engine",
        }
    }
}
