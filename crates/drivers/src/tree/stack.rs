//! What layers show together, a directory at a time, read without a mount.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Mode, Stat};
use rustix::io::Errno;

use super::attributes::Attributes;
use super::beside::Beside;
use super::handle::{self, kind_of};
use super::hiding::is_opaque;
use super::lower::below;
use super::meta::Meta;
use super::name;
use super::recorded::Node as RecordedNode;
use super::touched::Touched;
use crate::trees::Trees;

/// The files of a layer, with those of the layers below that show, read without a mount.
///
/// What it costs to open one does not depend on how many files there are.
#[derive(Debug)]
pub struct LayerTree {
    home: OwnedFd,
    /// Paths of the trees below the driver's folder, topmost first.
    trees: Vec<Vec<u8>>,
    pub(super) meta: Meta,
    /// Who may know where they differ from others.
    kind: Trees,
}

/// What shows at a name of a directory.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// The tree that it is in; for a directory the topmost.
    pub(super) tree: usize,
    pub(super) kind: FileType,
    /// Of a directory: all trees that show it, topmost first.
    pub(super) shown: Vec<usize>,
}

/// A name while the trees of a directory are read.
enum Slot {
    Hidden,
    /// Nothing further down can add to it.
    Done(Item),
    /// A directory, of whose last tree nobody has asked yet whether it hides those below.
    Open(Item),
}

impl LayerTree {
    pub(crate) fn new(home: OwnedFd, trees: Vec<Vec<u8>>, meta: Meta, kind: Trees) -> Self {
        Self {
            home,
            trees,
            meta,
            kind,
        }
    }

    /// Returns where it may differ from `old`, if anybody knows.
    pub(super) fn touched_since(&self, old: &Self) -> Option<Touched> {
        // Others are not made by copying.
        if !self.kind.can_tell_changes() || self.trees.len() != 1 || old.trees.len() != 1 {
            return None;
        }
        let open = |tree: &Self| tree.open(0, b"", handle::LISTING).ok();
        let (tree, since) = (open(self)?, open(old)?);
        Touched::ask(&self.kind, tree.as_fd(), since.as_fd())
    }

    /// The root, which every tree shows.
    pub(super) fn root(&self) -> Item {
        Item {
            tree: 0,
            kind: FileType::Directory,
            shown: (0..self.trees.len()).collect(),
        }
    }

    /// Whether a directory, or a file, comes from the very same trees in both.
    pub(super) fn is_same(&self, item: &Item, other: &Self, there: &Item) -> bool {
        if item.kind != there.kind {
            return false;
        }
        if item.kind != FileType::Directory {
            return self.trees.get(item.tree) == other.trees.get(there.tree);
        }
        let ours = item.shown.iter().map(|at| self.trees.get(*at));
        ours.eq(there.shown.iter().map(|at| other.trees.get(*at)))
    }

    /// Returns what shows in a directory, sorted by name.
    pub(super) fn list(&self, place: &[u8], dir: &Item) -> io::Result<BTreeMap<Vec<u8>, Item>> {
        let mut slots: BTreeMap<Vec<u8>, Slot> = BTreeMap::new();
        for tree in &dir.shown {
            let listing = self.open(*tree, place, handle::LISTING)?;
            let mut entries = rustix::fs::Dir::new(listing)?;
            while let Some(entry) = entries.read() {
                let entry = match entry {
                    Err(Errno::INTR) => continue,
                    entry => entry?,
                };
                let found = entry.file_name().to_bytes();
                if found == b"." || found == b".." {
                    continue;
                }
                let mut kind = entry.file_type();
                let mut whiteout = false;
                if matches!(kind, FileType::Unknown | FileType::CharacterDevice) {
                    let Some(stat) = handle::look(entries.fd()?, found)? else {
                        continue;
                    };
                    kind = kind_of(&stat);
                    whiteout = handle::is_whiteout(&stat);
                }
                self.add(&mut slots, place, (found, *tree, kind, whiteout))?;
            }
        }
        let shown = slots.into_iter().filter_map(|(name, slot)| match slot {
            Slot::Hidden => None,
            Slot::Done(item) | Slot::Open(item) => Some((name, item)),
        });
        Ok(shown.collect())
    }

    /// Returns what shows at a place.
    pub(super) fn find(&self, place: &[u8]) -> io::Result<Option<Item>> {
        let (mut at, mut item) = (Vec::new(), self.root());
        for part in name::parts(place) {
            if item.kind != FileType::Directory {
                return Ok(None);
            }
            match self.list(&at, &item)?.remove(part) {
                Some(found) => item = found,
                None => return Ok(None),
            }
            name::push(&mut at, part);
        }
        Ok(Some(item))
    }

