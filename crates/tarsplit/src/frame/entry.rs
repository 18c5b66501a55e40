//! What an entry's own header and its extensions say together.

use super::{EXTENSION_LIMIT, Frame, Sink, padding};
use crate::error::SplitError;
use crate::header::{BLOCK, Format, Raw, Reason};
use crate::metadata::{Kind, Sparse};
use crate::pax::Key;
use crate::pieces::Pieces;
use crate::sparse::{self, PaxForm, PayloadMap, Runs};

impl<P: Pieces> Frame<P> {
    /// Brings header and extensions together.
    pub(super) fn entry(&mut self, raw: &Raw<'_>, sink: &mut impl Sink) -> Result<(), SplitError> {
        // The header's own size must make sense even when an extension replaces it.
        if raw.size < 0 && !Kind::of(raw.flag).is_header_only() {
            return Err(self.wrong("its size is negative"));
        }
        self.metadata.clear();
        self.metadata.offset = self.payload.header;
        self.names(raw);
        let size = self.attributes(raw).map_err(|reason| self.wrong(reason))?;
        self.payload.name.clone_from(&self.metadata.path);

        let header_only = self.metadata.kind.is_header_only();
        let claimed = u64::try_from(size);
        let stored = match claimed {
            _ if header_only => 0,
            Ok(size) => size,
            Err(_) => return Err(self.wrong("its size is negative")),
        };
        self.metadata.size = stored;
        self.metadata.stored = stored;
        self.recorded = claimed.unwrap_or(0);
        self.padding = padding(stored);
        let sparse = if raw.flag == b'S' {
            self.old_sparse(raw, sink)?
        } else {
            self.pax_sparse()?
        };
        if let Some((sparse, size)) = sparse {
            sparse::check(&sparse, size, stored).map_err(|reason| self.wrong(reason))?;
            self.metadata.size = size;
            if size == 0 {
                self.unused = stored;
                self.metadata.stored = 0;
                self.recorded = 0;
            }
            self.metadata.sparse = Some(sparse);
        }
        self.payload.start(self.metadata.stored);
        Ok(())
    }

    /// Path, link and kind.
    fn names(&mut self, raw: &Raw<'_>) {
        // Others let the pax name win, take an empty one for one, know no prefix in a GNU header,
        // and rename whatever has a sparse name.
        let pax_path = self.pax.has(Key::Path);
        self.disputed |= pax_path
            && (!self.long_name.is_empty() || self.pax.get(Key::Path).is_none())
            || raw.format == Format::Gnu && !raw.prefix.is_empty()
            || self.pax.has(Key::SparseName) && sparse::pax_form(&self.pax).is_none();
        let metadata = &mut self.metadata;
        let pick = |long: &Vec<u8>, pax: Option<&[u8]>, header: &[u8], into: &mut Vec<u8>| {
            into.clear();
            into.extend_from_slice(match pax {
                _ if !long.is_empty() => long,
                Some(pax) => pax,
                None => header,
            });
        };
        pick(
            &self.long_name,
            self.pax.get(Key::Path),
            &self.payload.name,
            &mut metadata.path,
        );
        pick(
            &self.long_link,
            self.pax.get(Key::LinkPath),
            raw.link(),
            &mut metadata.link,
        );
        pick(
            &Vec::new(),
            self.pax.get(Key::Uname),
            raw.uname,
            &mut metadata.uname,
        );
        pick(
            &Vec::new(),
            self.pax.get(Key::Gname),
            raw.gname,
            &mut metadata.gname,
        );
        // Before there was a type for directories, a slash was their mark.
        let slash = raw.flag == 0 && metadata.path.ends_with(b"/");
        metadata.kind = if slash {
            Kind::Directory
        } else {
            Kind::of(raw.flag)
        };
    }

    /// Everything else that is no framing. Returns the size.
    fn attributes(&mut self, raw: &Raw<'_>) -> Result<i64, Reason> {
        let (pax, metadata) = (&self.pax, &mut self.metadata);
        metadata.mode = (raw.mode & 0o7777) as u32;
        // Negative numbers stay what they are in two's complement.
        metadata.uid = pax
            .number(Key::Uid, "its pax uid is not a number")?
            .unwrap_or(raw.uid) as u64;
        metadata.gid = pax
            .number(Key::Gid, "its pax gid is not a number")?
            .unwrap_or(raw.gid) as u64;
        metadata.mtime = pax
            .time(Key::Mtime, "its pax mtime is not a time")?
            .unwrap_or(raw.mtime);
        pax.time(Key::Atime, "its pax atime is not a time")?;
        pax.time(Key::Ctime, "its pax ctime is not a time")?;
        metadata.device = (raw.device.0 as u64, raw.device.1 as u64);
        pax.xattrs(&mut metadata.xattrs);
        Ok(pax
            .number(Key::Size, "its pax size is not a number")?
            .unwrap_or(raw.size))
    }

