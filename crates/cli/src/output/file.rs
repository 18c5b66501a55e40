//! Where bulk output goes: a file that appears only when it is whole, or a stream.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rustix::fs::{AtFlags, CWD, OFlags, linkat};
use tempfile::NamedTempFile;

use crate::pipe;

/// An output that is being written.
pub(crate) enum OutputFile {
    /// Put in its place when it is whole.
    Beside { file: Draft, place: PathBuf },
    /// A device, fifo, socket or pipe: written as it comes.
    Direct(File),
}

/// A file on the file system of its place.
pub(crate) enum Draft {
    /// Without a name: nothing stays when the process is killed.
    Nameless(File),
    /// Beside its place, where the file system has no files without names.
    Named(NamedTempFile),
}

/// What the file systems take.
const LONGEST_NAME: usize = 255;

/// The mode of a new output, before the user's mask.
const MODE: u32 = 0o666;

/// Opens the output that `name` says; `-` is standard output.
///
/// A symbolic link is followed. A terminal is refused: nobody wants to see a tar there.
pub(crate) fn open(name: &OsStr) -> anyhow::Result<OutputFile> {
    open_with(name, MODE)
}

/// As [`open`], for a file that is to have another mode when it is new.
pub(crate) fn open_with(name: &OsStr, mode: u32) -> anyhow::Result<OutputFile> {
    if name == "-" {
        let out = io::stdout();
        if out.is_terminal() {
            bail!("an archive is not written to a terminal: name a file, or pipe it somewhere");
        }
        let out = out
            .as_fd()
            .try_clone_to_owned()
            .context("cannot open standard output")?;
        return Ok(direct(out.into()));
    }
    let name = Path::new(name);
    if name
        .file_name()
        .is_none_or(|last| last.len() > LONGEST_NAME)
    {
        bail!("{:?} is not the name of a file", name);
    }
    let there = fs::metadata(name).ok();
    match &there {
        Some(there) if there.is_dir() => bail!("{} is a folder, not a file", name.display()),
        Some(there) if !there.is_file() => {
            let file = File::options().write(true).open(name);
            let file = file.with_context(|| format!("cannot open {}", name.display()))?;
            Ok(direct(file))
        }
        _ => beside(name, there.as_ref(), mode),
    }
}

/// What is written as it comes.
fn direct(file: File) -> OutputFile {
    pipe::widen(&file);
    OutputFile::Direct(file)
}

/// Starts a regular file. One that replaces another gets its mode.
fn beside(name: &Path, there: Option<&fs::Metadata>, mode: u32) -> anyhow::Result<OutputFile> {
    let place = target(name).with_context(|| format!("cannot write {}", name.display()))?;
    let folder = match place.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let failed = || format!("cannot write in {}", folder.display());
    let file = match nameless(folder, mode) {
        Some(file) => Draft::Nameless(file),
        None => Draft::Named(names(mode).tempfile_in(folder).with_context(failed)?),
    };
    if let Some(there) = there {
        let mode = fs::Permissions::from_mode(there.permissions().mode() & 0o777);
        file.as_file().set_permissions(mode).with_context(failed)?;
    }
    Ok(OutputFile::Beside { file, place })
}

/// A file without a name that can be given one.
fn nameless(folder: &Path, mode: u32) -> Option<File> {
    let flags = i32::try_from(OFlags::TMPFILE.bits()).ok()?;
    let mut options = File::options();
    options
        .read(true)
        .write(true)
        .mode(mode)
        .custom_flags(flags);
    let file = options.open(folder).ok()?;
    descriptor(&file).exists().then_some(file)
}

/// Under which an open file can be linked.
fn descriptor(file: &File) -> PathBuf {
    Path::new("/proc/self/fd").join(file.as_raw_fd().to_string())
}

fn names(mode: u32) -> tempfile::Builder<'static, 'static> {
    let mut names = tempfile::Builder::new();
    names
        .prefix(".lith-")
        .suffix(".part")
        .permissions(fs::Permissions::from_mode(mode));
    names
}

impl Draft {
    pub(crate) fn as_file_mut(&mut self) -> &mut File {
        match self {
            Draft::Nameless(file) => file,
            Draft::Named(file) => file.as_file_mut(),
        }
    }

