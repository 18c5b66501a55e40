//! What a layer takes on the disk.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use crate::error::DriverError;
use crate::home::Home;
use crate::id::CacheId;
use crate::tree::handle::{self, kind_of};
use crate::tree::walk::{Step, Walk};

/// What is given back when a layer is removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Bytes on the disk, folders and the driver's own notes included, a file with several names
    /// once: what `du -sB1` says of the layer's folder.
    ///
    /// Blocks that files share (on XFS or btrfs) are counted for each of them.
    pub disk: u64,
    /// How many files there are, of whatever kind, folders included, one with several names once.
    pub files: u64,
}

impl Home {
    /// Adds up what a layer takes.
    pub(crate) fn usage(&self, id: &CacheId) -> Result<Usage, DriverError> {
        self.usage_below(id.as_str(), &|| self.missing(id))
    }

    /// The same for a folder below this one.
    pub(crate) fn usage_below(
        &self,
        folder: &str,
        missing: &dyn Fn() -> DriverError,
    ) -> Result<Usage, DriverError> {
        let failed = |error: io::Error| DriverError::io("read", self.path.join(folder), error);
        let root = match handle::open_unmounted(self.fd(), folder.as_bytes()) {
            Err(Errno::NOENT) => return Err(missing()),
            root => root.map_err(|error| failed(error.into()))?,
        };
        let stat = rustix::fs::fstat(&root).map_err(|error| failed(error.into()))?;
        let mut count = Count::default();
        count.add(&stat);
        let counted = Walk::new(root).and_then(|mut walk| count.walk(&mut walk));
        // Somebody removes it meanwhile: what was found so far is no answer.
        match handle::look(self.fd(), folder.as_bytes()) {
            Ok(None) => return Err(missing()),
            there => there.map_err(|error| failed(error.into()))?,
        };
        counted.map_err(failed)?;
        Ok(count.usage)
    }
}

#[derive(Debug, Default)]
struct Count {
    usage: Usage,
    /// Files with several names: how many of them are still to come, by inode.
    several: HashMap<u64, u64>,
}

impl Count {
    fn walk(&mut self, walk: &mut Walk) -> io::Result<()> {
        while let Some(step) = walk.next()? {
            match step {
                Step::Entry(name, FileType::Directory) => {
                    let dir = match handle::open_unmounted(walk.dir()?, &name) {
                        // What is mounted there does not go with the layer.
                        Err(Errno::NOENT | Errno::BUSY) => continue,
                        dir => dir?,
                    };
                    self.add(&rustix::fs::fstat(&dir)?);
                    walk.enter(&name, dir)?;
                }
                Step::Entry(name, _) => {
                    if let Some(stat) = handle::look(walk.dir()?.as_fd(), &name)? {
                        self.add(&stat);
                    }
                }
                Step::Left(_) => {}
            }
        }
        Ok(())
    }

    fn add(&mut self, stat: &Stat) {
        if kind_of(stat) != FileType::Directory && stat.st_nlink > 1 && !self.is_new(stat) {
            return;
        }
        let blocks = u64::try_from(stat.st_blocks).unwrap_or(0);
        self.usage.disk = self.usage.disk.saturating_add(blocks.saturating_mul(512));
        self.usage.files += 1;
    }

    /// Returns whether this is the first name of a file with several. A file is forgotten with
    /// its last name, so that the list is short where names lie near each other.
    fn is_new(&mut self, stat: &Stat) -> bool {
        match self.several.get_mut(&stat.st_ino) {
            None => {
                self.several.insert(stat.st_ino, stat.st_nlink - 1);
                true
            }
            Some(left) => {
                *left -= 1;
                if *left == 0 {
                    self.several.remove(&stat.st_ino);
                }
                false
            }
        }
    }
}
