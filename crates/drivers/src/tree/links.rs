//! Hard links whose target the draft did not have when they came.
//!
//! Until the draft is settled a socket stands in their place (no tar can hold one), whose times
//! say where the note about the link is.

use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, Mode, Stat, Timespec, Timestamps};
use rustix::io::Errno;

use super::attributes::Attributes;
use super::draft::TreeDraft;
use super::handle::{self, kind_of};
use super::log::{Decoder, Encoder};
use super::lower::Found;
use super::merged::MergedView;
use super::name;
use super::payload::Work;
use super::place::Spot;
use crate::error::{ApplyError, During, Origin, Trouble, shown};

struct Note {
    place: Vec<u8>,
    target: Vec<u8>,
    /// The target was in the draft, waiting as well.
    in_draft: bool,
    origin: Origin,
    attributes: Attributes<'static>,
}

impl Note {
    fn decode(bytes: &[u8]) -> std::io::Result<Self> {
        let mut from = Decoder(bytes);
        Ok(Self {
            place: from.bytes()?.to_vec(),
            target: from.bytes()?.to_vec(),
            in_draft: from.byte()? != 0,
            origin: Origin {
                position: from.number()?,
                offset: from.number()?,
                path: from.bytes()?.to_vec(),
            },
            attributes: Attributes::decode(&mut from)?,
        })
    }
}

/// What became of a link.
enum Outcome {
    Done,
    /// The link noted here must come first.
    After(u64),
}

impl TreeDraft {
    /// Puts a placeholder, and notes what is to become of it.
    pub(super) fn link_later(
        &mut self,
        work: &mut Work<'_>,
        spot: &Spot,
        last: &[u8],
        target: &[u8],
        in_draft: bool,
    ) -> Result<(), Trouble> {
        let metadata = work.metadata;
        let place = spot.at(last);
        let mut note = Encoder::default();
        note.bytes(&place)
            .bytes(target)
            .byte(u8::from(in_draft))
            .number(metadata.position)
            .number(metadata.offset)
            .bytes(&metadata.path);
        self.meta.wanted(metadata)?.encode(&mut note);
        let start = self.links.push(&note.0).during("write", b"links")?;
        if place == target && in_draft {
            // It waits for itself already, and goes on doing so.
            return Ok(());
        }
        let mode = Mode::RUSR | Mode::WUSR;
        self.create(work, spot, last, |dir| {
            rustix::fs::mknodat(dir, last, FileType::Socket, mode, 0)
        })?;
        rustix::fs::utimensat(spot.dir(), last, &stamp(start), AtFlags::SYMLINK_NOFOLLOW)
            .during("mark", &place)
    }