    fn as_file(&self) -> &File {
        match self {
            Draft::Nameless(file) => file,
            Draft::Named(file) => file.as_file(),
        }
    }

    /// Puts the file in its place, also where another one stands.
    fn persist(self, place: &Path) -> io::Result<()> {
        let file = match self {
            Draft::Named(file) => return file.persist(place).map(drop).map_err(|e| e.error),
            Draft::Nameless(file) => file,
        };
        let link = |to: &Path| -> io::Result<()> {
            let from = descriptor(&file);
            Ok(linkat(CWD, &from, CWD, to, AtFlags::SYMLINK_FOLLOW)?)
        };
        match link(place) {
            // Only a rename can replace.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => return other,
        }
        let folder = match place.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let named = names(MODE).make_in(folder, link)?;
        named.into_temp_path().persist(place).map_err(|e| e.error)
    }
}

/// Follows symbolic links to where the output is to stand, which need not be there yet.
fn target(name: &Path) -> io::Result<PathBuf> {
    const LINKS: usize = 40;
    let mut place = name.to_owned();
    for _ in 0..LINKS {
        match fs::read_link(&place) {
            Ok(link) => place = place.parent().unwrap_or(Path::new("")).join(link),
            Err(_) => return Ok(place),
        }
    }
    Err(io::Error::other("too many symbolic links"))
}

impl OutputFile {
    /// Ends the output: now it appears.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        self.flush().context("cannot write the output")?;
        match self {
            Self::Direct(_) => Ok(()),
            Self::Beside { file, place } => {
                file.persist(&place)
                    .with_context(|| format!("cannot rename the output to {}", place.display()))?;
                Ok(())
            }
        }
    }
}

impl Write for OutputFile {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if crate::interrupt::signal().is_some() {
            return Err(io::Error::other("interrupted"));
        }
        match self {
            Self::Beside { file, .. } => file.as_file().write(buf),
            Self::Direct(file) => file.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Beside { file, .. } => file.as_file().flush(),
            Self::Direct(file) => file.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_gets_more_room() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let before = rustix::pipe::fcntl_getpipe_size(&reader).unwrap();
        let out = direct(writer.into());
        assert!(rustix::pipe::fcntl_getpipe_size(&reader).unwrap() > before);
        drop((out, reader));
    }

    #[test]
    fn a_file_appears_only_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("out");
        let mut out = open(place.as_os_str()).unwrap();
        out.write_all(b"half").unwrap();
        assert!(!place.exists());
        if matches!(
            &out,
            OutputFile::Beside {
                file: Draft::Nameless(_),
                ..
            }
        ) {
            // Nor would a kill leave anything.
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        }
        drop(out);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);

        let mut out = open(place.as_os_str()).unwrap();
        out.write_all(b"whole").unwrap();
        out.finish().unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"whole");
        let mut out = open(place.as_os_str()).unwrap();
        out.write_all(b"new").unwrap();
        out.finish().unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_draft_with_a_name_is_renamed() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("out");
        let file = Draft::Named(names(MODE).tempfile_in(folder.path()).unwrap());
        let place_too = place.clone();
        let mut out = OutputFile::Beside {
            file,
            place: place_too,
        };
        out.write_all(b"x").unwrap();
        out.finish().unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"x");
    }

    #[test]
    fn a_file_that_is_replaced_keeps_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("out");
        fs::write(&place, "old").unwrap();
        fs::set_permissions(&place, fs::Permissions::from_mode(0o600)).unwrap();
        open(place.as_os_str()).unwrap().finish().unwrap();
        assert_eq!(
            fs::metadata(&place).unwrap().permissions().mode() & 0o7777,
            0o600
        );
    }

    #[test]
    fn links_are_followed_and_stay_links() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("real", &link).unwrap();
        let mut out = open(link.as_os_str()).unwrap();
        out.write_all(b"x").unwrap();
        out.finish().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(folder.path().join("real")).unwrap(), b"x");
    }

    #[test]
    fn folders_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(open(folder.path().as_os_str()).is_err());
    }
}
