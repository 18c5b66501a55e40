//! Reading a stream while it is decompressed and hashed on other threads.
//!
//! ```text
//! transport ─► [reader thread: decompress] ─┬─► Feed (the caller: split, record, apply)
//!                                           └─► [hash thread: SHA-256]
//! ```
//!
//! Both channels are bounded, so memory stays flat however far one side is ahead. A stream of less
//! than a chunk goes through no thread.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use bytes::Bytes;
use lith_tarsplit::Pieces;

use crate::buffers::Buffers;
use crate::hashed::Hashed;

/// Bytes that travel together.
const CHUNK: usize = 256 << 10;

/// Chunks that may wait in one channel.
const WAITING: usize = 16;

/// What the reader thread says.
enum Piece {
    Data(Bytes),
    /// The stream was read to its end. A channel that closes without it is a failure.
    End,
    Failed(io::Error),
}

/// The uncompressed bytes, for the one who works on them.
pub(crate) struct Feed {
    pieces: Receiver<Piece>,
    current: Bytes,
    ended: bool,
}

impl Feed {
    fn of(chunk: Vec<u8>) -> Feed {
        let (_, pieces) = sync_channel(1);
        Feed {
            pieces,
            current: chunk.into(),
            ended: true,
        }
    }

    fn failing(error: io::Error) -> Feed {
        let (to_work, pieces) = sync_channel(1);
        // There is room for one.
        let _ = to_work.send(Piece::Failed(error));
        Feed {
            pieces,
            current: Bytes::new(),
            ended: false,
        }
    }

    /// Waits for bytes when there are none. There are none after that at the end only.
    fn fill(&mut self) -> io::Result<()> {
        while self.current.is_empty() && !self.ended {
            match self.pieces.recv() {
                Ok(Piece::Data(chunk)) => self.current = chunk,
                Ok(Piece::End) => self.ended = true,
                Ok(Piece::Failed(error)) => return Err(error),
                Err(_) => return Err(io::Error::other("the reading thread stopped early")),
            }
        }
        Ok(())
    }
}

impl Pieces for Feed {
    fn next_piece(&mut self) -> io::Result<Bytes> {
        self.fill()?;
        Ok(std::mem::take(&mut self.current))
    }
}

impl Read for Feed {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.fill()?;
        let read = self.current.len().min(buf.len());
        let taken = self.current.split_to(read);
        if let Some(to) = buf.get_mut(..read) {
            to.copy_from_slice(&taken);
        }
        Ok(read)
    }
}

/// Lets `work` read `transport` uncompressed, and gives its result with the hash of all that
/// was there. The hash is `None` when the stream was not read to its end.
///
/// # Errors
/// When a thread cannot be started. Errors of the transport reach `work` through its feed.
pub(crate) fn hashed<T>(
    transport: &mut (dyn Read + Send),
    work: impl FnOnce(Feed) -> T,
) -> io::Result<(T, Option<Hashed>)> {
    let (first, source) = match first_chunk(transport) {
        Ok(Start::Whole(chunk)) => {
            let hashed = Hashed::of(&chunk);
            return Ok((work(Feed::of(chunk)), Some(hashed)));
        }
        Ok(Start::More(chunk, source)) => (io::Cursor::new(chunk), source),
        Err(error) => return Ok((work(Feed::failing(error)), None)),
    };
    thread::scope(|scope| {
        let (feed, outlets, chunks) = channels();
        let hasher = thread::Builder::new()
            .name("hash".into())
            .spawn_scoped(scope, move || Hashed::of_chunks(chunks))?;
        let reader = thread::Builder::new()
            .name("read".into())
            .spawn_scoped(scope, move || outlets.run(first.chain(source)))?;
        let result = work(feed);
        let whole = reader.join().unwrap_or(false);
        let hashed = hasher.join().ok().filter(|_| whole);
        Ok((result, hashed))
    })
}

/// How a stream begins, uncompressed.
enum Start<'a> {
    /// It has no more than this.
    Whole(Vec<u8>),
    More(Vec<u8>, Box<dyn Read + Send + 'a>),
}

