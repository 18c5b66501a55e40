//! A tar that passes once: a pipe, or a file that is compressed as a whole.
//!
//! Layers come before anything says that they are layers. Content decides: what begins like a
//! tar or like a compressed stream is handed over as it passes, whatever its name; anything
//! else that is small enough is kept until a document says what it is.

use std::collections::HashSet;
use std::io::{Cursor, Read};

use lith_graph::Observer;
use lith_graph::compression::{self, Compression};
use lith_store::{DiffId, Digest};

use super::blob::{Blob, Measured};
use super::bytes::{Skip, Stream, read_full};
use super::named::Members;
use super::outer::{Content, Kind, Member, Outer};
use super::{Container, Contents, Document, FoundLayer, names};
use crate::LoadError;
use crate::detect;
use crate::error::text;
use crate::source::{
    Ask, LayerBytes, LayerData, LayerKey, LayerOpener, PassingLayers, Taken, Ticket,
};

/// Bytes of documents that are kept in memory, the first `manifest.json` not counted.
const MAX_KEPT: u64 = 32 << 20;

const MANIFEST: &[u8] = b"manifest.json";

/// How much of a member is looked at to tell what it is: the first block of a tar.
const HEAD: usize = compression::HEAD_LEN;

/// An uncompressed tar in a stream.
pub(crate) struct TarStream<R> {
    outer: Outer<Stream<R>>,
    members: Members<Held>,
    documents: Vec<Vec<u8>>,
    kept: u64,
    awaited: Awaited,
}

/// What is needed to describe the images and did not pass yet.
enum Awaited {
    /// Nobody knows.
    Unknown,
    Documents(HashSet<Vec<u8>>),
    /// Nothing: the images were announced.
    Nothing,
}

/// What is left of a member that has passed.
enum Held {
    Document(usize),
    Layer(PassedLayer),
    /// Neither a tar nor compressed, and too large for a document.
    TooLarge(u64),
    /// Small, but too much was kept already.
    NotKept,
    /// Never asked for: no regular file.
    Nothing,
}

#[derive(Clone, Copy)]
struct PassedLayer {
    ticket: Ticket,
    diff_id: Option<DiffId>,
    size: u64,
    blob: Option<Blob>,
}

impl<R: Read + Send> TarStream<R> {
    pub(crate) fn new(stream: R) -> TarStream<R> {
        TarStream {
            outer: Outer::new(Stream(stream)),
            members: Members::new(),
            documents: Vec::new(),
            kept: 0,
            awaited: Awaited::Unknown,
        }
    }

    /// Announces the images when with the document that came last enough has passed.
    fn announce(
        &mut self,
        path: &[u8],
        passing: &mut dyn PassingLayers,
        ask: &Ask<'_>,
    ) -> Result<(), LoadError> {
        let Ok(name) = names::clean(path) else {
            return Ok(());
        };
        let look = match &mut self.awaited {
            Awaited::Unknown => detect::is_root(&name),
            Awaited::Documents(awaited) => awaited.remove(&name) && awaited.is_empty(),
            Awaited::Nothing => false,
        };
        if !look {
            return Ok(());
        }
        let awaited = detect::lacking(self);
        match awaited {
            None => {}
            Some(awaited) if !awaited.is_empty() => self.awaited = Awaited::Documents(awaited),
            Some(_) => {
                self.awaited = Awaited::Nothing;
                // What is wrong with them is told when the whole archive has passed.
                if let Ok(described) = detect::describe(self, None, ask) {
                    passing.announce(described.images)?;
                }
            }
        }
        Ok(())
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
            return pass(member, head, content, passing).map(Held::Layer);
        }
        let name = names::clean(&member.path).unwrap_or_default();
        if member.size > super::limit(&name) {
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

    fn not_kept(name: &[u8]) -> LoadError {
        LoadError::NotKept {
            member: text(name),
            limit: MAX_KEPT,
        }
    }
}

/// Hands a member over that may be a layer. One that is named as blobs are is hashed as it is
/// transported, too.
fn pass<S: Skip + Send>(
    member: &Member,
    head: &[u8],
    content: Content<'_, S>,
    passing: &mut dyn PassingLayers,
) -> Result<PassedLayer, LoadError> {
    let mut whole = Cursor::new(head).chain(content);
    let (taken, blob, content) = if is_blob_name(&member.path) {
        let mut measured = Measured::new(whole);
        let taken = passing.take(&member.path, &mut measured);
        let (blob, whole) = measured.finish();
        (taken, blob.ok(), whole.into_inner().1)
    } else {
        let taken = passing.take(&member.path, &mut whole);
        (taken, None, whole.into_inner().1)
    };
    if let Some(failure) = content.failure() {
        return Err(failure);
    }
    let Taken { ticket, diff_id } = taken?;
    Ok(PassedLayer {
        ticket,
        diff_id,
        size: member.size,
        blob,
    })
}

/// True for names that end in 64 hex digits.
fn is_blob_name(path: &[u8]) -> bool {
    let name = path.rsplit(|byte| *byte == b'/').next();
    let name = name.and_then(|name| std::str::from_utf8(name).ok());
    name.is_some_and(|name| Digest::from_hex(name).is_ok())
}

fn read_error(failure: Option<LoadError>, member: &Member, source: std::io::Error) -> LoadError {
    failure.unwrap_or(LoadError::Read {
        offset: member.data,
        source,
    })
}

impl<R: Read + Send> Container for TarStream<R> {
    fn read(
        &mut self,
        passing: &mut dyn PassingLayers,
        ask: &Ask<'_>,
    ) -> Result<Option<u64>, LoadError> {
        while let Some(member) = self.outer.next()? {
            let held = match member.kind {
                Kind::Regular => self.regular(&member, passing)?,
                _ => Held::Nothing,
            };
            let document = matches!(held, Held::Document(_)).then(|| member.path.clone());
            self.members.add(member, held)?;
            if let Some(path) = document {
                self.announce(&path, passing, ask)?;
            }
        }
        let cut_off = (!self.outer.ended_well()).then(|| self.outer.position());
        self.outer.drain()?;
        Ok(cut_off)
    }

