//! Fills a draft with what it does not hide of its parent: a full copy.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, Stat};
use rustix::io::Errno;

use super::copies::{Copies, Found, Target};
use super::draft::TreeDraft;
use super::handle;
use super::hiding::is_opaque;
use super::lower::LowerView;
use super::name;
use super::walk::{Step, Trail, Walk};
use crate::error::{During, Trouble};

impl TreeDraft {
    /// Copies the only tree of `lower` into the draft, wherever the draft does not hide it.
    pub(super) fn fill(&mut self, lower: &LowerView) -> Result<(), Trouble> {
        let copies = Copies::start(&self.meta)?;
        let walked = self.fill_by(lower, &copies);
        self.meta.skipped += copies.end(walked)?;
        Ok(())
    }

    /// Walks; files with one name are left to the threads of `copies`.
    fn fill_by(&mut self, lower: &LowerView, copies: &Copies) -> Result<(), Trouble> {
        let Some(root) = lower.open_single_root()? else {
            return Ok(());
        };
        let to = handle::open_below(self.tree.root(), b"", handle::LISTING).during("open", b"")?;
        let mut walk = Walk::new(root).during("read", b"")?;
        let mut trail = Trail::new(to).during("read", b"")?;
        // Whether each directory on the way is new, so that nothing can be in the way there.
        let mut fresh = vec![false];
        let mut found = vec![Found::default()];
        while let Some(step) = walk.next().during("read", walk.place())? {
            match step {
                Step::Entry(entry, FileType::Directory) => {
                    let is_new = fresh.last().copied().unwrap_or(false);
                    if let Some((to, new)) = self.enter(&walk, &trail, &entry, is_new)? {
                        let place = name::join(walk.place(), &entry);
                        let dir = walk.dir().during("read", &place)?;
                        let from = rustix::fs::openat(
                            dir,
                            entry.as_slice(),
                            handle::LISTING,
                            Mode::empty(),
                        );
                        let from = from.during("open", &place)?;
                        walk.enter(&entry, from).during("read", &place)?;
                        trail.push(to).during("read", &place)?;
                        fresh.push(new);
                        found.push(Found::default());
                    }
                }
                Step::Entry(entry, _) => {
                    let place = name::join(walk.place(), &entry);
                    let to = trail.dir().during("open", &place)?;
                    let is_new = fresh.last().copied().unwrap_or(false);
                    if is_new
                        || handle::look(to, &entry)
                            .during("look at", &place)?
                            .is_none()
                    {
                        let from = walk.dir().during("read", &place)?;
                        let stat = rustix::fs::statat(from, &entry, AtFlags::SYMLINK_NOFOLLOW);
                        let stat = stat.during("look at", &place)?;
                        let kind = handle::kind_of(&stat);
                        let here = found
                            .last_mut()
                            .filter(|_| kind == FileType::RegularFile && stat.st_nlink <= 1);
                        if let Some(here) = here {
                            let target = || Target::new(from, to, walk.place());
                            here.add(copies, entry, target)?;
                            continue;
                        }
                        self.copy_file(from, to, &entry, (&place, &stat))?;
                        let said = || match lower.beside_single() {
                            Some(beside) => beside.read(&place),
                            None => Ok(None),
                        };
                        self.say_of_copy(kind, &place, said)?;
                    }
                }
                Step::Left(entry) => {
                    let place = name::join(walk.place(), &entry);
                    let done = trail.pop().during("open", &place)?;
                    let mut wanted = None;
                    if fresh.pop() == Some(true) {
                        let dir = walk.dir().during("read", &place)?;
                        let node =
                            rustix::fs::openat(dir, entry.as_slice(), handle::NODE, Mode::empty());
                        let node = node.during("open", &place)?;
                        let stat = rustix::fs::fstat(&node).during("look at", &place)?;
                        let attributes = self.meta.read(node.as_fd(), &stat);
                        wanted = Some(attributes.during("read the attributes of", &place)?);
                    }
                    let found = found.pop().unwrap_or_default();
                    if let Some(wanted) = found.end(copies, &mut self.meta, wanted)? {
                        self.meta.finish_directory(done.as_fd(), &wanted, &place)?;
                    }
                }
            }
        }
        for found in found {
            found.end(copies, &mut self.meta, None)?;
        }
        Ok(())
    }

    /// Returns the draft's directory for one of the parent's, and whether it is new; `None`
    /// when the draft hides it.
    fn enter(
        &self,
        walk: &Walk,
        trail: &Trail,
        entry: &[u8],
        fresh: bool,
    ) -> Result<Option<(OwnedFd, bool)>, Trouble> {
        let place = name::join(walk.place(), entry);
        let to = trail.dir().during("open", &place)?;
        let open =
            || rustix::fs::openat(to, entry, handle::LISTING, Mode::empty()).during("open", &place);
        let stat = if fresh {
            None
        } else {
            handle::look(to, entry).during("look at", &place)?
        };
        match stat {
            None => {
                rustix::fs::mkdirat(to, entry, Mode::RWXU).during("create", &place)?;
                Ok(Some((open()?, true)))
            }
            Some(stat) if handle::kind_of(&stat) == FileType::Directory => {
                let fd = open()?;
                let hidden = is_opaque(fd.as_fd(), self.tree.opaque_xattr);
                let hidden = hidden.during("look at", &place)?;
                Ok((!hidden).then_some((fd, false)))
            }
            Some(_) => Ok(None),
        }
    }

    /// Copies a file, or links it when another name of it was copied before.
    fn copy_file(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        entry: &[u8],
        (place, stat): (&[u8], &Stat),
    ) -> Result<(), Trouble> {
        if stat.st_nlink <= 1 {
            return self
                .copier
                .node(&mut self.meta, (from, entry), (to, entry), place);
        }
        let side = self.side_folder()?;
        let first = stat.st_ino.to_string();
        match rustix::fs::linkat(&side, first.as_str(), to, entry, AtFlags::empty()) {
            Ok(()) => return Ok(()),
            Err(Errno::NOENT) => {}
            // As many names as the file system allows: the rest share another copy.
            Err(Errno::MLINK) => {
                rustix::fs::unlinkat(&side, first.as_str(), AtFlags::empty())
                    .during("remove", place)?;
            }
            Err(other) => return Err(other).during("link", place),
        }
        self.copier
            .node(&mut self.meta, (from, entry), (to, entry), place)?;
        rustix::fs::linkat(to, entry, &side, first.as_str(), AtFlags::empty()).during("link", place)
    }

    /// A folder with one name for each copied file that has several, so that no list of them
    /// is needed. It goes with the draft's folder.
    fn side_folder(&mut self) -> Result<OwnedFd, Trouble> {
        let name = "several-names";
        match rustix::fs::mkdirat(&self.work, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(other) => return Err(other).during("create", name.as_bytes()),
        }
        rustix::fs::openat(&self.work, name, handle::DIRECTORY, Mode::empty())
            .during("open", name.as_bytes())
    }
}
