//! What shows in a directory: read with plain calls, none of the driver's own code.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::FileType;
use rustix::io::Errno;

use super::case::{Done, Stop, ensure};

/// What shows at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) kind: FileType,
    pub(super) mode: u32,
    pub(super) owner: (u32, u32),
    pub(super) device: u64,
    pub(super) mtime: (i64, i64),
    pub(super) links: u64,
    /// Content of a file, target of a link.
    pub(super) content: Vec<u8>,
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Places below the directory, the empty one for itself.
pub(super) type Tree = BTreeMap<Vec<u8>, Node>;

pub(super) fn shown_at(root: &Path) -> Result<Tree, Stop> {
    let mut tree = Tree::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let node = node_at(&path)?;
        if node.kind == FileType::Directory {
            for entry in fs::read_dir(&path)? {
                todo.push(entry?.path());
            }
        }
        let place = path.strip_prefix(root)?.as_os_str().as_bytes().to_vec();
        tree.insert(place, node);
    }
    Ok(tree)
}

pub(super) fn node_at(path: &Path) -> Result<Node, Stop> {
    let found = path.symlink_metadata()?;
    let kind = FileType::from_raw_mode(found.mode());
    let content = match kind {
        FileType::RegularFile => fs::read(path)?,
        FileType::Symlink => fs::read_link(path)?.into_os_string().into_vec(),
        _ => Vec::new(),
    };
    Ok(Node {
        kind,
        mode: found.mode() & 0o7777,
        owner: (found.uid(), found.gid()),
        device: match kind {
            FileType::CharacterDevice | FileType::BlockDevice => found.rdev(),
            _ => 0,
        },
        mtime: (found.mtime(), found.mtime_nsec()),
        links: found.nlink(),
        content,
        xattrs: xattrs(path)?,
    })
}

fn xattrs(path: &Path) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Stop> {
    let mut buffer = vec![0; 65536];
    let length = match rustix::fs::llistxattr(path, &mut buffer[..]) {
        Err(Errno::NOTSUP) => 0,
        length => length?,
    };
    let names: Vec<Vec<u8>> = buffer
        .get(..length)
        .unwrap_or_default()
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(<[u8]>::to_vec)
        .collect();
    let mut all = BTreeMap::new();
    for name in names {
        let length = rustix::fs::lgetxattr(path, name.as_slice(), &mut buffer[..])?;
        all.insert(name, buffer.get(..length).unwrap_or_default().to_vec());
    }
    Ok(all)
}

/// Names and contents alone: `d/`, `f=content`, `l->target`.
pub(super) fn brief(tree: &Tree) -> Vec<String> {
    let places = tree.iter().filter(|(place, _)| !place.is_empty());
    places
        .map(|(place, node)| {
            let place = String::from_utf8_lossy(place);
            let content = String::from_utf8_lossy(&node.content);
            match node.kind {
                FileType::Directory => format!("{place}/"),
                FileType::RegularFile => format!("{place}={content}"),
                FileType::Symlink => format!("{place}->{content}"),
                kind => format!("{place} {kind:?}"),
            }
        })
        .collect()
}

/// Two trees show the same, but for the times of directories, counts of names, and sockets.
pub(super) fn expect_same(found: &Tree, expected: &Tree) -> Done {
    let settle = |tree: &Tree| -> Tree {
        let mut tree = tree.clone();
        tree.retain(|_, node| node.kind != FileType::Socket);
        for node in tree.values_mut() {
            // Names that a lower layer has and this one hides may count, or not.
            node.links = 0;
            if node.kind == FileType::Directory {
                node.mtime = (0, 0);
            }
        }
        tree
    };
    let (found, expected) = (settle(found), settle(expected));
    let text = |place: &[u8]| format!("/{}", String::from_utf8_lossy(place));
    for (place, node) in &expected {
        match found.get(place) {
            None => return Err(Stop::Failed(format!("{} is missing", text(place)))),
            Some(there) => ensure(there == node, {
                let short = |node: &Node| {
                    let mut node = node.clone();
                    node.content.truncate(40);
                    format!("{node:?}")
                };
                let place = text(place);
                format!("{place}: expected {}, found {}", short(node), short(there))
            })?,
        }
    }
    for place in found.keys() {
        ensure(
            expected.contains_key(place),
            format!("{} shows", text(place)),
        )?;
    }
    Ok(())
}
