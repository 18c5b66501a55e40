//! How long work reports what it does.

use std::io::{self, BufRead, Read};

use bytes::Bytes;
use lith_tarsplit::Pieces;

/// Receives what happens while layers are read and written.
///
/// Nothing in the libraries prints: a command line draws a bar from these events, a
/// service counts them, a test collects them. Calls come from worker threads, often,
/// and must return quickly. `()` ignores everything.
pub trait Observer: Send + Sync {
    /// Takes note of one event.
    fn event(&self, event: &Event<'_>) {
        let _ = event;
    }

    /// Asked often: true stops the work at its next step, which undoes itself and ends
    /// with an error.
    fn cancelled(&self) -> bool {
        false
    }
}

impl Observer for () {}

/// One thing that happened.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Work on a layer begins; `total` is the number of transported bytes, where known.
    LayerStart {
        /// What the layer is called so far: a digest, or the name of an archive member.
        label: &'a str,
        /// Bytes to be read, where that is known beforehand.
        total: Option<u64>,
    },
    /// `done` bytes of the layer's tar have been worked on in all.
    LayerBytes {
        /// As in [`Event::LayerStart`].
        label: &'a str,
        /// Bytes of the uncompressed tar so far.
        done: u64,
    },
    /// Work on a layer has ended well.
    LayerDone {
        /// As in [`Event::LayerStart`].
        label: &'a str,
        /// Bytes of the uncompressed tar.
        bytes: u64,
        /// True when the store had the layer already, so that nothing was kept anew.
        reused: bool,
    },
    /// Something the user should know that does not stop the work.
    Warning {
        /// One sentence, lower case, without a full stop.
        message: &'a str,
    },
}

/// How many bytes pass between two progress events.
const REPORT_EVERY: u64 = 1 << 20;

/// Passes a layer's bytes on, tells the observer how many, and stops when it asks for that.
pub struct Metered<'a, R> {
    source: R,
    label: &'a str,
    observer: &'a dyn Observer,
    done: u64,
    reported: u64,
}

impl<'a, R> Metered<'a, R> {
    /// Meters `source`, called `label` in the events.
    pub fn new(source: R, label: &'a str, observer: &'a dyn Observer) -> Self {
        Self {
            source,
            label,
            observer,
            done: 0,
            reported: 0,
        }
    }

    fn check(&self) -> io::Result<()> {
        if self.observer.cancelled() {
            return Err(io::Error::other("the work was cancelled"));
        }
        Ok(())
    }

    fn count(&mut self, read: usize) {
        self.done += read as u64;
        if self.done - self.reported >= REPORT_EVERY {
            self.reported = self.done;
            self.observer.event(&Event::LayerBytes {
                label: self.label,
                done: self.done,
            });
        }
    }
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.check()?;
        let read = self.source.read(buf)?;
        self.count(read);
        Ok(read)
    }
}

impl<R: Pieces> Pieces for Metered<'_, R> {
    fn next_piece(&mut self) -> io::Result<Bytes> {
        self.check()?;
        let piece = self.source.next_piece()?;
        self.count(piece.len());
        Ok(piece)
    }
}

impl<R: BufRead> BufRead for Metered<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.check()?;
        self.source.fill_buf()
    }

    fn consume(&mut self, length: usize) {
        self.source.consume(length);
        self.count(length);
    }
}
