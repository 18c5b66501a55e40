//! A docker-archive that passes once: a pipe, or a file that is compressed as a whole.
//!
//! Layers come before anything says that they are layers. Content decides: what begins like a
//! tar or like a compressed stream is handed over as it passes, whatever its name; anything
//! else that is small enough is kept until the manifest says what it is.

use std::collections::HashSet;
use std::io::{Cursor, Read};

use lith_graph::Observer;
use lith_graph::compression::{self, Compression};

use super::bytes::{Stream, read_full};
use super::describe::{self, Contents, Document, MANIFEST};
use super::manifest;
use super::members::Members;
use super::outer::{Kind, Member, Outer};
use crate::LoadError;
use crate::error::text;
use crate::source::{
    Ask, Description, ImageSource, LayerBytes, LayerData, LayerKey, LayerOpener, PassingLayers,
    Ticket,
};

/// Bytes of documents that are kept in memory, `manifest.json` not counted.
const MAX_KEPT: u64 = 32 << 20;

/// How much of a member is looked at to tell what it is: the first block of a tar.
const HEAD: usize = compression::HEAD_LEN;

/// An uncompressed docker-archive in a stream.
pub(crate) struct StreamArchive<R> {
    outer: Outer<Stream<R>>,
    members: Members<Held>,
    documents: Vec<Vec<u8>>,
    kept: u64,
    /// Configs that the manifest names and that did not pass yet; none without a manifest.
    awaited: Option<HashSet<Vec<u8>>>,
}

/// What is left of a member that has passed.
enum Held {
    Document(usize),
    Layer(Ticket),
    /// Neither a tar nor compressed, and too large for a document.
    TooLarge(u64),
    /// Small, but too much was kept already.
    NotKept,
    /// Never asked for: no regular file.
    Nothing,
}

impl<R: Read + Send> StreamArchive<R> {
    pub(crate) fn new(stream: R) -> StreamArchive<R> {
        StreamArchive {
            outer: Outer::new(Stream(stream)),
            members: Members::new(),
            documents: Vec::new(),
            kept: 0,
            awaited: None,
        }
    }

    fn read(&mut self, passing: &mut dyn PassingLayers) -> Result<Option<u64>, LoadError> {
        while let Some(member) = self.outer.next()? {
            let held = match member.kind {
                Kind::Regular => self.regular(&member, passing)?,
                _ => Held::Nothing,
            };
            let document = matches!(held, Held::Document(_)).then(|| member.path.clone());
            self.members.add(member, held)?;
            if document.is_some_and(|path| self.knows_images(&path)) {
                // What is wrong with them is told when the whole archive has passed.
                if let Ok(described) = self.images(None) {
                    passing.announce(described.images)?;
                }
            }
        }
        let cut_off = (!self.outer.ended_well()).then(|| self.outer.position());
        self.outer.drain()?;
        Ok(cut_off)
    }

    /// True when with the document that came last, the manifest and all its configs are there.
    fn knows_images(&mut self, path: &[u8]) -> bool {
        let Ok(name) = super::names::clean(path) else {
            return false;
        };
        if let Some(awaited) = &mut self.awaited {
            return awaited.remove(&name) && awaited.is_empty();
        }
        if name != MANIFEST {
            return false;
        }
        let items = match self.document(MANIFEST, "docker-archive") {
            Ok(Some(manifest)) => manifest::parse(&manifest.bytes).unwrap_or_default(),
            _ => return false,
        };
        let configs = items.into_iter().filter_map(|item| item.config);
        let configs = configs.filter_map(|path| super::names::clean(path.as_bytes()).ok());
        let awaited = configs.filter(|config| !self.members.has(config));
        let awaited = self.awaited.insert(awaited.collect());
        awaited.is_empty()
    }

