//! What is different between two trees: written once, for every driver that keeps trees.
//!
//! Both are walked together, name by name. Where the same trees show in both, nothing can differ and
//! nothing is read: of a writable layer of overlay only the directories that it holds are looked
//! into.

use std::collections::BTreeMap;
use std::io::{self, Read};

use rustix::fs::FileType;

use super::name;
use super::stack::{Item, LayerTree, Node};
use super::touched::Touched;
use crate::diff_error::DiffError;
use crate::error::shown;

/// What happened to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeKind {
    /// It is new.
    Add,
    /// It, or for a directory something in it, is another.
    Modify,
    /// It is gone, with everything below it.
    Delete,
}

impl ChangeKind {
    /// Returns the letter that the engines of the field use: `A`, `C` or `D`.
    #[must_use]
    pub fn letter(self) -> char {
        match self {
            Self::Add => 'A',
            Self::Modify => 'C',
            Self::Delete => 'D',
        }
    }
}

/// One difference between two trees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// To what: a path below the root, without a slash at either end; empty for the root itself.
    pub path: Vec<u8>,
}

/// Returns what has to be done to `old`, or to nothing, to get `new`, sorted by path.
///
/// - Every directory on the way to a change is there once as modified, except the root, which is
///   there only when its own attributes are other ones.
/// - Of what is gone only the topmost path is there.
/// - Kind, owner, mode, extended attributes, size, content, link target and device number count, and
///   the time of everything but directories. Files that look the same are read and compared.
///
/// # Errors
/// When one of the trees cannot be read, or is changed while it is.
pub fn changes(new: &LayerTree, old: Option<&LayerTree>) -> Result<Vec<Change>, DiffError> {
    let mut found = Vec::new();
    walk(new, old, &mut |step| {
        if let Some(kind) = step.kind {
            let path = step.place.to_vec();
            found.push(Change { kind, path });
        }
        Ok(())
    })?;
    found.sort_by(|one, other| by_parts(&one.path, &other.path));
    Ok(found)
}

/// Sorts paths as a walk meets them: by name, part by part.
fn by_parts(one: &[u8], other: &[u8]) -> std::cmp::Ordering {
    name::parts(one).cmp(name::parts(other))
}

/// Something that a walk over two trees came across.
pub(super) struct Step<'a> {
    /// `None` for a file that is the same in both but has several names.
    pub(super) kind: Option<ChangeKind>,
    pub(super) place: &'a [u8],
    /// What is new; none for what is gone.
    pub(super) item: Option<&'a Item>,
}

pub(super) type Visit<'a> = &'a mut dyn FnMut(&Step<'_>) -> Result<(), DiffError>;

/// Tells of every change: directories before what is in them; of a directory first what is gone,
/// then the rest, each sorted by name.
pub(super) fn walk(
    new: &LayerTree,
    old: Option<&LayerTree>,
    visit: Visit<'_>,
) -> Result<(), DiffError> {
    let touched = old.and_then(|old| new.touched_since(old));
    Walker {
        new,
        old,
        touched,
        frames: Vec::new(),
        visit,
    }
    .run()
}

struct Walker<'a> {
    new: &'a LayerTree,
    old: Option<&'a LayerTree>,
    /// Where there may be differences; unknown: everywhere.
    touched: Option<Touched>,
    frames: Vec<Frame>,
    visit: Visit<'a>,
}

/// A directory that is being walked.
struct Frame {
    place: Vec<u8>,
    item: Item,
    /// The visitor knows of it.
    told: bool,
    rest: std::vec::IntoIter<(Vec<u8>, Pair)>,
}

/// What shows at a name in both trees.
struct Pair {
    new: Option<Item>,
    old: Option<Item>,
}

