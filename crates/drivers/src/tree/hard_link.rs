//! Hard links as they come: to what the draft has, else noted for later.

use std::os::fd::{AsFd, OwnedFd};

use lith_tarsplit::Kind;
use rustix::fs::{FileType, Mode};

use super::draft::TreeDraft;
use super::handle::{self, kind_of};
use super::meta::Meta;
use super::name;
use super::payload::Work;
use super::remove;
use super::special;
use crate::error::{During, Trouble};

impl TreeDraft {
    pub(super) fn hard_link(
        &mut self,
        work: &mut Work<'_>,
        parent: &[u8],
        last: &[u8],
    ) -> Result<(), Trouble> {
        let metadata = work.metadata;
        let attributes = self.meta.wanted(metadata)?;
        let spot = self.spot(work, parent)?;
        // Its target may be on its way.
        self.tree.writers.drain()?;
        let target = name::place(&metadata.link);
        let (target_parent, target_last) = name::split(&target);
        if target_last.is_empty() {
            return Err(Trouble::Refused(
                "a hard link to the layer's root".to_owned(),
            ));
        }
        let from = self.link_source(&target, target_parent)?;
        let stat = match &from {
            Some((source, _)) => {
                handle::look(source.as_fd(), target_last).during("look at", &target)?
            }
            None => None,
        };
        let (Some((source, from)), Some(stat)) =
            (from, stat.filter(|stat| !handle::is_whiteout(stat)))
        else {
            self.link_later(work, &spot, last, &target, false)?;
            return work.keep();
        };
        match kind_of(&stat) {
            FileType::Directory => {
                return Err(Trouble::Refused(format!(
                    "a hard link to a directory, {}",
                    crate::error::shown(&target)
                )));
            }
            // It waits for its own target.
            FileType::Socket => self.link_later(work, &spot, last, &target, true)?,
            _ => {
                let here = handle::look(spot.dir(), last).during("look at", &spot.at(last))?;
                if here.is_none_or(|here| (here.st_dev, here.st_ino) != (stat.st_dev, stat.st_ino))
                {
                    self.clear(work, &spot, last)?;
                    let (from, to) = (name::join(&from, target_last), spot.at(last));
                    self.link_or_copy(
                        (source.as_fd(), target_last, &from),
                        (spot.dir(), last, &to),
                        kind_of(&stat),
                    )
                    .map_err(|trouble| match trouble {
                        Trouble::Io { source, .. }
                            if source.kind() == std::io::ErrorKind::NotFound =>
                        {
                            let target = crate::error::shown(&target);
                            Trouble::Refused(format!("a hard link to {target}, which it replaces"))
                        }
                        other => other,
                    })?;
                    self.tree.names.insert(&to);
                }
                self.finish_name(spot.dir(), last, &attributes, &spot.at(last))?;
            }
        }
        work.keep()
    }

    /// Returns the directory that holds a link's target, if the draft has it, and its place.
    fn link_source(
        &mut self,
        target: &[u8],
        parent: &[u8],
    ) -> Result<Option<(OwnedFd, Vec<u8>)>, Trouble> {
        if special::is_aufs_link(target) {
            return match &self.aufs {
                Some(dir) => {
                    let dir = dir.try_clone().during("open", b"aufs")?;
                    Ok(Some((dir, parent.to_vec())))
                }
                None => Ok(None),
            };
        }
        match self.tree.find(parent)? {
            Some(spot) => {
                let dir = spot.dir().try_clone_to_owned().during("open", parent)?;
                Ok(Some((dir, spot.place.to_vec())))
            }
            None => Ok(None),
        }
    }

    /// A file of an AUFS link folder: no part of the tree, but hard links may want it.
    pub(super) fn aufs_file(
        &mut self,
        work: &mut Work<'_>,
        link: Option<Vec<u8>>,
    ) -> Result<(), Trouble> {
        let (Some(link), Kind::Regular, None) = (link, work.metadata.kind, &work.metadata.sparse)
        else {
            return work.keep();
        };
        let attributes = self.meta.wanted(work.metadata)?;
        let dir = match self.aufs.take() {
            Some(dir) => dir,
            None => {
                rustix::fs::mkdirat(&self.work, "aufs", Mode::RWXU).during("create", b"aufs")?;
                rustix::fs::openat(&self.work, "aufs", handle::DIRECTORY, Mode::empty())
                    .during("open", b"aufs")?
            }
        };
        let dir = self.aufs.insert(dir);
        remove::remove(dir.as_fd(), &link).during("remove", &link)?;
        let file = rustix::fs::openat(
            &*dir,
            link.as_slice(),
            handle::CREATE,
            Meta::creation_mode(&attributes),
        );
        let file = file.during("create", &link)?;
        if work.metadata.stored > 0 {
            let raw = work.keep_file()?;
            self.copier
                .content(raw.as_fd(), file.as_fd(), work.metadata.stored)
                .during("write", &link)?;
        }
        self.meta.finish_file(file.as_fd(), &attributes, &link)
    }
}
