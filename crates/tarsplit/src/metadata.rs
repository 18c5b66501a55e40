//! What an entry says about its file, after every extension was applied.

/// A point in time, to the nanosecond, also before 1970.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord, Default, Hash)]
pub struct Timestamp {
    /// Seconds since 1970, rounded down.
    pub seconds: i64,
    /// Nanoseconds to add: less than 1,000,000,000, never negative.
    pub nanos: u32,
}

/// What an entry stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A regular file: `0`, NUL, `7` (contiguous) or `S` (old GNU sparse).
    Regular,
    /// A further name of a file: `1`.
    HardLink,
    /// A symbolic link: `2`.
    Symlink,
    /// A character device: `3`.
    CharDevice,
    /// A block device: `4`.
    BlockDevice,
    /// A directory: `5`, or an entry of the NUL type whose name ends in a slash.
    Directory,
    /// A fifo: `6`.
    Fifo,
    /// A pax global header: `g`. It describes no file.
    GlobalHeader,
    /// A GNU dump directory: `D`. Its payload lists the directory.
    DumpDirectory,
    /// A GNU volume label: `V`. It describes no file.
    VolumeLabel,
    /// The continuation of a file from another GNU volume: `M`.
    MultiVolume,
    /// Any other type byte.
    Other(u8),
}

impl Kind {
    /// Returns whether the stream never holds a payload for this kind, whatever size its header claims.
    #[must_use]
    pub fn is_header_only(self) -> bool {
        matches!(
            self,
            Self::HardLink
                | Self::Symlink
                | Self::CharDevice
                | Self::BlockDevice
                | Self::Directory
                | Self::Fifo
        )
    }

    pub(crate) fn of(flag: u8) -> Self {
        match flag {
            b'0' | 0 | b'7' | b'S' => Self::Regular,
            b'1' => Self::HardLink,
            b'2' => Self::Symlink,
            b'3' => Self::CharDevice,
            b'4' => Self::BlockDevice,
            b'5' => Self::Directory,
            b'6' => Self::Fifo,
            b'g' => Self::GlobalHeader,
            b'D' => Self::DumpDirectory,
            b'V' => Self::VolumeLabel,
            b'M' => Self::MultiVolume,
            other => Self::Other(other),
        }
    }
}

/// The effective metadata of an entry: one truth for the record, the tree and any listing.
///
/// Names are bytes, as the tar has them: `./x`, `x/` and `/abs` stay what they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Position of this file entry in the record.
    pub position: u64,
    /// Where the entry's own header block starts in the stream.
    pub offset: u64,
    /// Its name.
    pub path: Vec<u8>,
    /// The target of a hard or symbolic link.
    pub link: Vec<u8>,
    /// What it stands for.
    pub kind: Kind,
    /// Permission, set-id and sticky bits only.
    pub mode: u32,
    /// Owner, by number. A negative number in the tar appears as its two's complement.
    pub uid: u64,
    /// Group, by number.
    pub gid: u64,
    /// Owner, by name.
    pub uname: Vec<u8>,
    /// Group, by name.
    pub gname: Vec<u8>,
    /// Time of the last change.
    pub mtime: Timestamp,
    /// Size of the file's content: for a sparse file with its holes, 0 for kinds that have none.
    pub size: u64,
    /// Bytes of payload in the stream, all of which the entry's reader gives.
    pub stored: u64,
    /// Major and minor number of a device.
    pub device: (u64, u64),
    /// Extended attributes, sorted by name.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// How the payload is spread over the file, when it is sparse.
    pub sparse: Option<Sparse>,
}

impl Default for Metadata {
    fn default() -> Self {
        Self {
            position: 0,
            offset: 0,
            path: Vec::new(),
            link: Vec::new(),
            kind: Kind::Regular,
            mode: 0,
            uid: 0,
            gid: 0,
            uname: Vec::new(),
            gname: Vec::new(),
            mtime: Timestamp::default(),
            size: 0,
            stored: 0,
            device: (0, 0),
            xattrs: Vec::new(),
            sparse: None,
        }
    }
}

impl Metadata {
    /// Empties it without giving the buffers back.
    pub(crate) fn clear(&mut self) {
        let Self {
            path,
            link,
            uname,
            gname,
            xattrs,
            ..
        } = std::mem::take(self);
        *self = Self {
            path,
            link,
            uname,
            gname,
            xattrs,
            ..Self::default()
        };
        self.path.clear();
        self.link.clear();
        self.uname.clear();
        self.gname.clear();
        self.xattrs.clear();
    }
}

/// The layout of a sparse file: old GNU or pax 0.0, 0.1 or 1.0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sparse {
    /// Bytes of the stored payload in front of the file's data (the map, in pax 1.0).
    pub data_start: u64,
    /// Offset in the file and length of each run of data, in order, without overlap, inside the
    /// file's size; together they are as long as the stored data.
    pub runs: Vec<(u64, u64)>,
}
