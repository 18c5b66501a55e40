//! Writes the difference between two trees as the tar of a layer.
//!
//! Written once, for every driver that keeps trees. The order depends on names alone: directories
//! before what is in them; in each directory first the whiteouts, then the rest, sorted by name.
//! Everything is said in the way that all readers of the field understand: a directory that hides
//! those below is written as whiteouts of what it hides, a name that begins with `.wh.` is refused.

use std::collections::{HashMap, HashSet};
use std::io::Write;

use lith_tarsplit::{EntryHeader, Timestamp};
use rustix::fs::FileType;

use super::attributes::Attributes;
use super::changes::{ChangeKind, Step, exactly, failed, walk};
use super::name;
use super::stack::{Item, LayerTree, Node};
use crate::diff_error::DiffError;
use crate::error::{Trouble, shown};

/// How a difference is written.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct DiffOptions {
    /// Files changed later than this, in seconds since 1970, are written as if changed then: so that
    /// what was made twice in the same way comes out the same. Earlier times stay.
    pub newest: Option<i64>,
    /// Writes an entry for the root also where nothing about it is unusual.
    pub root: bool,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiffSummary {
    /// How many entries.
    pub entries: u64,
    /// Bytes of regular files, holes included, one with several names once.
    pub size: u64,
    /// Sockets, which no tar can hold.
    pub sockets: u64,
}

/// Writes what turns `old`, or nothing, into `new` as the tar of a layer.
///
/// Applied over `old` it gives `new`: kinds, contents, owners, modes, times to the nanosecond,
/// extended attributes but those of overlay file systems and security labels, and names of one file
/// stay names of one file. Where such a name is new and another one is not, both are written, since
/// readers need not find the older one. Sparse files are written in full, sockets are left out.
///
/// # Errors
/// [`DiffError::Reserved`] for a name that stands for a whiteout; when a tree cannot be read or is
/// changed meanwhile; and whatever `out` says. The tar is of no use then.
pub fn diff(
    new: &LayerTree,
    old: Option<&LayerTree>,
    options: &DiffOptions,
    out: &mut dyn Write,
) -> Result<DiffSummary, DiffError> {
    let mut writer = Writer {
        new,
        options,
        out,
        first_names: HashMap::new(),
        summary: DiffSummary::default(),
    };
    if options.root {
        writer.file(b"", &new.root())?;
    }
    let wanted = |step: &Step<'_>| !(options.root && step.place.is_empty());
    if old.is_none() {
        walk(new, None, &mut |step| match step.item {
            Some(item) if wanted(step) => writer.file(step.place, item),
            _ => Ok(()),
        })?;
    } else {
        let mut steps = Vec::new();
        walk(new, old, &mut |step| {
            if wanted(step) {
                steps.push(Noted {
                    kind: step.kind,
                    place: step.place.to_vec(),
                    item: step.item.cloned(),
                });
            }
            Ok(())
        })?;
        for step in with_other_names(new, steps)? {
            match &step.item {
                Some(item) => writer.file(&step.place, item)?,
                None => writer.whiteout(&step.place)?,
            }
        }
    }
    writer.write(&[0; 1024])?;
    writer.out.flush().map_err(DiffError::output)?;
    Ok(writer.summary)
}

/// A step of the walk, remembered.
struct Noted {
    kind: Option<ChangeKind>,
    place: Vec<u8>,
    item: Option<Item>,
}

/// Takes the unchanged files out, but for those of which another name is new.
fn with_other_names(new: &LayerTree, steps: Vec<Noted>) -> Result<Vec<Noted>, DiffError> {
    if steps.iter().all(|step| step.kind.is_some()) {
        return Ok(steps);
    }
    let identity = |step: &Noted| -> Result<Option<(u64, u64)>, DiffError> {
        let Some(item) = step
            .item
            .as_ref()
            .filter(|item| item.kind != FileType::Directory)
        else {
            return Ok(None);
        };
        let node = new.look(item, &step.place);
        let node = node.map_err(|error| failed(&step.place, error))?;
        Ok(node.has_several_names().then(|| node.identity()))
    };
    let mut changed = HashSet::new();
    for step in steps.iter().filter(|step| step.kind.is_some()) {
        changed.extend(identity(step)?);
    }
    let mut told: HashSet<Vec<u8>> = HashSet::new();
    let mut all = Vec::new();
    for step in steps {
        if step.kind.is_none() && !identity(&step)?.is_some_and(|file| changed.contains(&file)) {
            continue;
        }
        told.insert(step.place.clone());
        all.push(step);
    }
    for place in all
        .iter()
        .map(|step| step.place.clone())
        .collect::<Vec<_>>()
    {
        let mut above = name::split(&place).0.to_vec();
        while !above.is_empty() && told.insert(above.clone()) {
            let item = new.find(&above).map_err(|error| failed(&above, error))?;
            all.push(Noted {
                kind: Some(ChangeKind::Modify),
                place: above.clone(),
                item,
            });
            name::pop(&mut above);
        }
    }
    all.sort_by(order);
    Ok(all)
}

