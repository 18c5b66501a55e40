//! What the tests share: tars made by hand, layers made of them, trees looked at.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use lith_drivers::{
    ApplySummary, CacheId, DraftBody, Driver, DriverError, DriverOptions, Kept, LayerFiles,
    MountRequest, Parent, Placed, TreeFiles, open_backend, open_driver,
};
use lith_tarsplit::{FileEntry, Splitter, assemble};

use crate::copying::{self, Copying};

/// Those that are built in.
pub(crate) const BUILT_IN: [&str; 2] = ["overlay", "vfs"];
/// The same, and one over a backend with snapshots.
pub(crate) const DRIVERS: [&str; 3] = [BUILT_IN[0], BUILT_IN[1], copying::NAME];

/// Whether this process may do what the tests need; says so when not.
pub(crate) fn root(test: &str) -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    eprintln!("SKIPPED: {test} needs root");
    false
}

/// Does something as an ordinary user: in a thread of its own, which the kernel takes for one.
pub(crate) fn as_user<T: Send>(user: u32, what: impl FnOnce() -> T + Send) -> T {
    use rustix::process::{Gid, Uid};
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
            rustix::thread::set_thread_groups(&[gid]).unwrap();
            rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
            rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
            what()
        });
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A folder of whoever asks, which may not be root.
pub(crate) fn user_folder() -> tempfile::TempDir {
    tempfile::tempdir_in(std::env::temp_dir()).unwrap()
}

/// One entry of a tar, to be written as it stands.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) kind: u8,
    pub(crate) name: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    pub(crate) mtime: String,
    pub(crate) device: (u32, u32),
    pub(crate) payload: Vec<u8>,
    pub(crate) xattrs: Vec<(String, Vec<u8>)>,
}

pub(crate) fn item(kind: u8, name: impl AsRef<[u8]>) -> Item {
    Item {
        kind,
        name: name.as_ref().to_vec(),
        link: Vec::new(),
        mode: if kind == b'5' { 0o755 } else { 0o644 },
        uid: 0,
        gid: 0,
        mtime: "1700000000".to_owned(),
        device: (0, 0),
        payload: Vec::new(),
        xattrs: Vec::new(),
    }
}

