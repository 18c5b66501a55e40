//! Making one folder hold what another one holds.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::effects::{Effect, Effects};
use crate::error::{IoContext, StoreError};

/// How much of two files is compared at once.
const BUFFER: usize = 128 << 10;

/// Makes the folder `to` hold the files and folders that `from` holds, but for those with one of the names
/// `left_out`; returns how many files and folders had to be written or removed. Every byte is compared, so that 0
/// says that both are the same. What vanishes meanwhile counts as not there. Nothing is synced.
///
/// # Errors
/// The file system's; [`StoreError::Damaged`] for what is neither a file nor a folder.
pub(crate) fn mirror(
    effects: &Effects,
    from: &Path,
    to: &Path,
    left_out: &[&str],
) -> Result<u64, StoreError> {
    let mut changes = 0;
    if to.symlink_metadata().is_err() {
        effects.ensure_dir(to)?;
        changes += 1;
    }
    let wanted = names(from)?;
    for name in names(to)?.difference(&wanted) {
        remove(effects, &to.join(name))?;
        changes += 1;
    }
    for name in wanted {
        if left_out.iter().any(|left_out| name == *left_out) {
            continue;
        }
        let (old, new) = (from.join(&name), to.join(&name));
        let kind = match old.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            found => found.at("inspect", &old)?.file_type(),
        };
        if kind.is_dir() {
            changes += mirror(effects, &old, &new, left_out)?;
        } else if kind.is_file() {
            changes += u64::from(copy(effects, &old, &new)?);
        } else {
            return Err(StoreError::Damaged {
                path: old,
                reason: "it is neither a file nor a folder".to_owned(),
            });
        }
    }
    Ok(changes)
}

/// The names in a folder; none where it is not there.
fn names(folder: &Path) -> Result<BTreeSet<OsString>, StoreError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        entries => entries.at("read folder", folder)?,
    };
    let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
    names.collect::<io::Result<_>>().at("read folder", folder)
}

fn remove(effects: &Effects, path: &Path) -> Result<(), StoreError> {
    if path.is_dir() {
        effects.remove_tree(path).map(drop)
    } else {
        effects.remove_file(path).map(drop)
    }
}

/// Copies a file unless the other is the same; gives whether it had to.
fn copy(effects: &Effects, from: &Path, to: &Path) -> Result<bool, StoreError> {
    let source = match File::open(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        source => source.at("open", from)?,
    };
    match File::open(to) {
        Ok(there) if same(&source, &there).at("compare", to)? => return Ok(false),
        Ok(_) => drop(effects.remove_file(to)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).at("open", to),
    }
    let write = || {
        effects.announce(&Effect::Write(to))?;
        let mut options = OpenOptions::new();
        let mut new = options.write(true).create_new(true).mode(0o600).open(to)?;
        // Where the comparison began it.
        let mut source = File::open(from)?;
        io::copy(&mut source, &mut new).map(drop)
    };
    write().at("copy to", to)?;
    Ok(true)
}

fn same(one: &File, other: &File) -> io::Result<bool> {
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut one, mut other) = (
        BufReader::with_capacity(BUFFER, one),
        BufReader::with_capacity(BUFFER, other),
    );
    loop {
        let (left, right) = (one.fill_buf()?, other.fill_buf()?);
        let length = left.len().min(right.len());
        if length == 0 {
            return Ok(left.len() == right.len());
        }
        if left.get(..length) != right.get(..length) {
            return Ok(false);
        }
        one.consume(length);
        other.consume(length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_becomes_like_another_and_then_nothing_is_to_do() {
        let temp = tempfile::tempdir().unwrap();
        let (from, to) = (temp.path().join("from"), temp.path().join("to"));
        fs::create_dir_all(from.join("a/b")).unwrap();
        fs::create_dir_all(to.join("gone/deep")).unwrap();
        fs::write(from.join("a/b/file"), vec![7; 300_000]).unwrap();
        fs::write(from.join("a/note"), "no").unwrap();
        fs::write(from.join("same length"), "one").unwrap();
        fs::write(to.join("same length"), "two").unwrap();
        let effects = Effects::default();
        let mirror = || mirror(&effects, &from, &to, &["note"]).unwrap();
        assert!(mirror() > 0);
        assert_eq!(mirror(), 0);
        assert_eq!(fs::read(to.join("a/b/file")).unwrap(), vec![7; 300_000]);
        assert_eq!(fs::read(to.join("same length")).unwrap(), b"one");
        assert!(!to.join("gone").exists() && !to.join("a/note").exists());
        // The last byte of many is another.
        let mut other = vec![7; 300_000];
        other[299_999] = 8;
        fs::write(to.join("a/b/file"), other).unwrap();
        assert_eq!((mirror(), mirror()), (1, 0));
    }
}
