//! Where the payload of an entry goes: into its file, or beside the tree.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd};

use bytes::Bytes;
use lith_tarsplit::{Metadata, PayloadReader, Sparse};
use rustix::io::Errno;

use super::draft::TreeDraft;
use super::handle;
use super::meta::Meta;
use super::names;
use super::writers::NewFile;
use crate::error::{During, Origin, Trouble};
use crate::kept::Kept;

/// An entry on its way into the draft.
pub(super) struct Work<'a> {
    pub(super) metadata: &'a Metadata,
    pub(super) payload: &'a mut dyn PayloadReader,
    pub(super) kept: &'a mut Kept,
}

impl Work<'_> {
    /// Keeps the payload, if there is one: the tree has no place for it.
    pub(super) fn keep(&mut self) -> Result<(), Trouble> {
        if self.metadata.stored == 0 {
            Ok(())
        } else {
            self.keep_file().map(drop)
        }
    }

    pub(super) fn keep_file(&mut self) -> Result<File, Trouble> {
        let name = format!("kept payload {}", self.metadata.position);
        let mut file = self
            .kept
            .create(self.metadata.position)
            .during("create", name.as_bytes())?;
        self.write(&mut file, name.as_bytes())?;
        Ok(file)
    }

    /// Writes the payload to a file.
    pub(super) fn write(&mut self, file: &mut File, place: &[u8]) -> Result<(), Trouble> {
        self.pieces(|piece| file.write_all(&piece).during("write", place))
    }

    /// Hands the payload over in pieces, all of it and no more.
    fn pieces(&mut self, mut to: impl FnMut(Bytes) -> Result<(), Trouble>) -> Result<(), Trouble> {
        let stored = self.metadata.stored;
        let failed = |kind, message| Err(Trouble::Payload(io::Error::new(kind, message)));
        let mut done = 0;
        loop {
            let piece = match self.payload.take_piece() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                piece => piece.map_err(Trouble::Payload)?,
            };
            if piece.is_empty() {
                break;
            }
            done += piece.len() as u64;
            // The record would not fit the tree.
            if done > stored {
                let message = "more bytes than the entry says".to_owned();
                return failed(io::ErrorKind::InvalidData, message);
            }
            to(piece)?;
        }
        if done < stored {
            let message = format!("{done} bytes instead of {stored}");
            return failed(io::ErrorKind::UnexpectedEof, message);
        }
        Ok(())
    }
}

impl TreeDraft {
    pub(super) fn regular(
        &mut self,
        work: &mut Work<'_>,
        parent: &[u8],
        last: &[u8],
    ) -> Result<(), Trouble> {
        let metadata = work.metadata;
        let attributes = self.meta.wanted(metadata)?;
        let spot = self.spot(work, parent)?;
        let place = spot.at(last);
        self.summary.size = self.summary.size.saturating_add(metadata.size);
        let position = names::narrow(metadata.position).filter(|_| !spot.through_link);
        if let (None, Some(position)) = (&metadata.sparse, position)
            && self.tree.writers.take(metadata.stored)
            && !self.tree.names.has(&place)
        {
            let mut payload = Vec::new();
            work.pieces(|piece| {
                payload.push(piece);
                Ok(())
            })?;
            self.note_file(&place, metadata, position);
            return self.tree.writers.add(NewFile {
                spot,
                last: last.to_vec(),
                attributes: attributes.into_owned(),
                payload,
                origin: Origin::of(metadata),
            });
        }
        // The threads have something to do while this one writes.
        self.tree.writers.hand_over()?;
        let mode = Meta::creation_mode(&attributes);
        let fd = self.create(work, &spot, last, |dir| {
            rustix::fs::openat(dir, last, handle::CREATE, mode)
        })?;
        let mut file = File::from(fd);
        match (&metadata.sparse, position) {
            (None, Some(position)) => {
                work.write(&mut file, &place)?;
                self.note_file(&place, metadata, position);
            }
            // Reading back by name would not find these, or not find the same bytes.
            (None, _) => {
                let raw = work.keep_file()?;
                self.copier
                    .content(raw.as_fd(), file.as_fd(), metadata.stored)
                    .during("write", &place)?;
            }
            (Some(sparse), _) => {
                let raw = work.keep_file()?;
                self.expand(&raw, sparse, metadata, &file)
                    .during("write", &place)?;
            }
        }
        self.meta.finish_file(file.as_fd(), &attributes, &place)
    }

    /// Notes which entry's payload a file has.
    fn note_file(&mut self, place: &[u8], metadata: &Metadata, position: u32) {
        match metadata.stored {
            0 => self.tree.names.insert(place),
            _ => self.tree.names.insert_payload(place, position),
        }
    }

    /// Spreads a sparse payload over a file.
    fn expand(
        &mut self,
        raw: &File,
        sparse: &Sparse,
        metadata: &Metadata,
        file: &File,
    ) -> Result<(), Errno> {
        let mut at = sparse.data_start;
        for (offset, length) in &sparse.runs {
            self.copier
                .range(raw.as_fd(), file.as_fd(), (at, *offset), *length)?;
            at = at.saturating_add(*length);
        }
        rustix::fs::ftruncate(file, metadata.size)
    }
}

/// Moves payloads that are about to be displaced to `kept`.
pub(super) fn rescue(
    kept: &mut Kept,
) -> impl FnMut(BorrowedFd<'_>, &[u8], &[u8], u64) -> Result<(), Trouble> {
    |dir, name, place, position| {
        let adopted = kept.adopt(dir, name, position);
        adopted.during("keep the content of", place)
    }
}