/// The order of a walk: part by part, in each directory what is gone first.
fn order(one: &Noted, other: &Noted) -> std::cmp::Ordering {
    let (mut ones, mut others) = (
        name::parts(&one.place).peekable(),
        name::parts(&other.place).peekable(),
    );
    loop {
        match (ones.next(), others.next()) {
            (None, None) => return std::cmp::Ordering::Equal,
            (None, Some(_)) => return std::cmp::Ordering::Less,
            (Some(_), None) => return std::cmp::Ordering::Greater,
            (Some(a), Some(b)) if a == b => {}
            (Some(a), Some(b)) => {
                let stays = |step: &Noted, last: bool| !(last && step.item.is_none());
                let key = (stays(one, ones.peek().is_none()), a);
                return key.cmp(&(stays(other, others.peek().is_none()), b));
            }
        }
    }
}

struct Writer<'a> {
    new: &'a LayerTree,
    options: &'a DiffOptions,
    out: &'a mut dyn Write,
    /// Under which name a file with several was written.
    first_names: HashMap<(u64, u64), Vec<u8>>,
    summary: DiffSummary,
}

impl Writer<'_> {
    fn whiteout(&mut self, place: &[u8]) -> Result<(), DiffError> {
        let (parent, last) = name::split(place);
        check_name(place, last)?;
        let path = name::join(parent, &[b".wh.", last].concat());
        self.head(&EntryHeader::new(b'0', &path))
    }

    fn file(&mut self, place: &[u8], item: &Item) -> Result<(), DiffError> {
        let fail = |error| failed(place, error);
        let node = self.new.look(item, place).map_err(fail)?;
        check_name(place, name::split(place).1)?;
        let kind = node.kind;
        if kind == FileType::Socket {
            self.summary.sockets += 1;
            return Ok(());
        }
        let attributes = self.new.meta.in_layer(&node.attributes);
        let attributes = attributes.map_err(|trouble| unmapped(place, trouble))?;
        let mut path = place.to_vec();
        if kind == FileType::Directory {
            path = if path.is_empty() {
                b"./".to_vec()
            } else {
                [&path, &b"/"[..]].concat()
            };
        }
        let header = self.described(&path, &attributes);
        if node.has_several_names() {
            if let Some(first) = self.first_names.get(&node.identity()).cloned() {
                let link = EntryHeader {
                    kind: b'1',
                    link: &first,
                    ..header
                };
                return self.head(&link);
            }
            self.first_names.insert(node.identity(), place.to_vec());
        }
        match kind {
            FileType::RegularFile => self.regular(place, &node, header),
            FileType::Symlink => {
                let link = node.link_target().map_err(fail)?;
                self.head(&EntryHeader {
                    kind: b'2',
                    link: &link,
                    ..header
                })
            }
            FileType::CharacterDevice | FileType::BlockDevice => {
                let device = node.device;
                let kind = if kind == FileType::BlockDevice {
                    b'4'
                } else {
                    b'3'
                };
                self.head(&EntryHeader {
                    kind,
                    device: (rustix::fs::major(device), rustix::fs::minor(device)),
                    ..header
                })
            }
            FileType::Fifo => self.head(&EntryHeader {
                kind: b'6',
                ..header
            }),
            _ => self.head(&EntryHeader {
                kind: b'5',
                ..header
            }),
        }
    }

    fn regular(
        &mut self,
        place: &[u8],
        node: &Node,
        header: EntryHeader<'_>,
    ) -> Result<(), DiffError> {
        let size = u64::try_from(node.stat.st_size).unwrap_or(0);
        self.head(&EntryHeader {
            size,
            wide: size > EntryHeader::MAX_OCTAL,
            ..header
        })?;
        if size == 0 {
            return Ok(());
        }
        let content = node.open_content().map_err(|error| failed(place, error))?;
        exactly(content, size, place, self.out)?;
        self.summary.size = self.summary.size.saturating_add(size);
        // Below 512.
        let padding = (512 - (size % 512) as usize) % 512;
        let zeros = [0; 512];
        self.write(zeros.get(..padding).unwrap_or_default())
    }

    /// A header with what every kind of entry says.
    fn described<'a>(&self, path: &'a [u8], attributes: &'a Attributes<'_>) -> EntryHeader<'a> {
        let mut mtime = attributes.mtime;
        if let Some(newest) = self.options.newest
            && mtime.seconds >= newest
        {
            mtime = Timestamp {
                seconds: newest,
                nanos: 0,
            };
        }
        EntryHeader {
            mode: attributes.mode,
            uid: attributes.uid.into(),
            gid: attributes.gid.into(),
            mtime,
            xattrs: &attributes.xattrs,
            ..EntryHeader::new(b'0', path)
        }
    }

    fn head(&mut self, header: &EntryHeader<'_>) -> Result<(), DiffError> {
        self.summary.entries += 1;
        self.write(&header.to_bytes())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), DiffError> {
        self.out.write_all(bytes).map_err(DiffError::output)
    }
}

fn check_name(place: &[u8], last: &[u8]) -> Result<(), DiffError> {
    if last.starts_with(b".wh.") {
        let path = shown(place).into();
        return Err(DiffError::Reserved { path });
    }
    Ok(())
}

fn unmapped(place: &[u8], trouble: Trouble) -> DiffError {
    match trouble {
        Trouble::Unmapped { kind, id } => DiffError::Unmapped {
            path: shown(place).into(),
            kind,
            id,
        },
        trouble => failed(place, std::io::Error::other(trouble.of_draft())),
    }
}
