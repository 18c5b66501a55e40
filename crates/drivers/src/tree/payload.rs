//! Where the payload of an entry goes: into its file, or beside the tree.

use std::fs::File;
use std::io::{BufRead, Write};
use std::os::fd::{AsFd, BorrowedFd};

use lith_tarsplit::{Metadata, Sparse};
use rustix::io::Errno;

use super::draft::TreeDraft;
use super::handle;
use super::meta::Meta;
use super::positions::Positions;
use crate::error::{During, Trouble};
use crate::kept::Kept;

/// An entry on its way into the draft.
pub(super) struct Work<'a> {
    pub(super) metadata: &'a Metadata,
    pub(super) payload: &'a mut dyn BufRead,
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
        let mut left = self.metadata.stored;
        while left > 0 {
            let chunk = match self.payload.fill_buf() {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                chunk => chunk.map_err(Trouble::Payload)?,
            };
            let usable = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
            let chunk = chunk.get(..usable).unwrap_or_default();
            if chunk.is_empty() {
                let found = self.metadata.stored - left;
                return Err(Trouble::Payload(std::io::Error::new(
                    std::io::ErrorKind::UnexpectedEof,
                    format!("{found} bytes instead of {}", self.metadata.stored),
                )));
            }
            file.write_all(chunk).during("write", place)?;
            self.payload.consume(usable);
            left -= usable as u64;
        }
        // A reader that has more than it promised: the record would not fit the tree.
        let mut one = [0; 1];
        match self.payload.read(&mut one).map_err(Trouble::Payload)? {
            0 => Ok(()),
            _ => Err(Trouble::Payload(std::io::Error::other(
                "more bytes than the entry says",
            ))),
        }
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
        let mode = Meta::creation_mode(&attributes);
        let fd = self.create(work, &spot, last, |dir| {
            rustix::fs::openat(dir, last, handle::CREATE, mode)
        })?;
        let mut file = File::from(fd);
        let narrow = u32::try_from(metadata.position).ok();
        match (&metadata.sparse, narrow) {
            (None, Some(position)) if !spot.through_link => {
                work.write(&mut file, &place)?;
                if metadata.stored > 0 {
                    self.positions.insert(&place, position);
                }
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
        self.summary.size = self.summary.size.saturating_add(metadata.size);
        self.meta.finish_file(file.as_fd(), &attributes, &place)
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

/// Moves a payload that is about to be displaced to `kept`.
pub(super) fn rescue(
    positions: &mut Positions,
    kept: &mut Kept,
    dir: BorrowedFd<'_>,
    name: &[u8],
    place: &[u8],
) -> Result<(), Trouble> {
    match positions.take(place) {
        Some(position) => kept
            .adopt(dir, name, position)
            .during("keep the content of", place),
        None => Ok(()),
    }
}
