//! The outer tar of an archive, member by member.
//!
//! Neither of the readers at hand fits. lith-tarsplit's splitter reads and records every
//! byte, where a file is to be indexed by seeking over its layers. The `tar` crate reads
//! extension headers of any length into memory, takes a file that was cut off within a
//! member it seeks over for complete, and gives no offsets for error texts. Header fields are
//! decoded by the `tar` crate here too; only the framing is ours.

use std::io::{self, Read};

use tar::{EntryType, Header};

use super::bytes::{Skip, read_full};
use super::header::{checksum_is_right, is_zero, number};
use super::pax;
use crate::LoadError;

const BLOCK: u64 = 512;

/// Longest name, link target or set of pax records that is read.
const MAX_EXTENSION: u64 = 1 << 20;

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Bytes.
    Regular,
    /// Bytes with holes, which would have to be expanded first.
    Sparse,
    /// Another name of the member with this name.
    HardLink(Vec<u8>),
    /// Points to another member.
    Symlink(Vec<u8>),
    /// A folder.
    Directory,
    /// Anything else.
    Other,
}

/// One member of the archive.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    /// The name as the archive has it.
    pub(crate) path: Vec<u8>,
    pub(crate) kind: Kind,
    /// Where the member's header stands, for error texts.
    pub(crate) offset: u64,
    /// Where its content begins.
    pub(crate) data: u64,
    /// Bytes of content.
    pub(crate) size: u64,
}

/// Reads the members of a tar, one after another.
pub(crate) struct Outer<S> {
    source: S,
    position: u64,
    /// Content of the current member that was not read yet.
    content: u64,
    /// Zeros behind it up to the next block.
    padding: u64,
    current: Vec<u8>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    /// The two zero blocks were there.
    Ended,
    /// The input stopped between two members.
    Stopped,
}

impl<S: Skip> Outer<S> {
    pub(crate) fn new(source: S) -> Outer<S> {
        Outer {
            source,
            position: 0,
            content: 0,
            padding: 0,
            current: Vec::new(),
            state: State::Reading,
        }
    }

    /// Bytes of the archive that were read or passed over.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// True when the archive ended with the mark that a tar ends with.
    pub(crate) fn ended_well(&self) -> bool {
        self.state == State::Ended
    }

    /// The next member; what was left of the one before is passed over.
    pub(crate) fn next(&mut self) -> Result<Option<Member>, LoadError> {
        if self.state != State::Reading {
            return Ok(None);
        }
        self.finish_member()?;
        let mut extensions = Extensions::default();
        let offset = self.position;
        loop {
            let Some(header) = self.header()? else {
                if extensions.any {
                    return Err(self.truncated("the member that an extension header announces"));
                }
                return Ok(None);
            };
            match header.entry_type() {
                EntryType::GNULongName => extensions.path = Some(self.long_name(&header)?),
                EntryType::GNULongLink => extensions.link = Some(self.long_name(&header)?),
                EntryType::XHeader => self.pax(&header, &mut extensions)?,
                EntryType::XGlobalHeader => self.global(&header)?,
                _ => return self.member(&header, extensions, offset).map(Some),
            }
            extensions.any |= header.entry_type() != EntryType::XGlobalHeader;
        }
    }

    /// Reads on to the very end, so that a writer on a pipe is not cut off, and a
    /// compressed stream is checked to its last byte.
    pub(crate) fn drain(&mut self) -> Result<(), LoadError> {
        let rest = self
            .source
            .skip(u64::MAX)
            .map_err(|source| self.unreadable(source))?;
        self.position = self.position.saturating_add(rest);
        Ok(())
    }

