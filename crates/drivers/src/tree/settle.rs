//! What a draft could not know before its parent was known.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;

use super::attributes::Attributes;
use super::draft::TreeDraft;
use super::handle;
use super::hiding::{NOTE_OPAQUE, NOTE_WHITEOUT};
use super::log::Decoder;
use super::lower::{Found, LowerView};
use super::merged::MergedView;
use super::meta::Meta;
use super::name;
use super::place::{NOTE_DESCRIBED, NOTE_FRESH};
use crate::error::{ApplyError, During, Origin, Trouble};

/// How a layer lies in its driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Only its own files, and what it hides.
    Upper,
    /// Everything that shows.
    Full,
}

impl TreeDraft {
    /// Makes the draft what it is to be over the layers of `lower`.
    pub(crate) fn settle(&mut self, lower: LowerView, form: Form) -> Result<(), ApplyError> {
        self.finish()?;
        let mut merged =
            MergedView::new(lower, &self.path, self.tree.opaque_root).map_err(Trouble::of_draft)?;
        self.settle_links(&mut merged)?;
        merged.forget();
        match form {
            Form::Upper => {
                self.settle_hiding(&mut merged).map_err(Trouble::of_draft)?;
                self.settle_directories(&mut merged)?;
            }
            Form::Full => {
                if !self.tree.opaque_root {
                    self.fill(&merged.lower).map_err(Trouble::of_draft)?;
                }
                // Whiteouts go before the times of directories are set, opaque marks after the
                // attributes of lower directories were looked up.
                self.drop_hiding(NOTE_WHITEOUT).map_err(Trouble::of_draft)?;
                self.settle_directories(&mut merged)?;
                self.drop_hiding(NOTE_OPAQUE).map_err(Trouble::of_draft)?;
            }
        }
        Ok(())
    }

    /// Returns whether nothing of the layers below shows.
    pub(crate) fn hides_all(&self) -> bool {
        self.tree.opaque_root
    }

    /// Takes away what hides nothing: the kernel would show such whiteouts in directories that
    /// only this layer has.
    fn settle_hiding(&mut self, merged: &mut MergedView) -> Result<(), Trouble> {
        let mut notes = self.tree.hiding.notes().during("read", b"hiding")?;
        while let Some((_, note)) = notes.next().during("read", b"hiding")? {
            let mut note = Decoder(&note);
            let kind = note.byte().during("read", b"hiding")?;
            let place = note.bytes().during("read", b"hiding")?;
            let beneath = merged.look_beneath(place)?;
            let needed = match kind {
                NOTE_OPAQUE => beneath.is_some_and(|found| found.kind() == FileType::Directory),
                _ => beneath.is_some(),
            };
            if !needed {
                self.unhide(kind, place)?;
            }
        }
        Ok(())
    }

    /// Takes away all whiteouts, or all opaque marks.
    fn drop_hiding(&mut self, which: u8) -> Result<(), Trouble> {
        let mut notes = self.tree.hiding.notes().during("read", b"hiding")?;
        while let Some((_, note)) = notes.next().during("read", b"hiding")? {
            let mut note = Decoder(&note);
            let kind = note.byte().during("read", b"hiding")?;
            let place = note.bytes().during("read", b"hiding")?;
            if kind == which {
                self.unhide(kind, place)?;
            }
        }
        Ok(())
    }

    fn unhide(&mut self, kind: u8, place: &[u8]) -> Result<(), Trouble> {
        let (parent, last) = name::split(place);
        let dir = match handle::open_below(self.tree.root(), parent, handle::DIRECTORY) {
            // Displaced by a later entry.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            dir => dir.during("open", parent)?,
        };
        let stat = handle::look(dir.as_fd(), last).during("look at", place)?;
        let Some(stat) = stat else { return Ok(()) };
        if kind == NOTE_OPAQUE {
            if handle::kind_of(&stat) != FileType::Directory {
                return Ok(());
            }
            let fd = rustix::fs::openat(&dir, last, handle::DIRECTORY, Mode::empty())
                .during("open", place)?;
            let path = handle::magic_path(fd.as_fd());
            return match rustix::fs::removexattr(path.as_str(), self.tree.opaque_xattr) {
                Err(Errno::NODATA) => Ok(()),
                done => done.during("remove an attribute of", place),
            };
        }
        if handle::is_whiteout(&stat) {
            rustix::fs::unlinkat(&dir, last, AtFlags::empty()).during("remove", place)?;
        }
        Ok(())
    }

