//! What the layers below show together, found without a mount.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Mode, Stat};
use rustix::io::Errno;

use super::beside::Beside;
use super::handle::{self, kind_of};
use super::hiding::is_opaque;
use super::merged::resolve;
use super::name;
use super::recorded::Means;
use crate::error::{During, Trouble};

/// A stack of layer trees, topmost first, read as an overlay mount would show them: the upper
/// name wins, whiteouts and opaque directories hide.
///
/// No tree is looked into before it is needed: what the topmost ones show costs the same however
/// many lie below. Directories that were found are remembered, few handles are held.
#[derive(Debug)]
pub(crate) struct LowerView {
    home: OwnedFd,
    /// Paths of the trees below `home`.
    trees: Vec<Vec<u8>>,
    /// What is on files of all of them, and what is beside.
    pub(crate) means: Means,
    /// Directories that were asked for; the first is the root.
    dirs: Vec<Dir>,
    /// The directory asked for last.
    last: (Vec<u8>, usize),
    /// Handles on directories in one of their trees, the latest at the end.
    held: VecDeque<(usize, usize, OwnedFd)>,
    /// About how many bytes `dirs` takes.
    remembered: usize,
}

/// So many handles are held.
const MOST_HELD: usize = 16;
/// Of directories, this is remembered at most.
const MOST_REMEMBERED: usize = 16 << 20;

/// A directory, and what is known of it. Nothing is known of a tree before it is known of the
/// directory above.
#[derive(Debug, Default)]
struct Dir {
    parent: usize,
    name: Vec<u8>,
    below: HashMap<Vec<u8>, usize>,
    /// The trees that show it, of the first `examined`.
    shown: Vec<usize>,
    examined: usize,
    /// No further tree shows it.
    ended: bool,
    /// Because one hides those behind it, here or further up.
    cut: bool,
}

impl Dir {
    fn knows(&self, layer: usize) -> bool {
        self.ended || layer < self.examined
    }

    fn shows(&self, layer: usize) -> bool {
        self.shown.binary_search(&layer).is_ok()
    }
}

/// What there is at a place.
#[derive(Debug)]
pub(crate) enum Seen {
    Found(Found),
    /// A tree says that there is nothing, also further down.
    Hidden,
    Nothing,
}

impl Seen {
    pub(crate) fn found(self) -> Option<Found> {
        match self {
            Self::Found(found) => Some(found),
            Self::Hidden | Self::Nothing => None,
        }
    }
}

/// Something that a layer shows.
#[derive(Debug)]
pub(crate) struct Found {
    layer: usize,
    pub(crate) stat: Stat,
    /// A handle that opens nothing.
    pub(crate) node: OwnedFd,
}

impl Found {
    pub(crate) fn kind(&self) -> FileType {
        kind_of(&self.stat)
    }
}

impl LowerView {
    pub(crate) fn new(home: OwnedFd, trees: Vec<Vec<u8>>, means: Means) -> Self {
        let mut view = Self {
            home,
            trees,
            means,
            dirs: Vec::new(),
            last: (Vec::new(), 0),
            held: VecDeque::new(),
            remembered: 0,
        };
        view.forget();
        view
    }

    pub(crate) fn try_clone_home(&self) -> Result<OwnedFd, Trouble> {
        self.home.try_clone().during("open", b"")
    }

    /// Must be called when a tree has changed.
    pub(crate) fn forget(&mut self) {
        self.held.clear();
        self.last = (Vec::new(), 0);
        self.remembered = 0;
        self.dirs.clear();
        self.dirs.push(Dir {
            shown: (0..self.trees.len()).collect(),
            examined: self.trees.len(),
            ended: true,
            ..Dir::default()
        });
    }

    /// Returns what stands at a place, the root included.
    pub(crate) fn look(&mut self, place: &[u8]) -> Result<Option<Found>, Trouble> {
        Ok(self.see(place)?.found())
    }

    /// The same, and says whether it is hidden where nothing stands.
    pub(crate) fn see(&mut self, place: &[u8]) -> Result<Seen, Trouble> {
        let (parent, last) = name::split(place);
        if last.is_empty() {
            return self.root();
        }
        let dir = self.dir(parent);
        let mut nth = 0;
        while let Some(layer) = self.nth(dir, nth)? {
            if let Some(found) = self.open_node(dir, layer, last)? {
                let whiteout = handle::is_whiteout(&found.stat);
                return Ok(if whiteout {
                    Seen::Hidden
                } else {
                    Seen::Found(found)
                });
            }
            nth += 1;
        }
        Ok(if self.dirs[dir].cut {
            Seen::Hidden
        } else {
            Seen::Nothing
        })
    }

    /// Returns whether nothing of further trees would show in this directory.
    pub(crate) fn hides(&mut self, place: &[u8]) -> Result<bool, Trouble> {
        let dir = self.dir(place);
        while !self.dirs[dir].ended {
            self.examine(dir)?;
        }
        Ok(self.dirs[dir].cut)
    }

