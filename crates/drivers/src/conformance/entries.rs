//! Tars of layers, made entry by entry.

use lith_tarsplit::{EntryHeader, Timestamp};

/// One entry.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    kind: u8,
    name: Vec<u8>,
    link: Vec<u8>,
    content: Vec<u8>,
    mode: u32,
    owner: (u32, u32),
    mtime: Timestamp,
    device: (u32, u32),
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

pub(super) const TIME: Timestamp = Timestamp {
    seconds: 1_500_000_000,
    nanos: 123_456_789,
};

pub(super) fn entry(kind: u8, name: impl AsRef<[u8]>) -> Entry {
    Entry {
        kind,
        name: name.as_ref().to_vec(),
        link: Vec::new(),
        content: Vec::new(),
        mode: if kind == b'5' { 0o755 } else { 0o644 },
        owner: (0, 0),
        mtime: TIME,
        device: (0, 0),
        xattrs: Vec::new(),
    }
}

pub(super) fn file(name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Entry {
    Entry {
        content: content.as_ref().to_vec(),
        ..entry(b'0', name)
    }
}

pub(super) fn dir(name: impl AsRef<[u8]>) -> Entry {
    entry(b'5', name)
}

pub(super) fn symlink(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Entry {
    Entry {
        link: target.as_ref().to_vec(),
        mode: 0o777,
        ..entry(b'2', name)
    }
}

pub(super) fn hard_link(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Entry {
    Entry {
        link: target.as_ref().to_vec(),
        ..entry(b'1', name)
    }
}

impl Entry {
    pub(super) fn mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }

    pub(super) fn owner(self, user: u32, group: u32) -> Self {
        let owner = (user, group);
        Self { owner, ..self }
    }

    pub(super) fn device(self, major: u32, minor: u32) -> Self {
        let device = (major, minor);
        Self { device, ..self }
    }

    pub(super) fn mtime(self, seconds: i64, nanos: u32) -> Self {
        let mtime = Timestamp { seconds, nanos };
        Self { mtime, ..self }
    }

    pub(super) fn xattr(mut self, name: &str, value: &[u8]) -> Self {
        self.xattrs.push((name.as_bytes().to_vec(), value.to_vec()));
        self
    }
}

pub(super) fn tar(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in entries {
        let header = EntryHeader {
            link: &entry.link,
            mode: entry.mode,
            uid: entry.owner.0.into(),
            gid: entry.owner.1.into(),
            mtime: entry.mtime,
            size: entry.content.len() as u64,
            device: entry.device,
            xattrs: &entry.xattrs,
            ..EntryHeader::new(entry.kind, &entry.name)
        };
        out.extend_from_slice(&header.to_bytes());
        out.extend_from_slice(&entry.content);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

/// The names in a tar, as `type name`.
pub(super) fn names(tar: &[u8]) -> Result<Vec<String>, super::case::Stop> {
    let mut names = Vec::new();
    let mut splitter = lith_tarsplit::Splitter::new(tar, std::io::sink());
    while let Some(entry) = splitter.next_entry()? {
        let metadata = entry.metadata();
        let name = String::from_utf8_lossy(&metadata.path).into_owned();
        names.push(match metadata.kind {
            lith_tarsplit::Kind::HardLink => {
                format!("{name}={}", String::from_utf8_lossy(&metadata.link))
            }
            _ => name,
        });
    }
    Ok(names)
}
