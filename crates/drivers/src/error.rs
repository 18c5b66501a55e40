//! What can go wrong in a driver, and where.

use std::io;
use std::path::{Path, PathBuf};

use crate::id::CacheId;
use crate::id_maps::IdKind;
use crate::options::Ownership;

/// Why a driver could not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError {
    /// No driver has this name.
    #[error("no driver is called {name:?} (there are: {known}, and plugins, named by their paths)")]
    UnknownDriver {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// A plugin cannot be loaded, or does not say what it must.
    #[error(transparent)]
    Plugin(#[from] lith_plugin::PluginError),
    /// A plugin has the name of a driver that is built in.
    #[error(
        "{}: the plugin calls itself {name:?}, as a driver of lith's own is called: it needs another name",
        path.display()
    )]
    PluginName {
        /// The plugin.
        path: PathBuf,
        /// What it calls itself.
        name: String,
    },
    /// The backend of a driver could not do its part.
    #[error("the {driver} driver cannot {action} a tree in {}", path.display())]
    Backend {
        /// The driver.
        driver: String,
        /// What it was to do.
        action: &'static str,
        /// The folder.
        path: PathBuf,
        /// What it said.
        source: Box<lith_plugin::BackendError>,
    },
    /// The driver cannot do this.
    #[error("the {driver} driver does not support {what}")]
    Unsupported {
        /// The driver.
        driver: String,
        /// What was asked for.
        what: String,
    },
    /// The place where the driver is to work does not allow it.
    #[error("{} cannot hold layers: {reason}", path.display())]
    Unsuitable {
        /// The driver's folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Maps without the ownership mode that they are for, or the mode without maps.
    #[error("ownership {ownership} {}", if *given { "takes no ID maps" } else { "needs ID maps" })]
    IdMaps {
        /// The mode asked for.
        ownership: Ownership,
        /// Whether there were maps.
        given: bool,
    },
    /// The driver has no such layer.
    #[error("the {driver} driver has no layer {id}")]
    Missing {
        /// The driver.
        driver: String,
        /// The layer asked for.
        id: CacheId,
    },
    /// The driver has no such writable layer.
    #[error("the {driver} driver has no writable layer {id}")]
    MissingWritable {
        /// The driver.
        driver: String,
        /// The writable layer asked for.
        id: CacheId,
    },
    /// A writable layer was to be made under an ID that is taken.
    #[error("there is a writable layer {id} already")]
    Exists {
        /// The ID.
        id: CacheId,
    },
    /// The layer is mounted, or a layer that stands on it is.
    #[error("layer {id} is in use: mounted on {}", target.display())]
    Busy {
        /// The layer.
        id: CacheId,
        /// Where it is mounted.
        target: PathBuf,
    },
    /// More layers than the kernel can put on top of each other.
    #[error("layer {id} stands on {count} layers, the kernel mounts at most {limit}")]
    TooManyLayers {
        /// The topmost layer.
        id: CacheId,
        /// How many layers there are, this one included.
        count: usize,
        /// The kernel's limit.
        limit: usize,
    },
    /// What the driver keeps of a layer is not what it wrote.
    #[error("layer {id} is damaged: {}: {reason}", path.display())]
    Damaged {
        /// The layer.
        id: CacheId,
        /// The file or folder in question.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A draft was committed over another parent than it was prepared for.
    #[error("the draft was prepared over {prepared}, not over {given}")]
    OtherParent {
        /// The parent it was prepared for.
        prepared: String,
        /// The parent given at commit.
        given: String,
    },
    /// A draft in which an entry failed was to be committed.
    #[error("the draft is incomplete: an entry of the layer failed")]
    Incomplete,
    /// A hard link of the layer has no target, or its target cannot be linked.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The kernel refused a mount.
    #[error("cannot mount layer {id} on {}{detail}", target.display())]
    Mount {
        /// The layer.
        id: CacheId,
        /// Where it was to appear.
        target: PathBuf,
        /// What the kernel had to say, after a colon.
        detail: String,
        /// The error.
        source: io::Error,
    },
    /// The file system refused something.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was to be done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
}

impl DriverError {
    pub(crate) fn io(
        action: &'static str,
        path: impl AsRef<Path>,
        source: impl Into<io::Error>,
    ) -> Self {
        Self::Io {
            action,
            path: path.as_ref().to_owned(),
            source: source.into(),
        }
    }
}

/// Why an entry of a layer could not be applied.
///
/// Each variant names the entry: its position in the record, the offset of its header in the
/// stream, its name (control characters escaped).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// The entry asks for something that no layer may hold.
    #[error("tar entry at byte {offset} (position {position} of the record), {name}: {reason}")]
    Refused {
        /// Position in the record.
        position: u64,
        /// Offset of the entry's header in the stream.
        offset: u64,
        /// Name of the entry.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An owner, or an ID in the attributes, is outside the ID maps of the store.
    #[error(
        "tar entry at byte {offset} (position {position} of the record), {name}: {kind} {id} is outside the ID maps"
    )]
    Unmapped {
        /// Position in the record.
        position: u64,
        /// Offset of the entry's header in the stream.
        offset: u64,
        /// Name of the entry.
        name: String,
        /// Whether it is a user or a group.
        kind: IdKind,
        /// The ID.
        id: u32,
    },
    /// A directory that no entry describes belongs to root, which is outside the ID maps.
    #[error("directory {}, which no entry describes: {kind} 0 is outside the ID maps", path.display())]
    UnmappedRoot {
        /// The path inside the layer.
        path: PathBuf,
        /// Whether root is missing as a user or as a group.
        kind: IdKind,
    },
    /// The file system refused something.
    #[error("tar entry at byte {offset} (position {position} of the record), {name}: cannot {action} {}", path.display())]
    Io {
        /// Position in the record.
        position: u64,
        /// Offset of the entry's header in the stream.
        offset: u64,
        /// Name of the entry.
        name: String,
        /// What was to be done.
        action: &'static str,
        /// To what: a path inside the layer, or a kept payload.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
    /// The stream failed inside the entry's payload.
    #[error(
        "tar entry at byte {offset} (position {position} of the record), {name}: cannot read its content"
    )]
    Payload {
        /// Position in the record.
        position: u64,
        /// Offset of the entry's header in the stream.
        offset: u64,
        /// Name of the entry.
        name: String,
        /// The error of the stream.
        source: io::Error,
    },
    /// An earlier entry failed: nothing more can be applied.
    #[error("the draft is incomplete: an earlier entry of the layer failed")]
    Incomplete,
    /// What the draft keeps for itself could not be written.
    #[error("cannot {action} {}", path.display())]
    Draft {
        /// What was to be done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
}