    fn root(&self) -> Result<Seen, Trouble> {
        let Some(tree) = self.trees.first() else {
            return Ok(Seen::Nothing);
        };
        let node = handle::open_below(self.home.as_fd(), tree, handle::NODE).during("open", b"")?;
        let stat = rustix::fs::fstat(&node).during("look at", b"")?;
        let layer = 0;
        Ok(Seen::Found(Found { layer, stat, node }))
    }

    /// Returns what is remembered of a directory, from now on at least.
    fn dir(&mut self, place: &[u8]) -> usize {
        if self.remembered > MOST_REMEMBERED {
            self.forget();
        }
        // Mostly the same one, or one below it: then a long name is not taken apart again.
        let (mut at, rest) = match place.strip_prefix(self.last.0.as_slice()) {
            Some(rest) if rest.is_empty() || rest.starts_with(b"/") => (self.last.1, rest),
            _ => (0, place),
        };
        for part in name::parts(rest) {
            at = match self.dirs[at].below.get(part) {
                Some(below) => *below,
                None => self.remember(at, part),
            };
        }
        self.last.0.clear();
        self.last.0.extend_from_slice(place);
        self.last.1 = at;
        at
    }

    fn remember(&mut self, parent: usize, name: &[u8]) -> usize {
        let new = self.dirs.len();
        self.dirs.push(Dir {
            parent,
            name: name.to_vec(),
            ..Dir::default()
        });
        self.dirs[parent].below.insert(name.to_vec(), new);
        self.remembered += 2 * (size_of::<Dir>() + name.len());
        new
    }

    /// Returns the tree that shows a directory as the n-th.
    fn nth(&mut self, dir: usize, nth: usize) -> Result<Option<usize>, Trouble> {
        loop {
            let found = &self.dirs[dir];
            if let Some(layer) = found.shown.get(nth) {
                return Ok(Some(*layer));
            }
            if found.ended {
                return Ok(None);
            }
            self.examine(dir)?;
        }
    }

    /// Looks at a directory in one more tree, which those above may have to be looked at in first.
    fn examine(&mut self, dir: usize) -> Result<(), Trouble> {
        let layer = self.dirs[dir].examined;
        let mut behind = Vec::new();
        let mut at = dir;
        while !self.dirs[at].knows(layer) {
            behind.push(at);
            at = self.dirs[at].parent;
        }
        while let Some(dir) = behind.pop() {
            self.examine_one(dir, layer)?;
        }
        Ok(())
    }

    fn examine_one(&mut self, dir: usize, layer: usize) -> Result<(), Trouble> {
        let above = self.dirs[dir].parent;
        let mut over = layer + 1 >= self.trees.len();
        let (mut shown, mut cut) = (false, false);
        if self.dirs[above].shows(layer) {
            let name = std::mem::take(&mut self.dirs[dir].name);
            let node = self.open_node(above, layer, &name);
            self.dirs[dir].name = name;
            if let Some(found) = node? {
                shown = found.kind() == FileType::Directory;
                cut = !shown
                    || is_opaque(found.node.as_fd(), self.means.opaque_xattr())
                        .or_else(|error| Err(error).during("look at", &self.place_of(dir)))?;
                if shown {
                    self.hold(dir, layer, found.node);
                }
            }
        } else {
            let above = &self.dirs[above];
            over |= above.ended && above.shown.last().is_none_or(|last| *last < layer);
        }
        let above_cut = self.dirs[above].cut;
        let dir = &mut self.dirs[dir];
        dir.examined = layer + 1;
        if shown {
            dir.shown.push(layer);
            self.remembered += size_of::<usize>();
        }
        dir.ended = over || cut;
        dir.cut = cut || (dir.ended && above_cut);
        Ok(())
    }

    fn hold(&mut self, dir: usize, layer: usize, fd: OwnedFd) {
        if self.held.len() >= MOST_HELD {
            self.held.pop_front();
        }
        self.held.push_back((dir, layer, fd));
    }

    /// Opens whatever a tree has at a name of a directory that it shows.
    fn open_node(&self, dir: usize, layer: usize, name: &[u8]) -> Result<Option<Found>, Trouble> {
        let held = self.held.iter().rev();
        let held = held
            .filter(|held| (held.0, held.1) == (dir, layer))
            .map(|held| &held.2)
            .next();
        let opened = match (held, self.trees.get(layer)) {
            (Some(held), _) => rustix::fs::openat(held, name, handle::NODE, Mode::empty()),
            (None, Some(tree)) => {
                let path = name::join(&below(tree, &self.place_of(dir)), name);
                handle::open_below(self.home.as_fd(), &path, handle::NODE)
            }
            (None, None) => Err(Errno::NOENT),
        };
        let node = match opened {
            Err(Errno::NOENT) => return Ok(None),
            node => node,
        };
        node.and_then(|node| {
            let stat = rustix::fs::fstat(&node)?;
            Ok(Some(Found { layer, stat, node }))
        })
        .or_else(|error| Err(error).during("look at", &below(&self.place_of(dir), name)))
    }