    fn into_opener(self) -> Box<dyn LayerOpener> {
        Box::new(Documents(self.documents))
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

impl<R: Read + Send> Contents for TarStream<R> {
    fn document(&self, path: &[u8], wanted_by: &str) -> Result<Option<Document>, LoadError> {
        let Some((name, held)) = self.members.find(path, wanted_by)? else {
            return Ok(None);
        };
        let bytes = match held {
            Held::Document(number) => self.documents.get(*number),
            Held::TooLarge(size) => {
                return Err(LoadError::TooLarge {
                    member: text(name),
                    size: *size,
                    limit: super::limit(name),
                });
            }
            Held::NotKept => return Err(Self::not_kept(name)),
            Held::Layer(_) | Held::Nothing => {
                return Err(LoadError::NotRegular {
                    member: text(name),
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

    fn layer(&self, path: &[u8], wanted_by: &str) -> Result<Option<FoundLayer>, LoadError> {
        let Some((name, held)) = self.members.find(path, wanted_by)? else {
            return Ok(None);
        };
        let (data, size, passed) = match held {
            Held::Layer(layer) => (LayerData::Passed(layer.ticket), layer.size, layer.blob),
            Held::Document(number) => {
                let size = self.documents.get(*number).map_or(0, Vec::len);
                (LayerData::There(LayerKey(*number)), size as u64, None)
            }
            Held::NotKept => return Err(Self::not_kept(name)),
            Held::TooLarge(_) | Held::Nothing => {
                return Err(LoadError::NotALayer { member: text(name) });
            }
        };
        Ok(Some(FoundLayer {
            member: name.to_vec(),
            data,
            size,
            passed,
        }))
    }

    fn diff_ids(
        &self,
        layers: &[FoundLayer],
        observer: &dyn Observer,
    ) -> Result<Vec<DiffId>, LoadError> {
        let documents = &self.documents;
        let open = |layer: &FoundLayer| match layer.data {
            LayerData::There(LayerKey(number)) => {
                Ok(documents.get(number).map(Vec::as_slice).unwrap_or_default())
            }
            _ => Err(super::not_a_layer(layer)),
        };
        let of = |layer: &FoundLayer| match self.members.find(&layer.member, "the archive")? {
            Some((_, Held::Layer(passed))) => {
                passed.diff_id.ok_or_else(|| LoadError::DamagedLayer {
                    member: text(&layer.member),
                })
            }
            _ => {
                let ids = super::diff_ids_of(std::slice::from_ref(layer), open, observer)?;
                let id = ids.into_iter().next();
                id.ok_or_else(|| super::not_a_layer(layer))
            }
        };
        layers.iter().map(of).collect()
    }

    fn has(&self, name: &[u8]) -> bool {
        self.members.has(name)
    }

    fn names(&self) -> Result<Vec<Vec<u8>>, LoadError> {
        Ok(self.members.names())
    }
}
