//! Images into an engine.

use std::io::{self, Write};

use bollard::Docker;
use bollard::errors::Error;
use bollard::query_parameters::ImportImageOptionsBuilder;
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use lith_graph::Observer;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::client::{PIECES, Talk};
use crate::{EngineAddress, EngineError};

/// How much is sent at once.
const PIECE: usize = 128 << 10;

/// How long to wait for room.
const AGAIN: std::time::Duration = std::time::Duration::from_millis(1);

/// Writes a docker-archive into a running engine.
///
/// Only [`DaemonImport::finish`] makes the engine take it: dropping this before leaves the engine with
/// a connection that broke off, of which it keeps nothing.
///
/// ```no_run
/// use lith_archive::{DaemonImport, EngineAddress};
///
/// let mut engine = DaemonImport::start(&EngineAddress::default(), &())?;
/// std::io::copy(&mut std::fs::File::open("app.tar")?, &mut engine)?;
/// for line in engine.finish()? {
///     println!("{line}");
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct DaemonImport<'a> {
    /// None when the archive has ended. Before that comes the mark of its end, so that an archive
    /// that breaks off is not taken for one that ends.
    pieces: Option<mpsc::Sender<Option<Bytes>>>,
    piece: BytesMut,
    talk: Talk<Vec<String>>,
    address: EngineAddress,
    observer: &'a dyn Observer,
}

impl<'a> DaemonImport<'a> {
    /// Connects to an engine.
    ///
    /// # Errors
    /// When no thread can be started for it. An engine that is not there shows at the first write
    /// that does not fit into the buffers, or at the end.
    pub fn start(
        address: &EngineAddress,
        observer: &'a dyn Observer,
    ) -> Result<DaemonImport<'a>, EngineError> {
        let (pieces, receive) = mpsc::channel(PIECES);
        let talk = Talk::start(address, move |docker| import(docker, receive))?;
        Ok(DaemonImport {
            pieces: Some(pieces),
            piece: BytesMut::with_capacity(PIECE),
            talk,
            address: address.clone(),
            observer,
        })
    }

    /// Ends the archive and waits until the engine has taken it; gives what the engine says, by
    /// lines.
    ///
    /// # Errors
    /// An engine that is not there, refuses, or hangs up: also when that was why a write failed
    /// before.
    pub fn finish(mut self) -> Result<Vec<String>, EngineError> {
        // When this fails the connection has the reason, and is about to tell it.
        let _ = self.send().and_then(|()| self.push(None));
        self.pieces = None;
        while !self.talk.is_over() {
            if self.observer.cancelled() {
                return Err(self.stopped());
            }
            std::thread::sleep(AGAIN);
        }
        self.talk.wait().unwrap_or_else(|| Err(self.stopped()))
    }

    fn stopped(&self) -> EngineError {
        EngineError::Stopped {
            address: self.address.to_string(),
        }
    }

    /// Sends what has gathered.
    fn send(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = self.piece.split().freeze();
        self.piece.reserve(PIECE);
        self.push(Some(piece))
    }

    fn push(&mut self, mut piece: Option<Bytes>) -> io::Result<()> {
        loop {
            let Some(pieces) = &self.pieces else {
                return Err(io::ErrorKind::BrokenPipe.into());
            };
            match pieces.try_send(piece) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(back)) => piece = back,
                Err(TrySendError::Closed(_)) => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
            if self.observer.cancelled() {
                self.pieces = None;
                return Err(io::Error::other("stopped"));
            }
            std::thread::sleep(AGAIN);
        }
    }
}

impl Write for DaemonImport<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let room = PIECE.saturating_sub(self.piece.len());
        let taken = buf.get(..buf.len().min(room)).unwrap_or_default();
        self.piece.extend_from_slice(taken);
        if self.piece.len() >= PIECE {
            self.send()?;
        }
        Ok(taken.len())
    }

    /// Sends what is there, and does not wait for the engine to take it.
    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}

/// Sends the pieces as they come; gives the lines of the answer.
async fn import(
    docker: Docker,
    pieces: mpsc::Receiver<Option<Bytes>>,
) -> Result<Vec<String>, Error> {
    let body = stream::unfold(Some(pieces), |pieces| async {
        let mut pieces = pieces?;
        match pieces.recv().await {
            Some(Some(piece)) => Some((Ok(piece), Some(pieces))),
            Some(None) => None,
            // Nobody will end it: the engine must not take this for the end.
            None => Some((Err(io::Error::other("the archive broke off")), None)),
        }
    });
    let options = ImportImageOptionsBuilder::default().quiet(true).build();
    let mut answer = std::pin::pin!(docker.import_image_stream(options, body, None));
    let mut lines = Vec::new();
    while let Some(line) = answer.next().await {
        let text = line?.stream.unwrap_or_default();
        lines.extend(
            text.lines()
                .filter(|line| !line.is_empty())
                .map(str::to_owned),
        );
    }
    Ok(lines)
}