    /// Gives directories their attributes, in the order of the stream: the last word counts.
    fn settle_directories(&mut self, merged: &mut MergedView) -> Result<(), ApplyError> {
        let mut unowned = Unowned::default();
        let mut notes = self
            .tree
            .directories
            .notes()
            .during("read", b"directories")
            .map_err(Trouble::of_draft)?;
        while let Some((_, note)) = notes
            .next()
            .during("read", b"directories")
            .map_err(Trouble::of_draft)?
        {
            let mut note = Decoder(&note);
            let (kind, place) = note
                .byte()
                .and_then(|kind| Ok((kind, note.bytes()?)))
                .during("read", b"directories")
                .map_err(Trouble::of_draft)?;
            if kind == NOTE_DESCRIBED {
                let read = |note: &mut Decoder<'_>| {
                    let origin = Origin {
                        position: note.number()?,
                        offset: note.number()?,
                        path: place.to_vec(),
                    };
                    Ok::<_, std::io::Error>((origin, Attributes::decode(note)?))
                };
                let (origin, attributes) = read(&mut note)
                    .during("read", b"directories")
                    .map_err(Trouble::of_draft)?;
                let done = self.finish_directory(place, &attributes);
                done.map_err(|trouble| trouble.of_entry(&origin))?;
                unowned.forget(place);
            } else if kind == NOTE_FRESH {
                self.settle_fresh(place, &mut unowned)
                    .map_err(Trouble::of_draft)?;
            } else {
                let from = note.number().during("read", b"directories");
                from.and_then(|from| self.settle_implied(place, from, merged, &mut unowned))
                    .map_err(Trouble::of_draft)?;
            }
        }
        unowned.check().map_err(Trouble::of_draft)
    }

    /// Makes a directory that neither an entry nor a lower layer describes be like any such.
    fn settle_fresh(&mut self, place: &[u8], unowned: &mut Unowned) -> Result<(), Trouble> {
        let Some(fd) = self.open_directory(place)? else {
            return Ok(());
        };
        match unowned.note(place, self.meta.plain_directory(place))? {
            Some(attributes) => self.meta.finish_directory(fd.as_fd(), &attributes, place),
            None => Ok(()),
        }
    }

    /// Gives directories that nothing describes the attributes of those below: all on the way to
    /// `place` whose names start behind its first `from` bytes.
    fn settle_implied(
        &mut self,
        place: &[u8],
        from: u64,
        merged: &mut MergedView,
        unowned: &mut Unowned,
    ) -> Result<(), Trouble> {
        if place.is_empty() {
            // An opaque root still is the root of the layers below.
            let below = merged.lower.look(b"")?;
            return match unowned.note(b"", attributes_of(&self.meta, below.as_ref(), b""))? {
                Some(attributes) => self.finish_directory(b"", &attributes),
                None => Ok(()),
            };
        }
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        let (above, made) = place.split_at(from.min(place.len()));
        let mut here = above.to_vec();
        let mut at = match handle::open_below(self.tree.root(), above, handle::DIRECTORY) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            at => at.during("open", above)?,
        };
        let mut beneath = true;
        for part in name::parts(made) {
            name::push(&mut here, part);
            at = match rustix::fs::openat(&at, part, handle::LISTING, Mode::empty()) {
                // Displaced by a later entry.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
                at => at.during("open", &here)?,
            };
            let found = if beneath {
                merged.look_beneath(&here)?
            } else {
                None
            };
            let found = found.filter(|found| found.kind() == FileType::Directory);
            // Where there is no directory, there is none further down.
            beneath = found.is_some();
            let attributes = attributes_of(&self.meta, found.as_ref(), &here);
            if let Some(attributes) = unowned.note(&here, attributes)? {
                self.meta.finish_directory(at.as_fd(), &attributes, &here)?;
            }
        }
        Ok(())
    }

    fn finish_directory(
        &mut self,
        place: &[u8],
        attributes: &Attributes<'_>,
    ) -> Result<(), Trouble> {
        match self.open_directory(place)? {
            Some(fd) => self.meta.finish_directory(fd.as_fd(), attributes, place),
            None => Ok(()),
        }
    }

    /// Opens a directory of the draft, unless a later entry has displaced it.
    fn open_directory(&self, place: &[u8]) -> Result<Option<OwnedFd>, Trouble> {
        match handle::open_below(self.tree.root(), place, handle::LISTING) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            fd => fd.map(Some).during("open", place),
        }
    }
}

/// Directories that would be root's where the ID maps have no root: an entry that comes later may
/// still describe them.
#[derive(Debug, Default)]
struct Unowned(BTreeMap<Vec<u8>, Trouble>);

impl Unowned {
    /// Returns the attributes for a directory, or notes that there are none so far.
    fn note(
        &mut self,
        place: &[u8],
        attributes: Result<Attributes<'static>, Trouble>,
    ) -> Result<Option<Attributes<'static>>, Trouble> {
        match attributes {
            Err(trouble @ Trouble::UnmappedRoot { .. }) => {
                self.0.insert(place.to_vec(), trouble);
                Ok(None)
            }
            attributes => {
                self.forget(place);
                attributes.map(Some)
            }
        }
    }

    fn forget(&mut self, place: &[u8]) {
        if !self.0.is_empty() {
            self.0.remove(place);
        }
    }

    fn check(self) -> Result<(), Trouble> {
        self.0.into_values().next().map_or(Ok(()), Err)
    }
}

fn attributes_of(
    meta: &Meta,
    found: Option<&Found>,
    place: &[u8],
) -> Result<Attributes<'static>, Trouble> {
    match found {
        Some(found) if found.kind() == FileType::Directory => meta
            .read(found.node.as_fd(), &found.stat)
            .during("read the attributes of", place),
        _ => meta.plain_directory(place),
    }
}