/// Reads up to the size of a chunk: most layers of most images are no longer, and starting
/// threads for them would take longer than hashing them.
fn first_chunk(transport: &mut (dyn Read + Send)) -> io::Result<Start<'_>> {
    let (_, mut source) = crate::compression::reader(transport)?;
    let mut chunk = Vec::new();
    (&mut source).take(CHUNK as u64).read_to_end(&mut chunk)?;
    Ok(if chunk.len() < CHUNK {
        Start::Whole(chunk)
    } else {
        Start::More(chunk, source)
    })
}

fn channels() -> (Feed, Outlets, Receiver<Bytes>) {
    let (to_work, pieces) = sync_channel(WAITING);
    let (to_hash, chunks) = sync_channel(WAITING);
    let feed = Feed {
        pieces,
        current: Bytes::new(),
        ended: false,
    };
    (feed, Outlets { to_work, to_hash }, chunks)
}

/// Where the reader thread sends what it has read.
struct Outlets {
    to_work: SyncSender<Piece>,
    to_hash: SyncSender<Bytes>,
}

impl Outlets {
    /// Reads a source to its end; true when it got there and all was taken.
    fn run(self, source: impl Read) -> bool {
        match self.send(source) {
            Ok(ended) => ended,
            Err(error) => {
                // Nobody listens any more: then there is nobody to tell either.
                let _ = self.to_work.send(Piece::Failed(error));
                false
            }
        }
    }

    fn send(&self, mut source: impl Read) -> io::Result<bool> {
        let mut buffers = Buffers::new(CHUNK);
        loop {
            let (chunk, read) = buffers.read(&mut source);
            let last = read?;
            if self.to_hash.send(chunk.clone()).is_err()
                || self.to_work.send(Piece::Data(chunk)).is_err()
            {
                return Ok(false);
            }
            if last {
                return Ok(self.to_work.send(Piece::End).is_ok());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use lith_store::DiffId;
    use sha2::{Digest as _, Sha256};

    use super::*;

    /// Gives `good` bytes, then an error.
    struct Failing(usize);

    impl Read for Failing {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::Error::other("the disk fell out"));
            }
            let read = buf.len().min(self.0);
            buf[..read].fill(b'x');
            self.0 -= read;
            Ok(read)
        }
    }

    fn all(mut feed: Feed) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        feed.read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn the_reader_gets_every_byte_and_the_hash() {
        let data: Vec<u8> = (0..CHUNK * 3 + 17).map(|n| (n % 251) as u8).collect();
        let (read, hashed) = hashed(&mut data.as_slice(), all).unwrap();
        assert_eq!(read.unwrap(), data);
        let hashed = hashed.unwrap();
        assert_eq!(hashed.bytes, data.len() as u64);
        assert_eq!(
            hashed.diff_id,
            DiffId::from_bytes(Sha256::digest(&data).into())
        );
    }

    #[test]
    fn a_short_stream_and_none_at_all() {
        for data in [&b""[..], b"short", &[7; CHUNK - 1], &[7; CHUNK]] {
            let (read, hashed) = hashed(&mut &*data, all).unwrap();
            assert_eq!(read.unwrap(), data);
            let hashed = hashed.unwrap();
            assert_eq!(hashed.bytes, data.len() as u64);
            assert_eq!(hashed.diff_id, DiffId::of_bytes(data));
        }
        let (read, hashed) = hashed(&mut Failing(5), all).unwrap();
        assert_eq!(read.unwrap_err().to_string(), "the disk fell out");
        assert_eq!(hashed, None);
    }

    #[test]
    fn a_failing_source_is_an_error_and_has_no_hash() {
        let (read, hashed) = hashed(&mut Failing(CHUNK + 5), all).unwrap();
        assert_eq!(read.unwrap_err().to_string(), "the disk fell out");
        assert_eq!(hashed, None);
    }

    #[test]
    fn a_reader_that_stops_early_gets_no_hash() {
        let data = vec![0; CHUNK * 40];
        let ((), hashed) = hashed(&mut data.as_slice(), |mut feed| {
            feed.read_exact(&mut [0; 10]).unwrap();
        })
        .unwrap();
        assert_eq!(hashed, None);
    }
}