    /// The content of the current member.
    pub(crate) fn content(&mut self) -> Content<'_, S> {
        Content {
            outer: self,
            failure: None,
        }
    }

    fn finish_member(&mut self) -> Result<(), LoadError> {
        let skipped = self
            .source
            .skip(self.content)
            .map_err(|source| self.unreadable(source))?;
        self.position += skipped;
        self.content -= skipped.min(self.content);
        if self.content > 0 {
            return Err(self.cut_off());
        }
        // A tar that ends within this padding has all its content: `header` finds the end.
        let skipped = self
            .source
            .skip(self.padding)
            .map_err(|source| self.unreadable(source))?;
        self.position += skipped;
        self.padding = 0;
        Ok(())
    }

    /// The next header, or none at the end of the archive.
    fn header(&mut self) -> Result<Option<Header>, LoadError> {
        let offset = self.position;
        let Some(header) = self.block("a member's header")? else {
            self.state = State::Stopped;
            return Ok(None);
        };
        if is_zero(header.as_bytes()) {
            return match self.block("the second block of the end mark")? {
                Some(second) if !is_zero(second.as_bytes()) => Err(LoadError::Damaged {
                    offset,
                    reason: "a block of zeros stands between two members".into(),
                }),
                _ => {
                    self.state = State::Ended;
                    Ok(None)
                }
            };
        }
        if !checksum_is_right(&header) {
            return Err(if offset == 0 {
                LoadError::NotAnArchive
            } else {
                let reason = "the checksum of this member's header is wrong".into();
                LoadError::Damaged { offset, reason }
            });
        }
        Ok(Some(header))
    }

    fn block(&mut self, what: &str) -> Result<Option<Header>, LoadError> {
        let mut header = Header::new_old();
        let read = read_full(&mut self.source, header.as_mut_bytes())
            .map_err(|source| self.unreadable(source))?;
        let first = self.position == 0;
        self.position += read as u64;
        match read as u64 {
            0 => Ok(None),
            BLOCK => Ok(Some(header)),
            _ if first => Err(LoadError::NotAnArchive),
            _ => Err(self.truncated(what)),
        }
    }

    fn member(
        &mut self,
        header: &Header,
        extensions: Extensions,
        offset: u64,
    ) -> Result<Member, LoadError> {
        let path = match extensions.path {
            Some(path) => path,
            None => header.path_bytes().into_owned(),
        };
        let link = match extensions.link {
            Some(link) => link,
            None => header.link_name_bytes().unwrap_or_default().into_owned(),
        };
        let sparse = extensions.sparse;
        let kind = match header.entry_type() {
            EntryType::Regular if path.ends_with(b"/") => Kind::Directory,
            EntryType::Regular | EntryType::Continuous if !sparse => Kind::Regular,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::Sparse,
            EntryType::Link => Kind::HardLink(link),
            EntryType::Symlink => Kind::Symlink(link),
            EntryType::Directory => Kind::Directory,
            _ => Kind::Other,
        };
        // The field's readers agree that these have no content, whatever their size says.
        let bare = matches!(
            header.entry_type(),
            EntryType::Link
                | EntryType::Symlink
                | EntryType::Char
                | EntryType::Block
                | EntryType::Directory
                | EntryType::Fifo
        ) || kind == Kind::Directory;
        let size = match extensions.size {
            _ if bare => 0,
            Some(size) => size,
            None => number(header, offset)?,
        };
        if header.entry_type() == EntryType::GNUSparse {
            self.sparse_extensions(header)?;
        }
        self.begin(size, offset)?;
        self.current.clone_from(&path);
        Ok(Member {
            path,
            kind,
            offset,
            data: self.position,
            size,
        })
    }

    /// Old GNU sparse headers may be continued in further blocks before the content.
    fn sparse_extensions(&mut self, header: &Header) -> Result<(), LoadError> {
        const HEADER_FLAG: usize = 482;
        const BLOCK_FLAG: usize = 504;
        let mut more = header
            .as_bytes()
            .get(HEADER_FLAG)
            .is_some_and(|flag| *flag == 1);
        while more {
            let what = "the map of a sparse member";
            let block = self.block(what)?.ok_or_else(|| self.truncated(what))?;
            more = block
                .as_bytes()
                .get(BLOCK_FLAG)
                .is_some_and(|flag| *flag == 1);
        }
        Ok(())
    }

    fn begin(&mut self, size: u64, offset: u64) -> Result<(), LoadError> {
        let padding = (BLOCK - size % BLOCK) % BLOCK;
        let end = self
            .position
            .checked_add(size)
            .and_then(|end| end.checked_add(padding));
        if end.is_none_or(|end| end > i64::MAX as u64) {
            let reason = format!("a member claims {size} bytes, more than any file has");
            return Err(LoadError::Damaged { offset, reason });
        }
        self.content = size;
        self.padding = padding;
        Ok(())
    }

    /// Reads the content of an extension header.
    fn extension(&mut self, header: &Header) -> Result<Vec<u8>, LoadError> {
        let offset = self.position - BLOCK;
        let size = number(header, offset)?;
        if size > MAX_EXTENSION {
            let reason = format!(
                "an extension header has {size} bytes, more than the {MAX_EXTENSION} that are read"
            );
            return Err(LoadError::Damaged { offset, reason });
        }
        self.begin(size, offset)?;
        self.current = b"(extension header)".to_vec();
        let mut content = Vec::new();
        let read = (&mut self.source).take(size).read_to_end(&mut content);
        let read = read.map_err(|source| self.unreadable(source))? as u64;
        self.position += read;
        self.content -= read.min(self.content);
        self.finish_member()?;
        Ok(content)
    }

    fn long_name(&mut self, header: &Header) -> Result<Vec<u8>, LoadError> {
        let mut name = self.extension(header)?;
        if let Some(end) = name.iter().position(|byte| *byte == 0) {
            name.truncate(end);
        }
        Ok(name)
    }

    fn pax(&mut self, header: &Header, into: &mut Extensions) -> Result<(), LoadError> {
        let offset = self.position - BLOCK;
        let content = self.extension(header)?;
        for record in pax::records(&content) {
            let (key, value) = record.map_err(|reason| LoadError::Damaged { offset, reason })?;
            match key {
                b"path" => into.path = Some(value.to_vec()),
                b"linkpath" => into.link = Some(value.to_vec()),
                b"size" => {
                    let size = pax::decimal(value);
                    into.size = Some(size.map_err(|reason| LoadError::Damaged { offset, reason })?);
                }
                _ => into.sparse |= key.starts_with(b"GNU.sparse."),
            }
        }
        Ok(())
    }

    /// Global records are passed over, unless they would change where members begin.
    fn global(&mut self, header: &Header) -> Result<(), LoadError> {
        let offset = self.position - BLOCK;
        let content = self.extension(header)?;
        for record in pax::records(&content) {
            let (key, _) = record.map_err(|reason| LoadError::Damaged { offset, reason })?;
            if matches!(key, b"path" | b"linkpath" | b"size") {
                let key = String::from_utf8_lossy(key);
                let reason = format!("a global header sets {key} for all members");
                return Err(LoadError::Damaged { offset, reason });
            }
        }
        Ok(())
    }

    fn unreadable(&self, source: io::Error) -> LoadError {
        // Decoders say so when a compressed stream stops in the middle.
        if source.kind() == io::ErrorKind::UnexpectedEof {
            return self.truncated("the rest of the compressed stream");
        }
        LoadError::Read {
            offset: self.position,
            source,
        }
    }

    fn truncated(&self, what: &str) -> LoadError {
        LoadError::Truncated {
            offset: self.position,
            missing: what.to_owned(),
        }
    }

    fn cut_off(&self) -> LoadError {
        let member = String::from_utf8_lossy(&self.current);
        self.truncated(&format!("{} bytes of member {member}", self.content))
    }
}

