//! Payloads that a tree cannot give back.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;

use crate::tree::copy::Copier;
use crate::tree::handle;

/// A folder of payloads that the layer's tree cannot give back, each in a file named by its
/// entry's position in the record (in decimal), mode 0600.
///
/// The folder is made with the first payload, so that most layers have none. Who asks for a
/// payload looks here first.
#[derive(Debug)]
pub struct Kept {
    path: PathBuf,
    dir: Option<OwnedFd>,
    count: u64,
}

impl Kept {
    /// Names the folder, which may exist; its parent must.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self {
            path: dir.to_owned(),
            dir: None,
            count: 0,
        }
    }

    /// Returns how many payloads were kept.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Returns where the payload of an entry is, if it is kept.
    #[must_use]
    pub fn path(&self, position: u64) -> PathBuf {
        self.path.join(position.to_string())
    }

    fn dir(&mut self) -> io::Result<BorrowedFd<'_>> {
        let fd = match self.dir.take() {
            Some(fd) => fd,
            None => {
                match rustix::fs::mkdir(&self.path, Mode::RWXU) {
                    Ok(()) => rustix::fs::chmod(&self.path, Mode::RWXU)?,
                    Err(Errno::EXIST) => {}
                    Err(other) => return Err(other.into()),
                }
                rustix::fs::open(&self.path, handle::DIRECTORY, Mode::empty())?
            }
        };
        let dir: &OwnedFd = self.dir.insert(fd);
        Ok(dir.as_fd())
    }

    /// Makes the file for an entry's payload.
    pub(crate) fn create(&mut self, position: u64) -> io::Result<File> {
        let mode = Mode::RUSR | Mode::WUSR;
        let fd = rustix::fs::openat(self.dir()?, position.to_string(), handle::CREATE, mode)?;
        if rustix::fs::fstat(&fd)?.st_mode & 0o7777 != 0o600 {
            rustix::fs::fchmod(&fd, mode)?;
        }
        self.count += 1;
        Ok(File::from(fd))
    }

    /// Takes over a regular file of the tree: moved when it has no other name, else copied.
    /// In either case its name in the tree may be removed afterwards.
    pub(crate) fn adopt(
        &mut self,
        from: BorrowedFd<'_>,
        name: &[u8],
        position: u64,
    ) -> io::Result<()> {
        let (fd, stat) = handle::open_regular(from, name)?;
        let mut none = [0; 0];
        let bare = stat.st_nlink == 1
            && matches!(
                rustix::fs::flistxattr(&fd, &mut none),
                Ok(0) | Err(Errno::NOTSUP)
            );
        let kept = position.to_string();
        if bare && rustix::fs::renameat(from, name, self.dir()?, kept.as_str()).is_ok() {
            self.count += 1;
            let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
            if stat.st_uid != uid.as_raw() || stat.st_gid != gid.as_raw() {
                let dir = self.dir()?;
                rustix::fs::chownat(
                    dir,
                    kept.as_str(),
                    Some(uid),
                    Some(gid),
                    AtFlags::SYMLINK_NOFOLLOW,
                )?;
            }
            rustix::fs::fchmod(&fd, Mode::RUSR | Mode::WUSR)?;
            return Ok(());
        }
        let to = self.create(position)?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        Ok(Copier::default().content(fd.as_fd(), to.as_fd(), size)?)
    }
}