    fn regular(
        &mut self,
        member: &Member,
        passing: &mut dyn PassingLayers,
    ) -> Result<Held, LoadError> {
        let mut content = self.outer.content();
        let mut head = [0; HEAD];
        let read = read_full(&mut content, &mut head);
        let head = match read {
            Ok(read) => head.get(..read).unwrap_or_default(),
            Err(source) => return Err(read_error(content.failure(), member, source)),
        };
        let compressed = compression::detect(head) != Compression::None;
        if compressed || compression::looks_like_tar(head) {
            let mut whole = Cursor::new(head).chain(content);
            let taken = passing.take(&member.path, &mut whole);
            let (_, content) = whole.into_inner();
            return match content.failure() {
                Some(failure) => Err(failure),
                None => taken.map(Held::Layer),
            };
        }
        let name = super::names::clean(&member.path).unwrap_or_default();
        if member.size > describe::limit(&name) {
            return Ok(Held::TooLarge(member.size));
        }
        let is_manifest = name == MANIFEST && !self.members.has(MANIFEST);
        if !is_manifest && self.kept + member.size > MAX_KEPT {
            return Ok(Held::NotKept);
        }
        let mut bytes = head.to_vec();
        if let Err(source) = content.read_to_end(&mut bytes) {
            return Err(read_error(content.failure(), member, source));
        }
        if !is_manifest {
            self.kept += member.size;
        }
        self.documents.push(bytes);
        Ok(Held::Document(self.documents.len() - 1))
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

fn read_error(failure: Option<LoadError>, member: &Member, source: std::io::Error) -> LoadError {
    failure.unwrap_or(LoadError::Read {
        offset: member.data,
        source,
    })
}

impl<R: Read + Send> ImageSource for StreamArchive<R> {
    fn describe(
        mut self: Box<Self>,
        passing: &mut dyn PassingLayers,
        _: &Ask<'_>,
    ) -> Result<(Description, Box<dyn LayerOpener>), LoadError> {
        let cut_off = self.read(passing)?;
        Ok((self.images(cut_off)?, Box::new(Documents(self.documents))))
    }
}

/// What was kept of a stream. A layer so short that it was taken for a document (one of no
/// bytes at all is legal) is read from here.
struct Documents(Vec<Vec<u8>>);

impl LayerOpener for Documents {
    fn open(&self, layer: LayerKey, _: &dyn Observer) -> Result<LayerBytes<'_>, LoadError> {
        Ok(Box::new(
            self.0.get(layer.0).map(Vec::as_slice).unwrap_or_default(),
        ))
    }
}

impl<R: Read + Send> Contents for StreamArchive<R> {
    fn document(&self, path: &[u8], wanted_by: &str) -> Result<Option<Document>, LoadError> {
        let Some((name, held)) = self.members.find(path, wanted_by)? else {
            return Ok(None);
        };
        let member = text(name);
        let bytes = match held {
            Held::Document(number) => self.documents.get(*number),
            Held::TooLarge(size) => {
                return Err(LoadError::TooLarge {
                    member,
                    size: *size,
                    limit: describe::limit(name),
                });
            }
            Held::NotKept => {
                return Err(LoadError::NotKept {
                    member,
                    limit: MAX_KEPT,
                });
            }
            Held::Layer(_) | Held::Nothing => {
                return Err(LoadError::NotRegular {
                    member,
                    kind: "a tar or compressed",
                });
            }
        };
        let bytes = bytes.cloned().unwrap_or_default();
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
        let Some((name, held)) = self.members.find(path, wanted_by)? else {
            return Ok(None);
        };
        let data = match held {
            Held::Layer(ticket) => LayerData::Passed(*ticket),
            Held::Document(number) => LayerData::There(LayerKey(*number)),
            Held::NotKept => {
                return Err(LoadError::NotKept {
                    member: text(name),
                    limit: MAX_KEPT,
                });
            }
            Held::TooLarge(_) | Held::Nothing => {
                return Err(LoadError::NotALayer { member: text(name) });
            }
        };
        Ok(Some((name.to_vec(), data)))
    }
}
