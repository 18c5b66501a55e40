//! A tar in a file: indexed once, then read by position.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use lith_graph::Observer;
use lith_store::DiffId;

use super::bytes::Extent;
use super::named::Members;
use super::outer::Outer;
use super::{Container, Contents, Document, FoundLayer};
use crate::LoadError;
use crate::error::text;
use crate::source::{Ask, LayerBytes, LayerData, LayerKey, LayerOpener, PassingLayers};

/// An uncompressed tar in a file.
pub(crate) struct TarFile {
    file: Arc<File>,
    length: u64,
    /// Content of each regular member: where it begins and how long it is.
    extents: Vec<(u64, u64)>,
    members: Members<usize>,
}

impl TarFile {
    /// Takes a file of `length` bytes; nothing is read yet.
    pub(crate) fn new(file: File, length: u64) -> TarFile {
        TarFile {
            file: Arc::new(file),
            length,
            extents: Vec::new(),
            members: Members::new(),
        }
    }

    fn extent(&self, number: usize) -> (Extent, u64) {
        let (at, size) = self.extents.get(number).copied().unwrap_or_default();
        (Extent::new(&self.file, at, at.saturating_add(size)), size)
    }

    fn whole(&self, number: usize) -> Whole {
        let (extent, size) = self.extent(number);
        Whole { extent, left: size }
    }
}

impl Container for TarFile {
    /// Reads the headers of all members.
    fn read(&mut self, _: &mut dyn PassingLayers, _: &Ask<'_>) -> Result<Option<u64>, LoadError> {
        let mut outer = Outer::new(Extent::new(&self.file, 0, self.length));
        while let Some(member) = outer.next()? {
            let number = self.extents.len();
            self.extents.push((member.data, member.size));
            self.members.add(member, number)?;
        }
        Ok((!outer.ended_well()).then(|| outer.position()))
    }

    fn into_opener(self) -> Box<dyn LayerOpener> {
        Box::new(self)
    }
}

impl LayerOpener for TarFile {
    fn open(&self, layer: LayerKey, _: &dyn Observer) -> Result<LayerBytes<'_>, LoadError> {
        Ok(Box::new(self.whole(layer.0)))
    }
}

impl Contents for TarFile {
    fn document(&self, path: &[u8], wanted_by: &str) -> Result<Option<Document>, LoadError> {
        let Some((name, number)) = self.members.find(path, wanted_by)? else {
            return Ok(None);
        };
        let (mut extent, size) = self.extent(*number);
        let limit = super::limit(name);
        if size > limit {
            let member = text(name);
            return Err(LoadError::TooLarge {
                member,
                size,
                limit,
            });
        }
        let mut bytes = Vec::new();
        let offset = self.extents.get(*number).map_or(0, |extent| extent.0);
        let read = extent.read_to_end(&mut bytes);
        let read = read.map_err(|source| LoadError::Read { offset, source })? as u64;
        if read != size {
            let missing = format!("{} bytes of member {}", size - read.min(size), text(name));
            return Err(LoadError::Truncated {
                offset: offset + read,
                missing,
            });
        }
        Ok(Some(Document {
            member: name.to_vec(),
            bytes,
        }))
    }

    fn layer(&self, path: &[u8], wanted_by: &str) -> Result<Option<FoundLayer>, LoadError> {
        let found = self.members.find(path, wanted_by)?;
        Ok(found.map(|(name, number)| FoundLayer {
            member: name.to_vec(),
            data: LayerData::There(LayerKey(*number)),
            size: self.extents.get(*number).map_or(0, |extent| extent.1),
            passed: None,
        }))
    }

    fn diff_ids(
        &self,
        layers: &[FoundLayer],
        observer: &dyn Observer,
    ) -> Result<Vec<DiffId>, LoadError> {
        let open = |layer: &FoundLayer| match layer.data {
            LayerData::There(LayerKey(number)) => Ok(self.whole(number)),
            _ => Err(super::not_a_layer(layer)),
        };
        super::diff_ids_of(layers, open, observer)
    }

    fn has(&self, name: &[u8]) -> bool {
        self.members.has(name)
    }

    fn names(&self) -> Result<Vec<Vec<u8>>, LoadError> {
        Ok(self.members.names())
    }
}

/// A member that must have all its bytes, though the file may shrink in the meantime.
struct Whole {
    extent: Extent,
    left: u64,
}

impl Read for Whole {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.extent.read(buf)?;
        if read == 0 && self.left > 0 && !buf.is_empty() {
            let left = self.left;
            let message = format!("the archive's file ends {left} bytes before the layer does");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
        }
        self.left -= (read as u64).min(self.left);
        Ok(read)
    }
}