/// Which entry an error is about.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) position: u64,
    pub(crate) offset: u64,
    pub(crate) path: Vec<u8>,
}

impl Origin {
    pub(crate) fn of(metadata: &lith_tarsplit::Metadata) -> Self {
        Self {
            position: metadata.position,
            offset: metadata.offset,
            path: metadata.path.clone(),
        }
    }
}

/// An error before it is known which entry it belongs to.
#[derive(Debug)]
pub(crate) enum Trouble {
    Refused(String),
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    Payload(io::Error),
    /// An ID of the entry.
    Unmapped {
        kind: IdKind,
        id: u32,
    },
    /// Of a directory that no entry describes.
    UnmappedRoot {
        kind: IdKind,
        path: PathBuf,
    },
    /// Of an entry before, whose file was still on its way.
    Earlier(Box<ApplyError>),
}

impl Trouble {
    pub(crate) fn earlier(error: ApplyError) -> Self {
        Self::Earlier(Box::new(error))
    }

    pub(crate) fn of_entry(self, origin: &Origin) -> ApplyError {
        let (position, offset, name) = (origin.position, origin.offset, shown(&origin.path));
        match self {
            Self::Refused(reason) => ApplyError::Refused {
                position,
                offset,
                name,
                reason,
            },
            Self::Io {
                action,
                path,
                source,
            } => ApplyError::Io {
                position,
                offset,
                name,
                action,
                path,
                source,
            },
            Self::Payload(source) => ApplyError::Payload {
                position,
                offset,
                name,
                source,
            },
            Self::Unmapped { kind, id } => ApplyError::Unmapped {
                position,
                offset,
                name,
                kind,
                id,
            },
            Self::UnmappedRoot { kind, path } => ApplyError::UnmappedRoot { path, kind },
            Self::Earlier(error) => *error,
        }
    }

    pub(crate) fn of_draft(self) -> ApplyError {
        match self {
            Self::Io {
                action,
                path,
                source,
            } => ApplyError::Draft {
                action,
                path,
                source,
            },
            Self::Payload(source) => ApplyError::Draft {
                action: "read",
                path: PathBuf::from("payload"),
                source,
            },
            Self::Refused(reason) => ApplyError::Draft {
                action: "complete",
                path: PathBuf::from("draft"),
                source: io::Error::other(reason),
            },
            Self::UnmappedRoot { kind, path } => ApplyError::UnmappedRoot { path, kind },
            Self::Earlier(error) => *error,
            Self::Unmapped { kind, id } => ApplyError::Draft {
                action: "map",
                path: PathBuf::from(format!("{kind} {id}")),
                source: io::Error::other("outside the ID maps"),
            },
        }
    }
}

/// Says what was being done to which path inside the layer.
pub(crate) trait During<T> {
    fn during(self, action: &'static str, path: &[u8]) -> Result<T, Trouble>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, action: &'static str, path: &[u8]) -> Result<T, Trouble> {
        self.map_err(|source| Trouble::Io {
            action,
            path: PathBuf::from(shown(path)),
            source: source.into(),
        })
    }
}

/// A name from a tar as text: what is no UTF-8 or would move a cursor is escaped.
pub(crate) fn shown(name: &[u8]) -> String {
    const LONGEST: usize = 512;
    let (name, cut) = match name.get(..LONGEST) {
        Some(start) if name.len() > LONGEST => (start, "..."),
        _ => (name, ""),
    };
    let mut text = String::with_capacity(name.len() + 2);
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() {
                text.extend(c.escape_default());
            } else {
                text.push(c);
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    if text.is_empty() {
        text.push('.');
    }
    text.push_str(cut);
    text
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn names_are_shown_without_control_characters() {
        assert_eq!(shown(b"etc/hello"), "etc/hello");
        assert_eq!(shown(b"caf\xe9\x1b[2J"), "caf\\xe9\\u{1b}[2J");
        assert_eq!(shown(b""), ".");
        assert!(shown(&vec![b'a'; 5000]).len() < 600);
    }
}
