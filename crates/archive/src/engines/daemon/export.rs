//! One image out of an engine.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use bollard::Docker;
use bollard::errors::Error;
use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use lith_graph::Observer;

use super::client::{LOOK, PIECES, Talk};
use crate::members::{Contained, TarStream};
use crate::source::{Ask, Description, ImageSource, LayerOpener, PassingLayers};
use crate::{EngineAddress, EngineError, LoadError, Wanted};

/// An image of a running engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Daemon {
    /// The engine.
    pub address: EngineAddress,
    /// The image.
    pub image: Wanted,
}

impl ImageSource for Daemon {
    fn describe(
        self: Box<Self>,
        passing: &mut dyn PassingLayers,
        ask: &Ask<'_>,
    ) -> Result<(Description, Box<dyn LayerOpener>), LoadError> {
        let (send, pieces) = sync_channel(PIECES);
        let name = name(&self.image);
        let talk = Talk::start(&self.address, move |docker| export(docker, name, send))?;
        let failure = Arc::new(Mutex::new(None));
        let stream = Export {
            pieces: Some(pieces),
            piece: Bytes::new(),
            talk,
            failure: Arc::clone(&failure),
            observer: ask.observer,
        };
        let described = Box::new(Contained(TarStream::new(stream))).describe(passing, ask);
        let failure = failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let (described, opener) = match (described, failure) {
            (Err(_), _) if ask.observer.cancelled() => return Err(LoadError::Cancelled),
            // What became of the stream explains what is wrong with the archive.
            (_, Some(failure)) => return Err(failure.into()),
            (described, None) => described?,
        };
        match described.images.len() {
            1 => Ok((described, opener)),
            images => Err(EngineError::NotOne {
                address: self.address.to_string(),
                wanted: self.image.to_string(),
                images,
            }
            .into()),
        }
    }
}

/// The engine's word for an image: in full, so that it need not guess.
fn name(image: &Wanted) -> String {
    match (&image.name, &image.id) {
        // Hex digits that may be both are resolved by the engine, which also looks for the name
        // first.
        (Some(_), Some(id)) => id.clone(),
        (Some(name), None) => name.to_string(),
        (None, Some(id)) if id.len() == 64 => format!("sha256:{id}"),
        (None, id) => id.clone().unwrap_or_default(),
    }
}

/// Passes an export on, until it ends or nobody takes it any more.
async fn export(docker: Docker, name: String, to: SyncSender<Bytes>) -> Result<(), Error> {
    let mut stream = std::pin::pin!(docker.export_image(&name));
    while let Some(piece) = stream.next().await {
        // Waiting here holds the engine up, as it should: nothing else runs in this thread.
        if to.send(piece?).is_err() {
            break;
        }
    }
    Ok(())
}

/// An export as a stream of bytes.
struct Export<'a> {
    /// None when it has ended.
    pieces: Option<Receiver<Bytes>>,
    piece: Bytes,
    talk: Talk<()>,
    failure: Arc<Mutex<Option<EngineError>>>,
    observer: &'a dyn Observer,
}

impl Export<'_> {
    /// Waits for the next piece; false at the end.
    fn next(&mut self) -> io::Result<bool> {
        while let Some(pieces) = &self.pieces {
            match pieces.recv_timeout(LOOK) {
                Ok(piece) => {
                    self.piece = piece;
                    return Ok(true);
                }
                Err(RecvTimeoutError::Timeout) if self.observer.cancelled() => {
                    return Err(io::Error::other("stopped"));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.pieces = None;
                    if let Some(Err(error)) = self.talk.wait() {
                        let told = io::Error::other(error.to_string());
                        let failure = self.failure.lock();
                        *failure.unwrap_or_else(PoisonError::into_inner) = Some(error);
                        return Err(told);
                    }
                }
            }
        }
        Ok(false)
    }
}

impl Read for Export<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            if !self.next()? {
                return Ok(0);
            }
        }
        let length = self.piece.len().min(buf.len());
        if let Some(buf) = buf.get_mut(..length) {
            self.piece.copy_to_slice(buf);
        }
        Ok(length)
    }
}

impl Drop for Export<'_> {
    fn drop(&mut self) {
        // Before the thread is waited for: it may be waiting for room.
        self.pieces = None;
    }
}
