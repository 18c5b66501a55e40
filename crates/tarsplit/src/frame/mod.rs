//! Cuts a stream into entries: which blocks are headers, what they say together, where the payload is.
//!
//! All decisions follow Go's `archive/tar` as tar-split carries it: it is what the engines read
//! layers with, so an entry that it sees is one, and there is no other view. In particular the
//! size of an extension header is its own, never one that an extension before it gave; the last
//! extended header counts alone; a GNU name beats a pax one; a global header applies to nothing.

mod entry;

use std::io;

use crate::error::SplitError;
use crate::header::{BLOCK, Block, Raw, Reason};
use crate::metadata::{Kind, Metadata};
use crate::pax::{Key, Pax};
use crate::payload::Payload;
use crate::pieces::Pieces;

/// The most that an extension header or a sparse map may hold.
pub const EXTENSION_LIMIT: u64 = 1 << 20;

/// Gets every byte that is not payload, in order.
pub(crate) trait Sink {
    fn raw(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// For who only wants the entries.
pub(crate) struct Nowhere;

impl Sink for Nowhere {
    fn raw(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
}

/// Reads entries.
pub(crate) struct Frame<P> {
    pub(crate) payload: Payload<P>,
    pub(crate) metadata: Metadata,
    /// The size to record for the current entry: of a payload, or claimed by a header that has none.
    pub(crate) recorded: u64,
    /// The last block in front of the payload.
    pub(crate) last_block: Block,
    /// How many entries were seen.
    pub(crate) entries: u64,
    /// Whether other readers find the current entry's file elsewhere, or have other data for it.
    pub(crate) disputed: bool,
    /// Whether the stream ended inside the padding of the last payload.
    pub(crate) cut: bool,
    /// Whether a global header said something that other readers apply to what follows.
    global_dispute: bool,
    /// Stored bytes that belong to no file: they are passed over like padding.
    unused: u64,
    padding: usize,
    pax: Pax,
    long_name: Vec<u8>,
    long_link: Vec<u8>,
}

impl<P: Pieces> Frame<P> {
    pub(crate) fn new(pieces: P) -> Self {
        Self {
            payload: Payload::new(pieces),
            metadata: Metadata::default(),
            recorded: 0,
            last_block: [0; BLOCK],
            entries: 0,
            disputed: false,
            cut: false,
            global_dispute: false,
            unused: 0,
            padding: 0,
            pax: Pax::default(),
            long_name: Vec::new(),
            long_link: Vec::new(),
        }
    }

    /// Goes to the next entry, whose metadata then is in `metadata`. The payload of the current
    /// one must have been read. Returns false at the end of the archive, behind which the source
    /// may hold more.
    pub(crate) fn advance(&mut self, sink: &mut impl Sink) -> Result<bool, SplitError> {
        let unused = std::mem::take(&mut self.unused);
        let found = self.pass(unused, sink)?;
        if found < unused {
            return Err(self.payload.truncated("file", unused, found));
        }
        self.payload.entry = self.entries;
        self.pax.clear();
        self.long_name.clear();
        self.long_link.clear();
        // What stands between extensions and the entry they are for makes them void.
        self.disputed =
            self.global_dispute || self.metadata.kind == Kind::GlobalHeader && self.disputed;
        let mut extensions = 0;
        loop {
            let padding = std::mem::take(&mut self.padding) as u64;
            // A tar may end inside padding: nothing that matters can be missing.
            let found = self.pass(padding, sink)?;
            if found < padding {
                self.cut = found > 0;
                return Ok(false);
            }
            self.payload.name.clear();
            self.payload.header = self.payload.source.offset();
            let Some(block) = self.header_block(sink)? else {
                return Ok(false);
            };
            let raw = Raw::decode(&block).map_err(|reason| self.wrong(reason))?;
            raw.name(&mut self.payload.name);
            self.last_block = block;
            match raw.flag {
                b'x' => self.pax_header(&raw, "a pax extended header", sink)?,
                b'g' => {
                    self.pax_header(&raw, "a pax global header", sink)?;
                    self.global();
                    self.disputed |= extensions > 0;
                    break;
                }
                b'L' => {
                    let name = std::mem::take(&mut self.long_name);
                    self.long_name = self.long_text(&raw, "a GNU long name", name, sink)?;
                    self.disputed |= self.long_name.is_empty();
                }
                b'K' => {
                    let link = std::mem::take(&mut self.long_link);
                    self.long_link = self.long_text(&raw, "a GNU long link", link, sink)?;
                }
                _ => {
                    self.entry(&raw, sink)?;
                    break;
                }
            }
            extensions += 1;
        }
        self.entries += 1;
        Ok(true)
    }

    /// Reads the next header block. `None` at the end of the archive.
    fn header_block(&mut self, sink: &mut impl Sink) -> Result<Option<Block>, SplitError> {
        let Some(block) = self.whole_block(sink)? else {
            return Ok(None);
        };
        if block != [0; BLOCK] {
            return Ok(Some(block));
        }
        match self.whole_block(sink)? {
            Some(second) if second != [0; BLOCK] => {
                Err(self.wrong("a block of zeros with something else behind it"))
            }
            _ => Ok(None),
        }
    }

    /// Reads a block. `None` when the source ends, or has only zeros left that are less than one.
    fn whole_block(&mut self, sink: &mut impl Sink) -> Result<Option<Block>, SplitError> {
        let offset = self.payload.source.offset();
        let there = self
            .payload
            .source
            .ensure(BLOCK)
            .map_err(|source| SplitError::Io { offset, source })?;
        if let Some(block) = there.first_chunk::<BLOCK>() {
            let block = *block;
            self.pass(BLOCK as u64, sink)?;
            return Ok(Some(block));
        }
        let found = there.len() as u64;
        if there.iter().any(|byte| *byte != 0) {
            return Err(self.payload.truncated("header", BLOCK as u64, found));
        }
        self.pass(found, sink)?;
        Ok(None)
    }

    /// Hands `length` bytes to the sink, or what there is. Returns how many.
    fn pass(&mut self, length: u64, sink: &mut impl Sink) -> Result<u64, SplitError> {
        let mut left = length;
        while left > 0 {
            let offset = self.payload.source.offset();
            let there = self
                .payload
                .source
                .fill()
                .map_err(|source| SplitError::Io { offset, source })?;
            let step = there.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if step == 0 {
                break;
            }
            sink.raw(there.get(..step).unwrap_or_default())
                .map_err(|source| SplitError::Record { source })?;
            self.payload.source.consume(step);
            left -= step as u64;
        }
        Ok(length - left)
    }

    /// Reads the payload of an extension header into `data`.
    fn extension(
        &mut self,
        raw: &Raw<'_>,
        what: &'static str,
        data: &mut Vec<u8>,
        sink: &mut impl Sink,
    ) -> Result<(), SplitError> {
        let size = u64::try_from(raw.size).map_err(|_| self.wrong("its size is negative"))?;
        if size > EXTENSION_LIMIT {
            return Err(self.too_long(what));
        }
        data.clear();
        let mut keep = Keep { data, sink };
        let found = self.pass(size, &mut keep)?;
        if found < size {
            return Err(self.payload.truncated("extension header", size, found));
        }
        self.padding = padding(size);
        Ok(())
    }

    fn pax_header(
        &mut self,
        raw: &Raw<'_>,
        what: &'static str,
        sink: &mut impl Sink,
    ) -> Result<(), SplitError> {
        let mut data = std::mem::take(&mut self.pax.data);
        let read = self.extension(raw, what, &mut data, sink);
        self.pax.data = data;
        read?;
        self.pax.parse().map_err(|reason| self.wrong(reason))
    }

    fn long_text(
        &mut self,
        raw: &Raw<'_>,
        what: &'static str,
        mut text: Vec<u8>,
        sink: &mut impl Sink,
    ) -> Result<Vec<u8>, SplitError> {
        self.extension(raw, what, &mut text, sink)?;
        if let Some(nul) = text.iter().position(|byte| *byte == 0) {
            text.truncate(nul);
        }
        Ok(text)
    }

    /// A global header is an entry of its own. Its only effect is that it may name itself.
    fn global(&mut self) {
        self.metadata.clear();
        self.metadata.offset = self.payload.header;
        self.metadata.kind = Kind::GlobalHeader;
        let name = self.pax.get(Key::Path).unwrap_or(&self.payload.name);
        self.metadata.path.extend_from_slice(name);
        self.recorded = 0;
        self.payload.start(0);
        let effects = [
            Key::Path,
            Key::Size,
            Key::SparseMajor,
            Key::SparseName,
            Key::SparseMap,
        ];
        self.global_dispute |= effects.into_iter().any(|key| self.pax.has(key));
        self.disputed |= self.global_dispute;
    }

    fn wrong(&self, reason: Reason) -> SplitError {
        let Payload {
            entry,
            header: offset,
            ..
        } = self.payload;
        SplitError::Header {
            entry,
            offset,
            name: self.payload.name.clone(),
            reason,
        }
    }

    fn too_long(&self, what: &'static str) -> SplitError {
        let Payload {
            entry,
            header: offset,
            ..
        } = self.payload;
        SplitError::TooLong {
            entry,
            offset,
            name: self.payload.name.clone(),
            what,
            limit: EXTENSION_LIMIT,
        }
    }
}

/// Keeps what it hands on.
struct Keep<'a, S> {
    data: &'a mut Vec<u8>,
    sink: &'a mut S,
}

impl<S: Sink> Sink for Keep<'_, S> {
    fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.data.extend_from_slice(bytes);
        self.sink.raw(bytes)
    }
}

/// What is missing to whole blocks.
fn padding(size: u64) -> usize {
    // Less than a block, so it fits.
    (size.wrapping_neg() % BLOCK as u64) as usize
}