    fn place_of(&self, dir: usize) -> Vec<u8> {
        let mut parts = Vec::new();
        let mut at = dir;
        while at != 0 {
            parts.push(self.dirs[at].name.as_slice());
            at = self.dirs[at].parent;
        }
        parts.reverse();
        parts.join(&b'/')
    }

    /// Opens the directory that holds what was found at a place.
    pub(crate) fn open_parent(&self, found: &Found, place: &[u8]) -> Result<OwnedFd, Trouble> {
        let (parent, _) = name::split(place);
        let tree = self.trees.get(found.layer).ok_or(Errno::NOENT);
        tree.and_then(|tree| {
            handle::open_below(self.home.as_fd(), &below(tree, parent), handle::DIRECTORY)
        })
        .during("open", parent)
    }

    /// Returns where a name leads inside the root, as [`resolve`] does.
    pub(crate) fn resolve(&mut self, path: &[u8]) -> Result<Option<Vec<u8>>, Trouble> {
        resolve(path, &mut |place| self.look(place))
    }

    /// Returns what is said beside its layer of a link that was found at a place.
    pub(crate) fn beside(&self, found: &Found, place: &[u8]) -> Result<Option<Vec<u8>>, Trouble> {
        match self.trees.get(found.layer) {
            Some(tree) => Beside::tree(self.home.as_fd(), tree).read(place),
            None => Ok(None),
        }
    }

    /// The same of the only tree, for a full copy.
    pub(crate) fn beside_single(&self) -> Option<Beside<'_>> {
        let tree = self.trees.first()?;
        Some(Beside::tree(self.home.as_fd(), tree))
    }

    /// Opens the root of the only tree, for a full copy.
    pub(crate) fn open_single_root(&self) -> Result<Option<OwnedFd>, Trouble> {
        let Some(tree) = self.trees.first() else {
            return Ok(None);
        };
        handle::open_below(self.home.as_fd(), tree, handle::LISTING)
            .map(Some)
            .during("open", b"")
    }
}

/// The root has no name.
pub(super) fn below(dir: &[u8], place: &[u8]) -> Vec<u8> {
    if dir.is_empty() || place.is_empty() {
        [dir, place].concat()
    } else {
        name::join(dir, place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::XattrFlags;

    #[test]
    fn upper_names_win_and_whiteouts_and_opaque_directories_hide() {
        let temp = tempfile::tempdir().unwrap();
        let dir = |p: &str| std::fs::create_dir_all(temp.path().join(p)).unwrap();
        let file = |p: &str| std::fs::write(temp.path().join(p), p).unwrap();
        for d in [
            "0/a",
            "0/o",
            "1/a/b",
            "1/o",
            "2/a/b/c",
            "2/o/x",
            "1/usr/lib",
            "2/gone",
        ] {
            dir(d);
        }
        for f in ["1/a/f", "2/a/f", "2/a/g", "2/o/x/y", "2/gone/z", "1/o/mid"] {
            file(f);
        }
        std::os::unix::fs::symlink("/usr/lib", temp.path().join("2/lib")).unwrap();
        let at = |p: &str| temp.path().join(p);
        if let Err(error) = rustix::fs::mknodat(
            rustix::fs::CWD,
            at("0/gone"),
            FileType::CharacterDevice,
            Mode::empty(),
            0,
        )
        .and_then(|()| {
            rustix::fs::setxattr(
                at("1/o"),
                "trusted.overlay.opaque",
                b"y",
                XattrFlags::empty(),
            )
        }) {
            eprintln!("SKIPPED: whiteouts need root: {error}");
            return;
        }
        let home = rustix::fs::open(temp.path(), handle::DIRECTORY, Mode::empty()).unwrap();
        let trees = vec![b"0".to_vec(), b"1".to_vec(), b"2".to_vec()];
        let mut view = LowerView::new(home, trees, Means::All);
        let mut layer = |p: &str| view.look(p.as_bytes()).unwrap().map(|found| found.layer);
        for (place, expected) in [
            ("", Some(0)),
            ("a", Some(0)),
            ("a/f", Some(1)),
            ("a/g", Some(2)),
            ("a/b", Some(1)),
            ("a/b/c", Some(2)),
            ("a/none", None),
            ("a/f/below", None),
            ("gone", None),
            ("gone/z", None),
            ("o", Some(0)),
            ("o/mid", Some(1)),
            ("o/x", None),
            ("o/x/y", None),
            ("a/g", Some(2)),
        ] {
            assert_eq!(layer(place), expected, "{place}");
        }
        assert_eq!(
            view.resolve(b"lib/libc.so").unwrap(),
            Some(b"usr/lib/libc.so".to_vec())
        );
        assert_eq!(view.resolve(b"gone/z").unwrap(), None);
    }
}
