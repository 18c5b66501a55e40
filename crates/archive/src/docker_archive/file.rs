//! A docker-archive in a file: indexed once, then read by position.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use lith_graph::Observer;

use super::bytes::Extent;
use super::describe::{self, Contents, Document, MANIFEST};
use super::members::Members;
use super::outer::Outer;
use crate::LoadError;
use crate::error::text;
use crate::source::{
    Ask, Description, ImageSource, LayerBytes, LayerData, LayerKey, LayerOpener, PassingLayers,
};

/// An uncompressed docker-archive in a file.
pub(crate) struct FileArchive {
    file: Arc<File>,
    length: u64,
    /// Content of each regular member: where it begins and how long it is.
    extents: Vec<(u64, u64)>,
    members: Members<usize>,
}

impl FileArchive {
    /// Takes a file of `length` bytes; nothing is read yet.
    pub(crate) fn new(file: File, length: u64) -> FileArchive {
        FileArchive {
            file: Arc::new(file),
            length,
            extents: Vec::new(),
            members: Members::new(),
        }
    }

    /// Reads the headers of all members; returns where the file was cut off.
    fn index(&mut self) -> Result<Option<u64>, LoadError> {
        let mut outer = Outer::new(Extent::new(&self.file, 0, self.length));
        while let Some(member) = outer.next()? {
            let number = self.extents.len();
            self.extents.push((member.data, member.size));
            self.members.add(member, number)?;
        }
        Ok((!outer.ended_well()).then(|| outer.position()))
    }

    fn extent(&self, number: usize) -> (Extent, u64) {
        let (at, size) = self.extents.get(number).copied().unwrap_or_default();
        (Extent::new(&self.file, at, at.saturating_add(size)), size)
    }

    fn images(&self, cut_off: Option<u64>) -> Result<Description, LoadError> {
        let Some(manifest) = self.document(MANIFEST, "docker-archive")? else {
            let (names, count) = (self.members.names(), self.members.count());
            return Err(describe::no_manifest(names, count, cut_off));
        };
        let described = describe::describe(&manifest, self);
        let described = described.map_err(|error| describe::explain(error, cut_off))?;
        Ok(Description {
            cut_off,
            ..described
        })
    }
}

impl ImageSource for FileArchive {
    fn describe(
        mut self: Box<Self>,
        _: &mut dyn PassingLayers,
        _: &Ask<'_>,
    ) -> Result<(Description, Box<dyn LayerOpener>), LoadError> {
        let cut_off = self.index()?;
        Ok((self.images(cut_off)?, self))
    }
}

impl LayerOpener for FileArchive {
    fn open(&self, layer: LayerKey, _: &dyn Observer) -> Result<LayerBytes<'_>, LoadError> {
        let (extent, size) = self.extent(layer.0);
        Ok(Box::new(Whole { extent, left: size }))
    }
}

impl Contents for FileArchive {
    fn document(&self, path: &[u8], wanted_by: &str) -> Result<Option<Document>, LoadError> {
        let Some((name, number)) = self.members.find(path, wanted_by)? else {
            return Ok(None);
        };
        let (mut extent, size) = self.extent(*number);
        let limit = describe::limit(name);
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

    fn layer(
        &self,
        path: &[u8],
        wanted_by: &str,
    ) -> Result<Option<(Vec<u8>, LayerData)>, LoadError> {
        let found = self.members.find(path, wanted_by)?;
        Ok(found.map(|(name, number)| (name.to_vec(), LayerData::There(LayerKey(*number)))))
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
