//! The kernel's mount table, as this process sees it.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) id: u64,
    /// Major and minor number of the file system, as text.
    pub(crate) device: String,
    /// What of the file system is mounted.
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    pub(crate) read_only: bool,
    pub(crate) kind: String,
    pub(crate) source: Vec<u8>,
}

/// Reads the table.
pub(crate) fn read() -> io::Result<Vec<Entry>> {
    Ok(parse(&std::fs::read("/proc/self/mountinfo")?))
}

/// Lines that are not as expected are left out: they are not ours.
fn parse(table: &[u8]) -> Vec<Entry> {
    table
        .split(|byte| *byte == b'\n')
        .filter_map(parse_line)
        .collect()
}

fn parse_line(line: &[u8]) -> Option<Entry> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = text(fields.next()?).parse().ok()?;
    let _parent = fields.next()?;
    let device = text(fields.next()?);
    let root = path(fields.next()?);
    let target = path(fields.next()?);
    let read_only = fields
        .next()?
        .split(|byte| *byte == b',')
        .any(|option| option == b"ro");
    // Optional fields, up to a lone dash.
    fields.find(|field| *field == b"-")?;
    let kind = text(fields.next()?);
    let source = unescape(fields.next()?);
    Some(Entry {
        id,
        device,
        root,
        target,
        read_only,
        kind,
        source,
    })
}

fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(field).into_owned()
}

fn path(field: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(unescape(field)))
}

/// Blanks, tabs, newlines, backslashes and hashes stand as `\` and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, behind)) = rest.split_first() {
        let octal = match behind {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] if *first == b'\\' => {
                Some((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'))
            }
            _ => None,
        };
        out.push(octal.unwrap_or(*first));
        rest = if octal.is_some() {
            behind.get(3..).unwrap_or_default()
        } else {
            behind
        };
    }
    out
}

/// Returns which mount a folder lies on, and the path that a bind mount of it has as its root.
pub(crate) fn place_of<'a>(folder: &Path, table: &'a [Entry]) -> Option<(&'a Entry, PathBuf)> {
    let folder = folder.canonicalize().ok()?;
    // The last mount on a target is the one that shows.
    let entry = table
        .iter()
        .enumerate()
        .filter(|(_, entry)| folder.starts_with(&entry.target))
        .max_by_key(|(line, entry)| (entry.target.as_os_str().len(), *line))
        .map(|(_, entry)| entry)?;
    let below = folder.strip_prefix(&entry.target).ok()?;
    Some((entry, entry.root.join(below)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn lines_are_taken_apart() {
        let table = b"36 35 98:0 /mnt1 /mnt2\\040x\\134y rw,noatime master:1 shared:2 - ext3 /dev/root rw\n\
            37 35 0:41 / /m ro,relatime - overlay lith:ab:1.2 ro,lowerdir=0:1\n\
            torn 1\n\
            38 35 0:42 / /\\351 rw - tmpfs\n";
        let entries = parse(table);
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0].target, Path::new("/mnt2 x\\y"));
        assert_eq!(entries[0].root, Path::new("/mnt1"));
        assert!(!entries[0].read_only && entries[1].read_only);
        assert_eq!(
            (entries[1].kind.as_str(), entries[1].source.as_slice()),
            ("overlay", &b"lith:ab:1.2"[..])
        );
        assert_eq!(path(b"/a\\351").as_os_str().as_bytes(), b"/a\xe9");
        assert_eq!(unescape(b"\\04"), b"\\04");
        assert_eq!(unescape(b"\\999"), b"\\999");
    }

    #[test]
    fn the_deepest_mount_holds_a_folder() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().canonicalize().unwrap();
        let entry = |root: &str, target: &Path| Entry {
            id: 1,
            device: "1:2".to_owned(),
            root: root.into(),
            target: target.to_owned(),
            read_only: false,
            kind: "ext4".to_owned(),
            source: Vec::new(),
        };
        let table = [
            entry("/", Path::new("/")),
            entry("/sub", folder.parent().unwrap()),
        ];
        let (mount, place) = place_of(&folder, &table).unwrap();
        assert_eq!(
            (mount.device.as_str(), place),
            ("1:2", Path::new("/sub").join(folder.file_name().unwrap()))
        );
    }

    #[test]
    fn this_machine_has_a_root() {
        assert!(
            read()
                .unwrap()
                .iter()
                .any(|entry| entry.target == Path::new("/"))
        );
    }
}