impl Walker<'_> {
    fn run(mut self) -> Result<(), DiffError> {
        let root = self.new.root();
        let below = self.old.map(LayerTree::root);
        let changed = match (self.old, &below) {
            (Some(old), Some(below)) if self.new.is_same(&root, old, below) => return Ok(()),
            (Some(old), Some(below)) => self.differs(&root, old, below, b"")?,
            _ => !self.is_plain_root(&root)?,
        };
        if changed {
            self.tell(Some(ChangeKind::Modify), b"", Some(&root))?;
        }
        self.enter(Vec::new(), root, below.as_ref(), true)?;
        while let Some(frame) = self.frames.last_mut() {
            let Some((entry, pair)) = frame.rest.next() else {
                self.frames.pop();
                continue;
            };
            let place = name::join(&frame.place, &entry);
            self.meet(place, pair)?;
        }
        Ok(())
    }

    /// Whether the root of a tree that stands on nothing is as every such root.
    fn is_plain_root(&self, root: &Item) -> Result<bool, DiffError> {
        let node = self.new.look(root, b"").map_err(|e| failed(b"", e))?;
        let plain = self.new.meta.plain_directory(b"");
        let found = &node.attributes;
        Ok(plain.is_ok_and(|plain| {
            (found.uid, found.gid, found.mode) == (plain.uid, plain.gid, plain.mode)
                && found.xattrs.is_empty()
        }))
    }

    fn meet(&mut self, place: Vec<u8>, pair: Pair) -> Result<(), DiffError> {
        let is_dir = |item: &Item| item.kind == FileType::Directory;
        match (pair.new, pair.old) {
            (None, None) => Ok(()),
            (None, Some(_)) => self.change(ChangeKind::Delete, &place, None),
            (Some(item), None) => {
                self.change(ChangeKind::Add, &place, Some(&item))?;
                if is_dir(&item) {
                    self.enter(place, item, None, true)?;
                }
                Ok(())
            }
            (Some(item), Some(there)) => {
                let Some(old) = self.old else { return Ok(()) };
                if self.new.is_same(&item, old, &there)
                    || self.is_untouched(&place, is_dir(&item) && is_dir(&there))
                {
                    return Ok(());
                }
                let differs = self.differs(&item, old, &there, &place)?;
                if differs {
                    self.change(ChangeKind::Modify, &place, Some(&item))?;
                }
                let below = is_dir(&there).then_some(&there);
                if is_dir(&item) && !self.is_same_below(&place, below.is_some()) {
                    self.enter(place, item, below, differs)?;
                }
                Ok(())
            }
        }
    }

    /// Whether nothing can differ at a place that is in both trees, nor below it.
    fn is_untouched(&self, place: &[u8], directories: bool) -> bool {
        let touched = self.touched.as_ref();
        touched.is_some_and(|touched| !touched.has(name::split(place).0))
            && (!directories || self.is_same_below(place, true))
    }

    /// Whether nothing can differ below a place that is a directory in both trees.
    fn is_same_below(&self, place: &[u8], directories: bool) -> bool {
        let touched = self.touched.as_ref();
        directories && touched.is_some_and(|touched| !touched.reaches(place))
    }

    /// Goes into a directory.
    fn enter(
        &mut self,
        place: Vec<u8>,
        item: Item,
        below: Option<&Item>,
        told: bool,
    ) -> Result<(), DiffError> {
        let list = |tree: &LayerTree, dir: &Item| {
            tree.list(&place, dir)
                .map_err(|error| failed(&place, error))
        };
        let mut pairs: BTreeMap<Vec<u8>, Pair> = BTreeMap::new();
        for (entry, item) in list(self.new, &item)? {
            let (new, old) = (Some(item), None);
            pairs.insert(entry, Pair { new, old });
        }
        if let (Some(old), Some(below)) = (self.old, below) {
            for (entry, item) in list(old, below)? {
                let pair = pairs.entry(entry).or_insert(Pair {
                    new: None,
                    old: None,
                });
                pair.old = Some(item);
            }
        }
        let mut rest: Vec<_> = pairs.into_iter().collect();
        // Sorted by name already, and stays so.
        rest.sort_by_key(|(_, pair)| pair.new.is_some());
        self.frames.push(Frame {
            place,
            item,
            told,
            rest: rest.into_iter(),
        });
        Ok(())
    }

    /// Tells of a change, and before it of the directories on its way.
    fn change(
        &mut self,
        kind: ChangeKind,
        place: &[u8],
        item: Option<&Item>,
    ) -> Result<(), DiffError> {
        let first = self.frames.iter().rposition(|frame| frame.told);
        for frame in self.frames.iter_mut().skip(first.map_or(0, |at| at + 1)) {
            frame.told = true;
            (self.visit)(&Step {
                kind: Some(ChangeKind::Modify),
                place: &frame.place,
                item: Some(&frame.item),
            })?;
        }
        self.tell(Some(kind), place, item)
    }

    fn tell(
        &mut self,
        kind: Option<ChangeKind>,
        place: &[u8],
        item: Option<&Item>,
    ) -> Result<(), DiffError> {
        (self.visit)(&Step { kind, place, item })
    }

    /// Whether something is another than what it was, apart from what a directory holds.
    fn differs(
        &mut self,
        item: &Item,
        old: &LayerTree,
        there: &Item,
        place: &[u8],
    ) -> Result<bool, DiffError> {
        let fail = |error| failed(place, error);
        let one = self.new.look(item, place).map_err(fail)?;
        let other = old.look(there, place).map_err(fail)?;
        let same = is_same(&one, &other).map_err(fail)?;
        if same && one.has_several_names() {
            self.tell(None, place, Some(item))?;
        }
        Ok(!same)
    }
}

fn is_same(one: &Node, other: &Node) -> io::Result<bool> {
    let kind = one.kind;
    if kind != other.kind {
        return Ok(false);
    }
    let (a, b) = (&one.attributes, &other.attributes);
    if (a.uid, a.gid, a.mode, &a.xattrs) != (b.uid, b.gid, b.mode, &b.xattrs) {
        return Ok(false);
    }
    if kind != FileType::Directory && a.mtime != b.mtime {
        return Ok(false);
    }
    match kind {
        FileType::RegularFile => {
            // A name of the same file.
            Ok(one.identity() == other.identity()
                || (one.stat.st_size == other.stat.st_size && same_content(one, other)?))
        }
        FileType::Symlink => Ok(one.link_target()? == other.link_target()?),
        FileType::CharacterDevice | FileType::BlockDevice => Ok(one.device == other.device),
        _ => Ok(true),
    }
}

fn same_content(one: &Node, other: &Node) -> io::Result<bool> {
    if one.stat.st_size == 0 {
        return Ok(true);
    }
    crate::diff_size::same_content(one.open_content()?, other.open_content()?)
}

pub(super) fn failed(place: &[u8], source: io::Error) -> DiffError {
    DiffError::Io {
        action: "read",
        path: shown(place).into(),
        source,
    }
}

/// Reads exactly what a header promised, or says that the file has changed.
pub(super) fn exactly(
    from: impl Read,
    size: u64,
    place: &[u8],
    out: &mut dyn io::Write,
) -> Result<(), DiffError> {
    let mut from = from.take(size);
    let mut buffer = vec![0; 128 * 1024];
    let mut done = 0;
    loop {
        let read = match from.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read.map_err(|error| failed(place, error))?,
        };
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
            break;
        };
        out.write_all(bytes).map_err(DiffError::output)?;
        done += read as u64;
    }
    if done == size {
        return Ok(());
    }
    Err(DiffError::Changed {
        path: shown(place).into(),
        expected: size,
        found: done,
    })
}