/// The content of a member as it passes.
pub(crate) struct Content<'a, S> {
    outer: &'a mut Outer<S>,
    failure: Option<LoadError>,
}

impl<S> Content<'_, S> {
    /// Why reading stopped, when the archive and not the content is to blame.
    pub(crate) fn failure(self) -> Option<LoadError> {
        self.failure
    }
}

impl<S: Skip> Read for Content<'_, S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.outer.content).unwrap_or(usize::MAX);
        let want = buf.len().min(left);
        let Some(buf) = buf.get_mut(..want).filter(|buf| !buf.is_empty()) else {
            return Ok(0);
        };
        let read = loop {
            match self.outer.source.read(buf) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        match read {
            Ok(0) => {
                let failure = self.outer.cut_off();
                let error = io::Error::new(io::ErrorKind::UnexpectedEof, failure.to_string());
                self.failure = Some(failure);
                Err(error)
            }
            Ok(read) => {
                self.outer.position += read as u64;
                self.outer.content -= read as u64;
                Ok(read)
            }
            Err(error) => {
                let again = io::Error::new(error.kind(), error.to_string());
                self.failure = Some(self.outer.unreadable(error));
                Err(again)
            }
        }
    }
}

/// What extension headers say of the member behind them.
#[derive(Default)]
struct Extensions {
    any: bool,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    sparse: bool,
}
