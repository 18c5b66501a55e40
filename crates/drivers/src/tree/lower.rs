//! What the layers below show together, found without a mount.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Mode, Stat};
use rustix::io::Errno;

use super::handle::{self, kind_of};
use super::name;
use super::place::{MOST_LINKS, MOST_PARTS, is_opaque};
use crate::error::{During, Trouble};

/// A stack of layer trees, topmost first, read as an overlay mount would show them: the upper
/// name wins, whiteouts and opaque directories hide.
///
/// Few handles are held, however many layers there are.
#[derive(Debug)]
pub(crate) struct LowerView {
    home: OwnedFd,
    /// Paths of the trees below `home`.
    trees: Vec<Vec<u8>>,
    /// The directories on the way to the one asked for last, and which layers each consists of.
    way: Vec<Step>,
    /// Handles on the last of them in each of its layers, or none when they are too many.
    held: Vec<(usize, OwnedFd)>,
}

/// Directories of more layers than this are opened by their path each time.
const MOST_HELD: usize = 64;

#[derive(Debug)]
struct Step {
    name: Vec<u8>,
    layers: Vec<usize>,
}

/// Whether it matters which layers a directory consists of, or only what shows of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    Topmost,
    All,
}

/// Something that the layers below show.
#[derive(Debug)]
pub(crate) struct Found {
    layer: usize,
    pub(crate) stat: Stat,
    /// A handle that opens nothing.
    pub(crate) node: OwnedFd,
    /// The further layers that a directory consists of, if that was asked for.
    more: Vec<(usize, Option<OwnedFd>)>,
}

impl Found {
    pub(crate) fn kind(&self) -> FileType {
        kind_of(&self.stat)
    }

    /// Returns whether it comes from the topmost tree.
    pub(crate) fn is_topmost(&self) -> bool {
        self.layer == 0
    }
}

impl LowerView {
    pub(crate) fn new(home: OwnedFd, trees: Vec<Vec<u8>>) -> Self {
        Self {
            home,
            trees,
            way: Vec::new(),
            held: Vec::new(),
        }
    }

    /// The same with one more tree on top, or nothing below it when that hides everything.
    pub(crate) fn under(&self, tree: &[u8], hides_all: bool) -> Result<Self, Trouble> {
        let home = self.home.try_clone().during("open", b"")?;
        let mut trees = vec![tree.to_vec()];
        if !hides_all {
            trees.extend(self.trees.iter().cloned());
        }
        Ok(Self::new(home, trees))
    }

    /// Must be called when the topmost tree has changed.
    pub(crate) fn forget(&mut self) {
        self.way.clear();
        self.held.clear();
    }

    /// Returns what stands at a place, the root included.
    pub(crate) fn look(&mut self, place: &[u8]) -> Result<Option<Found>, Trouble> {
        let (parent, last) = name::split(place);
        if last.is_empty() {
            let all: Vec<usize> = (0..self.trees.len()).collect();
            self.forget();
            return self.look_in(b"", b".", &all, Depth::Topmost);
        }
        match self.directory(parent)? {
            Some(layers) => self.look_in(parent, last, &layers, Depth::Topmost),
            None => Ok(None),
        }
    }

    /// Returns what would stand at a place if the topmost tree had nothing there itself; what it
    /// hides further up stays hidden.
    pub(crate) fn look_beneath(&mut self, place: &[u8]) -> Result<Option<Found>, Trouble> {
        let (parent, last) = name::split(place);
        let Some(layers) = self.directory(parent)? else {
            return Ok(None);
        };
        let beneath: Vec<usize> = layers.into_iter().filter(|layer| *layer != 0).collect();
        let last = if last.is_empty() { b"." } else { last };
        self.look_in(parent, last, &beneath, Depth::Topmost)
    }

    /// Returns which layers show a directory, if they do.
    fn directory(&mut self, place: &[u8]) -> Result<Option<Vec<usize>>, Trouble> {
        let parts: Vec<&[u8]> = name::parts(place).collect();
        let same = self
            .way
            .iter()
            .zip(&parts)
            .take_while(|(step, part)| step.name == **part)
            .count();
        if same < self.way.len() {
            self.way.truncate(same);
            self.held.clear();
        }
        let mut so_far = Vec::new();
        for (depth, part) in parts.iter().enumerate() {
            if depth >= self.way.len() {
                let layers = match depth.checked_sub(1).and_then(|above| self.way.get(above)) {
                    Some(step) => step.layers.clone(),
                    None => (0..self.trees.len()).collect(),
                };
                match self.look_in(&so_far, part, &layers, Depth::All)? {
                    Some(found) if found.kind() == FileType::Directory => self.step(part, found),
                    _ => return Ok(None),
                }
            }
            name::push(&mut so_far, part);
        }
        Ok(Some(match self.way.last() {
            Some(step) => step.layers.clone(),
            None => (0..self.trees.len()).collect(),
        }))
    }

