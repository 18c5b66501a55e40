//! One layer into a sink, and its digest: reading, hashing and writing go on side by side, with
//! a bounded number of bytes between them.

use std::io::{self, BufRead, ErrorKind, Read};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, ScopedJoinHandle};

use lith_graph::compression;
use lith_store::DiffId;
use sha2::{Digest as _, Sha256};

use crate::WriteError;
use crate::compress::{Form, Layer, Written};
use crate::members::read_full;
use crate::sink::ImageSink;

/// How much goes from hand to hand at once.
const PIECE: usize = 256 << 10;

/// How many pieces may wait for each that takes them.
const PIECES: usize = 8;

/// Why a layer did not arrive.
pub(super) enum Fed {
    /// It cannot be read.
    Content(io::Error),
    /// The sink does not take it.
    Sink(WriteError),
}

/// What came of a layer.
pub(super) struct Passed {
    pub(super) written: Written,
    pub(super) tar: Tar,
}

/// The tar that was read, whatever was written.
pub(super) struct Tar {
    pub(super) diff_id: DiffId,
    pub(super) size: u64,
}

/// Hands over a layer that is there as a whole.
pub(super) fn whole(sink: &dyn ImageSink, layer: Layer, mut content: &[u8]) -> Result<Passed, Fed> {
    let tar = check(content, &layer).map_err(Fed::Content)?;
    let written = sink.put_layer(layer, &mut content).map_err(Fed::Sink)?;
    Ok(Passed { written, tar })
}

/// Hands over a layer of which `start` was read.
pub(super) fn stream(
    sink: &dyn ImageSink,
    layer: Layer,
    start: Vec<u8>,
    rest: impl Read + Send,
) -> Result<Passed, Fed> {
    thread::scope(|scope| {
        let (to_sink, for_sink) = sync_channel(PIECES);
        let (to_check, for_check) = sync_channel(PIECES);
        let reading = scope.spawn(move || read(start, rest, &[to_sink, to_check]));
        let checking = scope.spawn(move || check(Pieces::new(for_check), &layer));
        let mut pieces = Pieces::new(for_sink);
        let written = sink.put_layer(layer, &mut pieces);
        // Whoever reads must not wait for a sink that has stopped.
        drop(pieces);
        let (read, tar) = (join(reading), join(checking));
        match (read, tar, written) {
            (Err(error), _, _) => Err(Fed::Content(error)),
            // Whose source broke off has nothing to say.
            (_, Err(error), _) if error.kind() != ErrorKind::ConnectionAborted => {
                Err(Fed::Content(error))
            }
            (_, _, Err(error)) => Err(Fed::Sink(error)),
            (_, Err(error), _) => Err(Fed::Content(error)),
            (_, Ok(tar), Ok(written)) => Ok(Passed { written, tar }),
        }
    })
}

fn join<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

/// Reads a layer's tar for its digest.
fn check(content: impl Read + Send, layer: &Layer) -> io::Result<Tar> {
    let mut tar: Box<dyn Read + Send + '_> = match layer.form {
        Form::Blob(_) => compression::reader(content)?.1,
        Form::Tar { .. } => Box::new(content),
    };
    let (mut hash, mut size) = (Sha256::new(), 0);
    let mut buffer = vec![0; PIECE];
    loop {
        let read = read_full(&mut tar, &mut buffer)?;
        match buffer.get(..read) {
            Some(bytes) if !bytes.is_empty() => {
                hash.update(bytes);
                size += bytes.len() as u64;
            }
            _ => {
                let diff_id = DiffId::from_bytes(hash.finalize().into());
                return Ok(Tar { diff_id, size });
            }
        }
    }
}

/// A piece of a layer; none marks its end, so that one that breaks off is not taken for one
/// that ends.
type Piece = Option<Arc<Vec<u8>>>;

/// Reads a layer for all that take it, until one of them does not want any more.
fn read(start: Vec<u8>, mut rest: impl Read, takers: &[SyncSender<Piece>]) -> io::Result<()> {
    let mut piece = start;
    loop {
        let end = piece.is_empty();
        let shared = Arc::new(piece);
        for taker in takers {
            let next = (!end).then(|| Arc::clone(&shared));
            if taker.send(next).is_err() {
                return Ok(());
            }
        }
        if end {
            return Ok(());
        }
        piece = vec![0; PIECE];
        let read = read_full(&mut rest, &mut piece)?;
        piece.truncate(read);
    }
}

/// A layer as it arrives.
struct Pieces {
    /// None when it has ended.
    from: Option<Receiver<Piece>>,
    piece: Arc<Vec<u8>>,
    at: usize,
}

impl Pieces {
    fn new(from: Receiver<Piece>) -> Pieces {
        Pieces {
            from: Some(from),
            piece: Arc::default(),
            at: 0,
        }
    }
}

impl BufRead for Pieces {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.at >= self.piece.len() {
            let Some(from) = &self.from else { break };
            match from.recv() {
                Ok(Some(piece)) => (self.piece, self.at) = (piece, 0),
                Ok(None) => self.from = None,
                Err(_) => return Err(ErrorKind::ConnectionAborted.into()),
            }
        }
        Ok(self.piece.get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, length: usize) {
        self.at += length;
    }
}

impl Read for Pieces {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buf)?;
        self.consume(read);
        Ok(read)
    }
}