    /// Links a name to another one, or copies where the file system allows no more links.
    pub(super) fn link_or_copy(
        &mut self,
        (from, name, from_place): (BorrowedFd<'_>, &[u8], &[u8]),
        (to, last, place): (BorrowedFd<'_>, &[u8], &[u8]),
        kind: FileType,
    ) -> Result<(), Trouble> {
        let linked = match rustix::fs::linkat(from, name, to, last, AtFlags::empty()) {
            Err(Errno::MLINK) => {
                self.copier
                    .node(&mut self.meta, (from, name), (to, last), place)?;
                false
            }
            done => done.during("link", place).map(|()| true)?,
        };
        self.say_of_name(kind, (from_place, place), linked)
    }

    /// Gives all waiting links their targets.
    pub(super) fn settle_links(&mut self, merged: &mut MergedView) -> Result<(), ApplyError> {
        if self.links.is_empty() {
            return Ok(());
        }
        let mut notes = self
            .links
            .notes()
            .during("read", b"links")
            .map_err(Trouble::of_draft)?;
        while let Some((start, _)) = notes
            .next()
            .during("read", b"links")
            .map_err(Trouble::of_draft)?
        {
            self.settle_link(start, merged)?;
        }
        Ok(())
    }

    /// Settles one link, after those that it waits for.
    fn settle_link(&mut self, start: u64, merged: &mut MergedView) -> Result<(), ApplyError> {
        let mut waiting = vec![start];
        let mut among = HashSet::from([start]);
        while let Some(current) = waiting.last().copied() {
            let note = self
                .links
                .note_at(current)
                .and_then(|bytes| Note::decode(&bytes));
            let note = note.during("read", b"links").map_err(Trouble::of_draft)?;
            let circle = || Trouble::Refused("a hard link that leads back to itself".to_owned());
            let outcome = match self.settle_note(current, &note, merged) {
                Ok(Outcome::After(next)) if !among.insert(next) => Err(circle()),
                outcome => outcome,
            };
            match outcome.map_err(|trouble| trouble.of_entry(&note.origin))? {
                Outcome::After(next) => waiting.push(next),
                Outcome::Done => {
                    waiting.pop();
                    among.remove(&current);
                }
            }
        }
        Ok(())
    }

    fn settle_note(
        &mut self,
        start: u64,
        note: &Note,
        merged: &mut MergedView,
    ) -> Result<Outcome, Trouble> {
        let (parent, last) = name::split(&note.place);
        let Some(spot) = self.tree.find(parent)? else {
            return Ok(Outcome::Done);
        };
        let here = handle::look(spot.dir(), last).during("look at", &note.place)?;
        if here.and_then(|stat| stamped(&stat)) != Some(start) {
            // Displaced by a later entry, or settled before.
            return Ok(Outcome::Done);
        }
        let merged_target = merged.resolve(&note.target)?;
        if !note.in_draft {
            let target = match &merged_target {
                Some(target) => Some(target.clone()),
                None => merged.lower.resolve(&note.target)?,
            };
            if let Some(target) = target
                && let Some(found) = merged.lower.look(&target)?
            {
                return self.link_to_lower(note, &spot, last, (&target, &found), merged);
            }
        }
        let target = merged_target.unwrap_or_else(|| note.target.clone());
        let (target_parent, target_last) = name::split(&target);
        let source = self.tree.find(target_parent)?;
        let stat = match &source {
            Some(source) => handle::look(source.dir(), target_last).during("look at", &target)?,
            None => None,
        };
        let (Some(source), Some(stat)) = (source, stat.filter(|stat| !handle::is_whiteout(stat)))
        else {
            return Err(Trouble::Refused(format!(
                "a hard link to {}, which neither this layer nor one below has",
                shown(&note.target)
            )));
        };
        match kind_of(&stat) {
            FileType::Directory => Err(link_to_directory(&target)),
            FileType::Socket => match stamped(&stat) {
                Some(next) => Ok(Outcome::After(next)),
                None => Err(Trouble::Refused("a hard link to a socket".to_owned())),
            },
            kind => {
                self.unmark(&spot, last, &note.place)?;
                self.link_or_copy(
                    (source.dir(), target_last, &source.at(target_last)),
                    (spot.dir(), last, &note.place),
                    kind,
                )?;
                self.finish_name(spot.dir(), last, &note.attributes, &note.place)?;
                Ok(Outcome::Done)
            }
        }
    }

    /// Brings a file of a lower layer up, under its own name where the draft has nothing there.
    fn link_to_lower(
        &mut self,
        note: &Note,
        spot: &Spot,
        last: &[u8],
        (target, found): (&[u8], &Found),
        merged: &mut MergedView,
    ) -> Result<Outcome, Trouble> {
        if found.kind() == FileType::Directory {
            return Err(link_to_directory(target));
        }
        let (target_parent, target_last) = name::split(target);
        let from = merged.lower.open_parent(found, target)?;
        // The placeholder counts: what is below it does not show.
        let in_sight = target != note.place && merged.shows_lower(target)?;
        self.unmark(spot, last, &note.place)?;
        let up = if in_sight {
            self.tree.parent_unless_taken(target_parent)?
        } else {
            None
        };
        match up {
            Some(up) => {
                let to = (up.dir(), target_last);
                self.copier
                    .node(&mut self.meta, (from.as_fd(), target_last), to, target)?;
                let said = || merged.lower.beside(found, target);
                self.say_of_copy(found.kind(), &up.at(target_last), said)?;
                merged.forget();
                self.link_or_copy(
                    (up.dir(), target_last, &up.at(target_last)),
                    (spot.dir(), last, &note.place),
                    found.kind(),
                )?;
            }
            None => {
                let to = (spot.dir(), last);
                self.copier
                    .node(&mut self.meta, (from.as_fd(), target_last), to, &note.place)?;
                let said = || merged.lower.beside(found, target);
                self.say_of_copy(found.kind(), &note.place, said)?;
            }
        }
        self.finish_name(spot.dir(), last, &note.attributes, &note.place)?;
        Ok(Outcome::Done)
    }

    fn unmark(&mut self, spot: &Spot, last: &[u8], place: &[u8]) -> Result<(), Trouble> {
        rustix::fs::unlinkat(spot.dir(), last, AtFlags::empty()).during("remove", place)
    }
}

fn link_to_directory(target: &[u8]) -> Trouble {
    Trouble::Refused(format!("a hard link to a directory, {}", shown(target)))
}

/// Times that say where a note starts: 31 bits each, which every file system can hold.
fn stamp(start: u64) -> Timestamps {
    let time = |bits: u64| Timespec {
        tv_sec: (bits & 0x7fff_ffff).cast_signed(),
        tv_nsec: 0,
    };
    Timestamps {
        last_access: time(start >> 31),
        last_modification: time(start),
    }
}

fn stamped(stat: &Stat) -> Option<u64> {
    if kind_of(stat) != FileType::Socket {
        return None;
    }
    let (high, low) = (
        u64::try_from(stat.st_atime).ok()?,
        u64::try_from(stat.st_mtime).ok()?,
    );
    Some(high << 31 | low)
}