pub(crate) fn file(name: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> Item {
    Item {
        payload: payload.as_ref().to_vec(),
        ..item(b'0', name)
    }
}

pub(crate) fn dir(name: impl AsRef<[u8]>) -> Item {
    item(b'5', name)
}

pub(crate) fn symlink(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Item {
    Item {
        link: target.as_ref().to_vec(),
        mode: 0o777,
        ..item(b'2', name)
    }
}

pub(crate) fn hard_link(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Item {
    Item {
        link: target.as_ref().to_vec(),
        ..item(b'1', name)
    }
}

impl Item {
    pub(crate) fn mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }

    pub(crate) fn owner(self, uid: u64, gid: u64) -> Self {
        Self { uid, gid, ..self }
    }

    /// A time as pax writes it, like `-3.25`.
    pub(crate) fn mtime(self, mtime: &str) -> Self {
        Self {
            mtime: mtime.to_owned(),
            ..self
        }
    }

    pub(crate) fn device(self, major: u32, minor: u32) -> Self {
        Self {
            device: (major, minor),
            ..self
        }
    }

    pub(crate) fn xattr(mut self, name: &str, value: &[u8]) -> Self {
        self.xattrs.push((name.to_owned(), value.to_vec()));
        self
    }

    pub(crate) fn payload(self, payload: &[u8]) -> Self {
        Self {
            payload: payload.to_vec(),
            ..self
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let mut pax = Vec::new();
        let mut record = |key: &str, value: &[u8]| {
            let body = key.len() + value.len() + 3;
            let mut length = body + 1;
            while length != body + length.to_string().len() {
                length = body + length.to_string().len();
            }
            pax.extend_from_slice(format!("{length} {key}=").as_bytes());
            pax.extend_from_slice(value);
            pax.push(b'\n');
        };
        record("path", &self.name);
        record("linkpath", &self.link);
        record("mtime", self.mtime.as_bytes());
        record("uid", self.uid.to_string().as_bytes());
        record("gid", self.gid.to_string().as_bytes());
        for (name, value) in &self.xattrs {
            record(&format!("SCHILY.xattr.{name}"), value);
        }
        header(out, b'x', 0o644, pax.len(), (0, 0));
        out.extend_from_slice(&pax);
        pad(out);
        header(out, self.kind, self.mode, self.payload.len(), self.device);
        out.extend_from_slice(&self.payload);
        pad(out);
    }
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(512), 0);
}

fn header(out: &mut Vec<u8>, kind: u8, mode: u32, size: usize, device: (u32, u32)) {
    let mut block = [0_u8; 512];
    block[..4].copy_from_slice(b"name");
    let mut octal = |at: usize, width: usize, value: u64| {
        let text = format!("{value:0width$o}", width = width - 1);
        block[at..at + text.len()].copy_from_slice(text.as_bytes());
    };
    octal(100, 8, u64::from(mode));
    octal(108, 8, 0);
    octal(116, 8, 0);
    octal(124, 12, size as u64);
    octal(136, 12, 0);
    octal(329, 8, u64::from(device.0));
    octal(337, 8, u64::from(device.1));
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out.extend_from_slice(&block);
}

pub(crate) fn tar(items: &[Item]) -> Vec<u8> {
    let mut out = Vec::new();
    for item in items {
        item.write(&mut out);
    }
    out.resize(out.len() + 1024, 0);
    out
}

/// Opens a driver that is built in, or the one over [`Copying`].
pub(crate) fn open(
    driver: &str,
    home: &Path,
    options: &DriverOptions,
) -> Result<Box<dyn Driver>, DriverError> {
    match driver {
        copying::NAME => open_backend(Box::new(Copying::new()), home, options),
        _ => open_driver(driver, home, options),
    }
}

/// A driver in a folder of its own, gone when it is dropped.
pub(crate) struct Bench {
    pub(crate) temp: tempfile::TempDir,
    pub(crate) driver: Box<dyn Driver>,
}

/// A layer as its owner keeps it: what is needed to give it back.
pub(crate) struct Layer {
    pub(crate) id: CacheId,
    pub(crate) tar: Vec<u8>,
    record: Vec<u8>,
    pub(crate) kept: PathBuf,
    pub(crate) summary: ApplySummary,
}

impl Bench {
    pub(crate) fn new(driver: &str) -> Self {
        Self::with(driver, &DriverOptions::default())
    }

    pub(crate) fn with(driver: &str, options: &DriverOptions) -> Self {
        let temp = tempfile::tempdir().unwrap();
        Self::inside(temp, driver, options)
    }

    /// In memory where that can be: for tests with hundreds of layers, each synced.
    pub(crate) fn in_memory(driver: &str, options: &DriverOptions) -> Self {
        let temp = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        Self::inside(temp.unwrap(), driver, options)
    }

    pub(crate) fn inside(temp: tempfile::TempDir, driver: &str, options: &DriverOptions) -> Self {
        let home = temp.path().join("drivers").join(driver);
        let driver = open(driver, &home, options).unwrap();
        Self { temp, driver }
    }

    pub(crate) fn home(&self) -> &Path {
        &self.driver.info().home
    }

    /// Applies a tar over a parent.
    pub(crate) fn layer(&self, parent: Option<&Layer>, items: &[Item]) -> Layer {
        self.try_tar(parent.map(|layer| &layer.id), tar(items))
            .unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) fn try_layer(
        &self,
        parent: Option<&Layer>,
        items: &[Item],
    ) -> Result<Layer, String> {
        self.try_tar(parent.map(|layer| &layer.id), tar(items))
    }

    pub(crate) fn try_tar(&self, parent: Option<&CacheId>, tar: Vec<u8>) -> Result<Layer, String> {
        let id = CacheId::random();
        let kept_path = self.temp.path().join(format!("kept-{id}"));
        let prepared = match (self.driver.info().stand_alone, parent) {
            (true, _) => Parent::Later,
            (false, Some(parent)) => Parent::Known(parent),
            (false, None) => Parent::None,
        };
        let mut draft = self
            .driver
            .prepare(prepared)
            .map_err(|error| with_causes(&error))?;
        let (record, summary) = fill(draft.body(), &tar[..], &kept_path)?;
        assert_eq!(
            draft
                .commit(&id, parent)
                .map_err(|error| with_causes(&error))?,
            Placed::New
        );
        Ok(Layer {
            id,
            tar,
            record,
            kept: kept_path,
            summary,
        })
    }

    /// Checks that the layer comes back bit for bit.
    pub(crate) fn check_comes_back(&self, layer: &Layer) {
        let LayerFiles::Tree(files) = self.driver.files(&layer.id).unwrap() else {
            panic!("a tree driver")
        };
        let mut again = Vec::new();
        let getter = Getter {
            files,
            kept: layer.kept.clone(),
        };
        assemble(&layer.record[..], getter, &mut again).unwrap_or_else(|error| panic!("{error}"));
        assert!(again == layer.tar, "another tar came back");
    }

    /// Mounts a layer and returns what shows.
    pub(crate) fn shown(&self, layer: &Layer) -> Tree {
        let target = self.temp.path().join("mnt");
        std::fs::create_dir_all(&target).unwrap();
        let mount = self
            .driver
            .mount(&MountRequest::new(&layer.id, &target))
            .unwrap();
        let tree = tree_of(&target);
        mount.unmount().unwrap();
        tree
    }

    /// Asserts that no draft and no removal was left behind.
    pub(crate) fn check_clean(&self) {
        let left: Vec<_> = std::fs::read_dir(self.home().join(".work"))
            .unwrap()
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// Splits a tar and applies it.
pub(crate) fn fill(
    body: DraftBody<'_>,
    tar: impl Read,
    kept: &Path,
) -> Result<(Vec<u8>, ApplySummary), String> {
    let DraftBody::Tree(tree) = body else {
        panic!("a tree driver")
    };
    let mut kept = Kept::new(kept);
    let mut splitter = Splitter::new(tar, Vec::new());
    while let Some(mut entry) = splitter.next_entry().map_err(|error| error.to_string())? {
        let (metadata, payload) = entry.into_parts();
        tree.apply(metadata, payload, &mut kept)
            .map_err(|error| with_causes(&error))?;
    }
    let summary = tree.finish().map_err(|error| with_causes(&error))?;
    Ok((
        splitter.finish().map_err(|error| error.to_string())?.0,
        summary,
    ))
}

struct Getter {
    files: TreeFiles,
    kept: PathBuf,
}

impl lith_tarsplit::FileGetter for Getter {
    fn open(&mut self, entry: &FileEntry) -> std::io::Result<Box<dyn Read + Send>> {
        match File::open(self.kept.join(entry.position.to_string())) {
            Ok(file) => Ok(Box::new(file)),
            Err(_) => Ok(Box::new(self.files.open(&entry.name)?)),
        }
    }
}

/// What shows at one place of a tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Node {
    pub(crate) kind: char,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) device: u64,
    pub(crate) mtime: (i64, i64),
    /// Content of a file, target of a link.
    pub(crate) content: Vec<u8>,
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

pub(crate) type Tree = BTreeMap<Vec<u8>, Node>;

pub(crate) fn tree_of(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let node = node_at(&path);
        if node.kind == 'd' {
            todo.extend(
                std::fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
        let place = path
            .strip_prefix(root)
            .unwrap()
            .as_os_str()
            .as_bytes()
            .to_vec();
        tree.insert(place, node);
    }
    tree
}

pub(crate) fn node_at(path: &Path) -> Node {
    let meta = path.symlink_metadata().unwrap();
    let kind = meta.file_type();
    let (kind, content) = match () {
        () if kind.is_dir() => ('d', Vec::new()),
        () if kind.is_symlink() => (
            'l',
            std::fs::read_link(path)
                .unwrap()
                .into_os_string()
                .into_vec(),
        ),
        () if kind.is_file() => ('f', std::fs::read(path).unwrap()),
        () if kind.is_fifo() => ('p', Vec::new()),
        () if kind.is_char_device() => ('c', Vec::new()),
        () if kind.is_block_device() => ('b', Vec::new()),
        () => ('?', Vec::new()),
    };
    let mut names = vec![0; 65536];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    let xattrs = names[..length]
        .split(|b| *b == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let mut value = vec![0; 65536];
            let length = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
            (name.to_vec(), value[..length].to_vec())
        });
    Node {
        kind,
        mode: meta.mode() & 0o7777,
        owner: (meta.uid(), meta.gid()),
        device: meta.rdev(),
        mtime: (meta.mtime(), meta.mtime_nsec()),
        content,
        xattrs: xattrs.collect(),
    }
}

/// Kinds and contents alone, for short comparisons: `d`, `f:content`, `l:target`.
pub(crate) fn brief(tree: &Tree) -> Vec<String> {
    tree.iter()
        .filter(|(place, _)| !place.is_empty())
        .map(|(place, node)| {
            let (place, content) = (
                String::from_utf8_lossy(place),
                String::from_utf8_lossy(&node.content),
            );
            match node.kind {
                'd' => format!("{place}/"),
                'f' => format!("{place}={content}"),
                'l' => format!("{place}->{content}"),
                kind => format!("{place} {kind}"),
            }
        })
        .collect()
}

/// The entries of a tar: type and name, of hard links the target.
pub(crate) fn tar_entries(tar: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    let mut splitter = Splitter::new(tar, std::io::sink());
    while let Some(entry) = splitter.next_entry().unwrap() {
        let metadata = entry.metadata();
        let kind = match metadata.kind {
            lith_tarsplit::Kind::Regular => '0',
            lith_tarsplit::Kind::HardLink => '1',
            lith_tarsplit::Kind::Symlink => '2',
            lith_tarsplit::Kind::CharDevice => '3',
            lith_tarsplit::Kind::BlockDevice => '4',
            lith_tarsplit::Kind::Directory => '5',
            lith_tarsplit::Kind::Fifo => '6',
            other => panic!("{other:?}"),
        };
        let name = String::from_utf8_lossy(&metadata.path);
        let link = String::from_utf8_lossy(&metadata.link);
        found.push(match kind {
            '1' => format!("1 {name}={link}"),
            kind => format!("{kind} {name}"),
        });
    }
    found
}
