//! What has to make way for an entry.

use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, FileType, Stat};
use rustix::io::Errno;

use super::handle::{self, kind_of};
use super::name;
use super::place::Tree;
use super::remove;
use crate::error::{During, Trouble};

/// What is told of a file that has to make way and holds the payload of an entry: its directory,
/// its name, its place, the entry's position in the record.
pub(crate) type Displaced<'a> =
    &'a mut dyn FnMut(BorrowedFd<'_>, &[u8], &[u8], u64) -> Result<(), Trouble>;

impl Tree {
    /// Removes what stands at a name. Files that hold payloads are told of first.
    pub(crate) fn displace(
        &mut self,
        dir: BorrowedFd<'_>,
        last: &[u8],
        place: &[u8],
        displaced: Displaced<'_>,
    ) -> Result<Option<Stat>, Trouble> {
        // Files on their way may have to make way too.
        self.writers.drain()?;
        let Some(stat) = handle::look(dir, last).during("look at", place)? else {
            return Ok(None);
        };
        let names = &mut self.names;
        let mut tell = |dir: BorrowedFd<'_>, name: &[u8], place: &[u8]| match names.take(place) {
            Some(position) => displaced(dir, name, place, position),
            None => Ok(()),
        };
        match kind_of(&stat) {
            FileType::RegularFile => {
                tell(dir, last, place)?;
                unlink(dir, last).during("remove", place)?;
            }
            FileType::Directory => {
                self.held = None;
                remove::remove_telling(dir, last, &mut |dir, name, below| {
                    tell(dir, name, &name::join(place, below)).map_err(Removal::Told)
                })
                .map_err(|error| match error {
                    Removal::Told(trouble) => trouble,
                    Removal::Failed(source) => Trouble::Io {
                        action: "remove",
                        path: crate::error::shown(place).into(),
                        source,
                    },
                })?;
            }
            _ => {
                // A link may be on the way to the directory used last.
                self.held = None;
                unlink(dir, last).during("remove", place)?;
            }
        }
        Ok(Some(stat))
    }
}

enum Removal {
    Told(Trouble),
    Failed(std::io::Error),
}

impl From<std::io::Error> for Removal {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error)
    }
}

fn unlink(dir: BorrowedFd<'_>, last: &[u8]) -> Result<(), Errno> {
    match rustix::fs::unlinkat(dir, last, AtFlags::empty()) {
        // The payload was moved away.
        Err(Errno::NOENT) => Ok(()),
        done => done,
    }
}