    fn step(&mut self, part: &[u8], found: Found) {
        let mut layers = vec![found.layer];
        layers.extend(found.more.iter().map(|(layer, _)| *layer));
        self.held.clear();
        if layers.len() <= MOST_HELD {
            self.held.push((found.layer, found.node));
            let more = found.more.into_iter();
            self.held
                .extend(more.filter_map(|(layer, node)| Some((layer, node?))));
        }
        let name = part.to_vec();
        self.way.push(Step { name, layers });
    }

    /// Looks for a name in the directory that `way` leads to, and that consists of `layers`.
    fn look_in(
        &self,
        parent: &[u8],
        last: &[u8],
        layers: &[usize],
        depth: Depth,
    ) -> Result<Option<Found>, Trouble> {
        let mut found: Option<Found> = None;
        for layer in layers {
            let at = |what: &[u8]| name::join(parent, what);
            let opened;
            let dir = match self.held.iter().find(|(held, _)| held == layer) {
                Some((_, held)) => held,
                None => match self.open_in(*layer, parent).during("open", parent)? {
                    Some(dir) => {
                        opened = dir;
                        &opened
                    }
                    None => continue,
                },
            };
            let node = match rustix::fs::openat(dir, last, handle::NODE, Mode::empty()) {
                Err(Errno::NOENT) => continue,
                node => node.during("open", &at(last))?,
            };
            let stat = rustix::fs::fstat(&node).during("look at", &at(last))?;
            if kind_of(&stat) != FileType::Directory {
                if found.is_none() && !handle::is_whiteout(&stat) {
                    found = Some(Found {
                        layer: *layer,
                        stat,
                        node,
                        more: Vec::new(),
                    });
                }
                break;
            }
            let last_one =
                depth == Depth::Topmost || is_opaque(node.as_fd()).during("look at", &at(last))?;
            match &mut found {
                None => {
                    found = Some(Found {
                        layer: *layer,
                        stat,
                        node,
                        more: Vec::new(),
                    });
                }
                Some(found) => {
                    let held = (found.more.len() < MOST_HELD).then_some(node);
                    found.more.push((*layer, held));
                }
            }
            if last_one {
                break;
            }
        }
        Ok(found)
    }

    fn open_in(&self, layer: usize, place: &[u8]) -> Result<Option<OwnedFd>, Errno> {
        let Some(tree) = self.trees.get(layer) else {
            return Ok(None);
        };
        match handle::open_below(
            self.home.as_fd(),
            &name::join(tree, place),
            handle::DIRECTORY,
        ) {
            Ok(fd) => Ok(Some(fd)),
            // A tree that vanished is an error, a directory that one layer lacks is none.
            Err(Errno::NOENT | Errno::NOTDIR) if !place.is_empty() => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// Opens the directory that holds what was found at a place.
    pub(crate) fn open_parent(&self, found: &Found, place: &[u8]) -> Result<OwnedFd, Trouble> {
        let (parent, _) = name::split(place);
        match self.open_in(found.layer, parent).during("open", parent)? {
            Some(fd) => Ok(fd),
            None => Err(Errno::NOENT).during("open", parent),
        }
    }

    /// Returns where a name leads when the links on its way, but not the last, are followed
    /// inside the root. `None` when a directory on the way is missing.
    pub(crate) fn resolve(&mut self, path: &[u8]) -> Result<Option<Vec<u8>>, Trouble> {
        let (parent, last) = name::split(path);
        let mut ahead: Vec<Vec<u8>> = name::parts(parent).rev().map(<[u8]>::to_vec).collect();
        let (mut place, mut links, mut parts) = (Vec::new(), 0, 0);
        while let Some(part) = ahead.pop() {
            match part.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    name::pop(&mut place);
                    continue;
                }
                _ => {}
            }
            let here = name::join(&place, &part);
            let Some(found) = self.look(&here)? else {
                return Ok(None);
            };
            match found.kind() {
                FileType::Directory => place = here,
                FileType::Symlink if links < MOST_LINKS && parts <= MOST_PARTS => {
                    links += 1;
                    let before = ahead.len();
                    let dir = self.open_parent(&found, &here)?;
                    let target = rustix::fs::readlinkat(&dir, part.as_slice(), Vec::new())
                        .during("read", &here)?;
                    if target.to_bytes().starts_with(b"/") {
                        place.clear();
                    }
                    ahead.extend(name::parts(target.to_bytes()).rev().map(<[u8]>::to_vec));
                    parts += ahead.len() - before;
                }
                _ => return Ok(None),
            }
        }
        Ok(Some(name::join(&place, last)))
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
        let mut view = LowerView::new(home, vec![b"0".to_vec(), b"1".to_vec(), b"2".to_vec()]);
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
