//! Copies of file content and of single files.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, Mode, SeekFrom, Stat};
use rustix::io::Errno;

use super::handle::{self, kind_of};
use super::meta::Meta;
use crate::error::{During, Trouble};

/// Files up to this size are copied by one read and one write.
const SMALL: u64 = 32 * 1024;

/// Copies content the cheapest way that the file systems allow: shared blocks, a copy inside the
/// kernel, plain reads and writes. Holes stay holes.
#[derive(Debug, Default)]
pub(crate) struct Copier {
    no_clone: bool,
    no_range: bool,
    buffer: Vec<u8>,
}

impl Copier {
    /// Copies `size` bytes into an empty file.
    pub(crate) fn content(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        size: u64,
    ) -> Result<(), Errno> {
        if size == 0 {
            return Ok(());
        }
        if !self.no_clone {
            match rustix::fs::ioctl_ficlone(to, from) {
                Ok(()) => return Ok(()),
                Err(Errno::NOSPC) => return Err(Errno::NOSPC),
                Err(_) => self.no_clone = true,
            }
        }
        if size <= SMALL {
            // Looking for holes and asking the kernel would cost more than the copy.
            return self.plainly(from, to, (0, 0), size);
        }
        let mut at = 0;
        while at < size {
            let data = match rustix::fs::seek(from, SeekFrom::Data(at)) {
                Ok(data) => data,
                // Nothing but a hole up to the end.
                Err(Errno::NXIO) => break,
                Err(_) => at,
            };
            let end = match rustix::fs::seek(from, SeekFrom::Hole(data)) {
                Ok(hole) if hole > data => hole.min(size),
                _ => size,
            };
            self.range(from, to, (data, data), end.saturating_sub(data))?;
            at = end;
        }
        rustix::fs::ftruncate(to, size)
    }

    /// Copies `length` bytes between two offsets.
    pub(crate) fn range(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        (mut source, mut target): (u64, u64),
        mut length: u64,
    ) -> Result<(), Errno> {
        while length > 0 && !self.no_range {
            let step = usize::try_from(length.min(1 << 30)).unwrap_or(1 << 30);
            match rustix::fs::copy_file_range(from, Some(&mut source), to, Some(&mut target), step)
            {
                // Short of the end: let a plain read say what is there.
                Ok(0) => break,
                Ok(copied) => length -= copied as u64,
                Err(Errno::INTR) => {}
                Err(Errno::NOSPC) => return Err(Errno::NOSPC),
                Err(_) => self.no_range = true,
            }
        }
        self.plainly(from, to, (source, target), length)
    }

    /// Copies by reading and writing.
    fn plainly(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        (mut source, mut target): (u64, u64),
        mut length: u64,
    ) -> Result<(), Errno> {
        self.buffer.resize(128 * 1024, 0);
        while length > 0 {
            let step = usize::try_from(length)
                .unwrap_or(usize::MAX)
                .min(self.buffer.len());
            let Some(buffer) = self.buffer.get_mut(..step) else {
                break;
            };
            let read = match rustix::io::pread(from, &mut *buffer, source) {
                Err(Errno::INTR) => continue,
                read => read?,
            };
            if read == 0 {
                // The file is shorter than its size said: somebody truncates it meanwhile.
                return Err(Errno::IO);
            }
            let mut rest = buffer.get(..read).unwrap_or_default();
            while !rest.is_empty() {
                match rustix::io::pwrite(to, rest, target) {
                    Ok(0) => return Err(Errno::IO),
                    Ok(written) => {
                        rest = rest.get(written..).unwrap_or_default();
                        target += written as u64;
                    }
                    Err(Errno::INTR) => {}
                    Err(other) => return Err(other),
                }
            }
            source += read as u64;
            length -= read as u64;
        }
        Ok(())
    }

    /// Copies anything but a directory, with all its attributes, to a name that is free.
    pub(crate) fn node(
        &mut self,
        meta: &mut Meta,
        from: (BorrowedFd<'_>, &[u8]),
        to: (BorrowedFd<'_>, &[u8]),
        place: &[u8],
    ) -> Result<(), Trouble> {
        let stat = rustix::fs::statat(from.0, from.1, AtFlags::SYMLINK_NOFOLLOW)
            .during("look at", place)?;
        if kind_of(&stat) == FileType::RegularFile {
            return self.regular(meta, from, to, place);
        }
        let node = rustix::fs::openat(from.0, from.1, handle::NODE, Mode::empty());
        let node = node.during("open", place)?;
        let stat = rustix::fs::fstat(&node).during("look at", place)?;
        let attributes = meta.read(node.as_fd(), &stat);
        let attributes = attributes.during("read the attributes of", place)?;
        match kind_of(&stat) {
            FileType::Symlink => {
                let target =
                    rustix::fs::readlinkat(from.0, from.1, Vec::new()).during("read", place)?;
                rustix::fs::symlinkat(target, to.0, to.1).during("create", place)?;
                meta.finish_node(to.0, to.1, &attributes, place)
            }
            _ => {
                make_node(to, &stat).during("create", place)?;
                meta.finish_node(to.0, to.1, &attributes, place)
            }
        }
    }

    /// The same for what is known to be a regular file; anything else is refused.
    pub(super) fn regular(
        &mut self,
        meta: &mut Meta,
        from: (BorrowedFd<'_>, &[u8]),
        to: (BorrowedFd<'_>, &[u8]),
        place: &[u8],
    ) -> Result<(), Trouble> {
        let (source, stat) = handle::open_regular(from.0, from.1).during("open", place)?;
        let attributes = meta.read_open(source.as_fd(), &stat);
        let attributes = attributes.during("read the attributes of", place)?;
        let mode = Meta::creation_mode(&attributes);
        let target =
            rustix::fs::openat(to.0, to.1, handle::CREATE, mode).during("create", place)?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        self.content(source.as_fd(), target.as_fd(), size)
            .during("copy", place)?;
        meta.finish_file(target.as_fd(), &attributes, place)
    }
}

fn make_node(to: (BorrowedFd<'_>, &[u8]), like: &Stat) -> Result<(), Errno> {
    let mode = Mode::from_raw_mode(like.st_mode & 0o777);
    rustix::fs::mknodat(to.0, to.1, kind_of(like), mode, like.st_rdev)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Seek, Write};
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn holes_stay_holes() {
        let temp = tempfile::tempdir().unwrap();
        let mut from = File::create_new(temp.path().join("from")).unwrap();
        from.write_all(b"start").unwrap();
        from.seek(std::io::SeekFrom::Start(9 << 20)).unwrap();
        from.write_all(b"end").unwrap();
        from.set_len(20 << 20).unwrap();
        let from = File::open(temp.path().join("from")).unwrap();
        for (n, copier) in [
            Copier::default(),
            Copier {
                no_clone: true,
                ..Copier::default()
            },
            Copier {
                no_clone: true,
                no_range: true,
                ..Copier::default()
            },
        ]
        .iter_mut()
        .enumerate()
        {
            let to = File::create_new(temp.path().join(format!("to{n}"))).unwrap();
            copier.content(from.as_fd(), to.as_fd(), 20 << 20).unwrap();
            let blocks = to.metadata().unwrap().blocks();
            assert!(blocks < 2000, "copy {n} has {blocks} blocks");
            let (one, two) = (
                std::fs::read(temp.path().join("from")),
                std::fs::read(temp.path().join(format!("to{n}"))),
            );
            assert!(one.unwrap() == two.unwrap());
        }
    }
}
