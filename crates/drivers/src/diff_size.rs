//! How much content a layer adds to those below it.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, Stat};
use rustix::io::Errno;

use crate::error::DriverError;
use crate::home::Home;
use crate::id::CacheId;
use crate::tree::handle::{self, kind_of};
use crate::tree::meta::Meta;
use crate::tree::name;
use crate::tree::touched::Touched;
use crate::tree::walk::{Step, Trail, Walk};

impl Home {
    /// Adds up the regular files of a layer's tree that are not the same in the tree of `parent`.
    pub(crate) fn diff_size(
        &self,
        id: &CacheId,
        parent: Option<&CacheId>,
    ) -> Result<u64, DriverError> {
        let parent = parent.map(|parent| self.open_tree_for_reading(parent));
        let parent = parent.transpose()?;
        let tree = self.open_tree_for_reading(id)?;
        let touched = parent
            .as_ref()
            .and_then(|parent| Touched::ask(&self.trees, tree.as_fd(), parent.as_fd()));
        let summed = Sum::over(tree, parent, self.meta(), touched.as_ref());
        // Somebody removes it meanwhile: what was found so far is no answer.
        self.expect(id)?;
        summed.map_err(|error| {
            DriverError::io("read", self.layer_path(id).join(self.trees.name), error)
        })
    }
}

struct Sum {
    bytes: u64,
    /// Files with several names that were counted.
    several: HashSet<u64>,
    /// Directories of the parent, as far as it has those that are walked.
    beside: Option<Trail>,
    meta: Meta,
}

impl Sum {
    fn over(
        tree: OwnedFd,
        parent: Option<OwnedFd>,
        meta: Meta,
        touched: Option<&Touched>,
    ) -> io::Result<u64> {
        let mut sum = Self {
            bytes: 0,
            several: HashSet::new(),
            beside: parent.map(Trail::new).transpose()?,
            meta,
        };
        let mut walk = Walk::new(tree)?;
        // Whether the parent has each directory on the way.
        let mut has = vec![sum.beside.is_some()];
        while let Some(step) = walk.next()? {
            let both = has.last().copied().unwrap_or(false);
            match step {
                Step::Entry(name, FileType::Directory) => {
                    let place = name::join(walk.place(), &name);
                    if touched.is_some_and(|t| !t.reaches(&place)) {
                        continue;
                    }
                    let flags = handle::LISTING;
                    let dir = rustix::fs::openat(walk.dir()?, &*name, flags, Mode::empty())?;
                    walk.enter(&name, dir)?;
                    has.push(both && sum.enter(&name)?);
                }
                Step::Entry(name, FileType::RegularFile) => {
                    if touched.is_none_or(|t| t.has(walk.place())) {
                        sum.file(walk.dir()?, &name, both)?;
                    }
                }
                Step::Entry(..) => {}
                Step::Left(_) => {
                    if has.pop() == Some(true)
                        && let Some(beside) = &mut sum.beside
                    {
                        beside.pop()?;
                    }
                }
            }
        }
        Ok(sum.bytes)
    }

    /// Goes into a directory of the parent. Returns whether there is one.
    fn enter(&mut self, name: &[u8]) -> io::Result<bool> {
        let Some(beside) = &mut self.beside else {
            return Ok(false);
        };
        match rustix::fs::openat(beside.dir()?, name, handle::LISTING, Mode::empty()) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(false),
            dir => beside.push(dir?).map(|()| true),
        }
    }

    fn file(&mut self, dir: BorrowedFd<'_>, name: &[u8], both: bool) -> io::Result<()> {
        let Some(stat) = handle::look(dir, name)? else {
            return Ok(());
        };
        let several = stat.st_nlink > 1;
        if several && self.several.contains(&stat.st_ino) {
            return Ok(());
        }
        if let Some(beside) = self.beside.as_ref().filter(|_| both)
            && same(&self.meta, (dir, beside.dir()?), name, &stat)?
        {
            return Ok(());
        }
        if several {
            self.several.insert(stat.st_ino);
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        self.bytes = self.bytes.saturating_add(size);
        Ok(())
    }
}

/// Returns whether both directories have the same file at a name: attributes and content.
fn same(
    meta: &Meta,
    (one, other): (BorrowedFd<'_>, BorrowedFd<'_>),
    name: &[u8],
    stat: &Stat,
) -> io::Result<bool> {
    let like = |found: &Stat| {
        kind_of(found) == FileType::RegularFile
            && (found.st_size, found.st_mode) == (stat.st_size, stat.st_mode)
            && (found.st_mtime, found.st_mtime_nsec) == (stat.st_mtime, stat.st_mtime_nsec)
    };
    if !handle::look(other, name)?.as_ref().is_some_and(like) {
        return Ok(false);
    }
    let (one, stat) = handle::open_regular(one, name)?;
    let (other, found) = handle::open_regular(other, name)?;
    let attributes =
        meta.read_open(one.as_fd(), &stat)? == meta.read_open(other.as_fd(), &found)?;
    Ok(attributes && same_content(File::from(one), File::from(other))?)
}

pub(crate) fn same_content(mut one: File, mut other: File) -> io::Result<bool> {
    const STEP: u64 = 128 * 1024;
    let (mut left, mut right) = (Vec::new(), Vec::new());
    loop {
        left.clear();
        right.clear();
        one.by_ref().take(STEP).read_to_end(&mut left)?;
        other.by_ref().take(STEP).read_to_end(&mut right)?;
        if left != right {
            return Ok(false);
        }
        if left.is_empty() {
            return Ok(true);
        }
    }
}