    /// An old GNU sparse file: its map goes on in blocks behind the header.
    fn old_sparse(
        &mut self,
        raw: &Raw<'_>,
        sink: &mut impl Sink,
    ) -> Result<Option<(Sparse, u64)>, SplitError> {
        let mut runs = Runs::new();
        let block = self.last_block;
        let (size, mut more) =
            sparse::old_gnu_header(raw, &block, &mut runs).map_err(|reason| self.wrong(reason))?;
        let mut seen = 0;
        while more {
            // Others stop at the first entry of a map that is not used, block or no block.
            self.disputed |= seen == 0 && runs.len() < 4;
            seen += BLOCK as u64;
            if seen > EXTENSION_LIMIT {
                return Err(self.too_long("a sparse map"));
            }
            let offset = self.payload.source.offset();
            let there = self
                .payload
                .source
                .ensure(BLOCK)
                .map_err(|source| SplitError::Io { offset, source })?;
            let Some(block) = there.first_chunk::<BLOCK>().copied() else {
                let found = there.len() as u64;
                return Err(self.payload.truncated("sparse map", BLOCK as u64, found));
            };
            self.pass(BLOCK as u64, sink)?;
            self.last_block = block;
            more = sparse::old_gnu_extension(&block, &mut runs)
                .map_err(|reason| self.wrong(reason))?;
        }
        Ok(Some((
            Sparse {
                data_start: 0,
                runs,
            },
            size,
        )))
    }

    /// A sparse file in one of the pax forms.
    fn pax_sparse(&mut self) -> Result<Option<(Sparse, u64)>, SplitError> {
        let Some(form) = sparse::pax_form(&self.pax) else {
            return Ok(None);
        };
        if self.metadata.kind.is_header_only() {
            return Err(self.wrong("a sparse map for something that has no payload"));
        }
        if let Some(name) = self.pax.get(Key::SparseName) {
            self.metadata.path.clear();
            self.metadata.path.extend_from_slice(name);
            self.payload.name.clone_from(&self.metadata.path);
        }
        let key = if self.pax.get(Key::SparseSize).is_some() {
            Key::SparseSize
        } else {
            Key::SparseRealSize
        };
        let size = self
            .pax
            .number(key, "its real size is not a number")
            .map_err(|reason| self.wrong(reason))?;
        let size = size.map_or(Ok(self.metadata.stored), u64::try_from);
        let size = size.map_err(|_| self.wrong("its real size is negative"))?;
        let (data_start, runs) = match form {
            PaxForm::InHeader => (
                0,
                sparse::pax_header_map(&self.pax).map_err(|reason| self.wrong(reason))?,
            ),
            PaxForm::InPayload => self.payload_map()?,
        };
        Ok(Some((Sparse { data_start, runs }, size)))
    }

    /// The map in front of the data of pax sparse 1.0. It stays in the payload: it is only looked at.
    fn payload_map(&mut self) -> Result<(u64, Runs), SplitError> {
        let mut map = PayloadMap::default();
        let stored = self.metadata.stored;
        loop {
            let end = map.seen + BLOCK;
            if end as u64 > EXTENSION_LIMIT {
                return Err(self.too_long("a sparse map"));
            }
            if end as u64 > stored {
                return Err(self.wrong("its sparse map does not end before its payload"));
            }
            let offset = self.payload.source.offset();
            let there = self
                .payload
                .source
                .ensure(end)
                .map_err(|source| SplitError::Io { offset, source })?;
            let found = there.len() as u64;
            let Some(block) = there.get(map.seen..end) else {
                return Err(self.payload.truncated("sparse map", stored, found));
            };
            match map.block(block) {
                Ok(Some(runs)) => return Ok((map.seen as u64, runs)),
                Ok(None) => {}
                Err(reason) => return Err(self.wrong(reason)),
            }
        }
    }
}