    fn add(
        &self,
        slots: &mut BTreeMap<Vec<u8>, Slot>,
        place: &[u8],
        (found, tree, kind, whiteout): (&[u8], usize, FileType, bool),
    ) -> io::Result<()> {
        let is_dir = kind == FileType::Directory;
        match slots.entry(found.to_vec()) {
            Entry::Vacant(slot) => {
                let shown = if is_dir { vec![tree] } else { Vec::new() };
                let item = Item { tree, kind, shown };
                slot.insert(match () {
                    () if whiteout => Slot::Hidden,
                    () if is_dir => Slot::Open(item),
                    () => Slot::Done(item),
                });
            }
            Entry::Occupied(mut slot) => {
                let Slot::Open(item) = slot.get_mut() else {
                    return Ok(());
                };
                let last = item.shown.last().copied().unwrap_or(item.tree);
                let at = name::join(place, found);
                let open = is_dir
                    && !is_opaque(
                        self.open(last, &at, handle::DIRECTORY)?.as_fd(),
                        self.meta.means.opaque_xattr(),
                    )?;
                if open {
                    item.shown.push(tree);
                } else {
                    let item = item.clone();
                    slot.insert(Slot::Done(item));
                }
            }
        }
        Ok(())
    }

    /// Opens something of one of the trees.
    pub(super) fn open(
        &self,
        tree: usize,
        place: &[u8],
        flags: rustix::fs::OFlags,
    ) -> io::Result<OwnedFd> {
        let tree = self.trees.get(tree).map_or(&b""[..], Vec::as_slice);
        let path = below(tree, place);
        Ok(handle::open_below(self.home.as_fd(), &path, flags)?)
    }

    /// Returns what a file is like, with what is recorded of it; IDs are those on the disk.
    pub(super) fn look(&self, item: &Item, place: &[u8]) -> io::Result<Node> {
        let fd = self.open(item.tree, place, handle::NODE)?;
        let stat = rustix::fs::fstat(&fd)?;
        let kind = kind_of(&stat);
        let said = match self.trees.get(item.tree) {
            Some(tree) if kind == FileType::Symlink && self.meta.means.records() => {
                let beside = Beside::tree(self.home.as_fd(), tree).read(place);
                beside.map_err(|trouble| io::Error::other(trouble.of_draft()))?
            }
            _ => None,
        };
        let laid_down = self.meta.read(fd.as_fd(), &stat)?;
        let (mut attributes, node) = self.meta.recorded(laid_down, kind, said.as_deref())?;
        attributes.xattrs.to_mut().sort();
        let (kind, device) = node.map_or((kind, stat.st_rdev), RecordedNode::file);
        Ok(Node {
            fd,
            stat,
            kind,
            device,
            attributes,
        })
    }
}

/// A file, looked at.
#[derive(Debug)]
pub(super) struct Node {
    /// A handle that opens nothing.
    pub(super) fd: OwnedFd,
    pub(super) stat: Stat,
    /// What it is to be, with its device number.
    pub(super) kind: FileType,
    pub(super) device: u64,
    /// Extended attributes are sorted by name.
    pub(super) attributes: Attributes<'static>,
}

impl Node {
    pub(super) fn link_target(&self) -> io::Result<Vec<u8>> {
        Ok(rustix::fs::readlinkat(&self.fd, c"", Vec::new())?.into_bytes())
    }

    /// Tells two files apart; names of one file have the same.
    pub(super) fn identity(&self) -> (u64, u64) {
        (self.stat.st_dev, self.stat.st_ino)
    }

    pub(super) fn has_several_names(&self) -> bool {
        self.stat.st_nlink > 1 && self.kind != FileType::Directory
    }

    /// Opens the content of a regular file.
    pub(super) fn open_content(&self) -> io::Result<std::fs::File> {
        // The very file of the handle, whatever became of its name.
        let path = handle::magic_path(self.fd.as_fd());
        let flags = rustix::fs::OFlags::RDONLY
            | rustix::fs::OFlags::NONBLOCK
            | rustix::fs::OFlags::NOCTTY
            | rustix::fs::OFlags::CLOEXEC;
        let open = |flags| rustix::fs::open(path.as_str(), flags, Mode::empty());
        let fd = match open(flags | rustix::fs::OFlags::NOATIME) {
            Err(Errno::PERM) => open(flags)?,
            fd => fd?,
        };
        Ok(fd.into())
    }
}
