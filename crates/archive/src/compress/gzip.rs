//! gzip by several threads: blocks of one size are deflated on their own, each with the end of
//! the one before as its dictionary, so that the result does not depend on how many threads
//! there are and is little larger than one made in one go.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use flate2::{Compress, Compression, Crc, FlushCompress, Status};

use super::Content;
use crate::WriteError;

/// Bytes that are deflated at once. Changing it changes what comes out.
const BLOCK: usize = 1 << 20;

/// As far as deflate looks back.
const DICTIONARY: usize = 32 << 10;

const LEVEL: u32 = 6;

/// No name, no time, unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// More threads than this wait for the one that reads.
const MOST_THREADS: usize = 8;

/// A block and what is to be done with it.
struct Block {
    dictionary: Option<Arc<Vec<u8>>>,
    data: Arc<Vec<u8>>,
    last: bool,
    done: SyncSender<io::Result<Vec<u8>>>,
}

type Deflated = Receiver<io::Result<Vec<u8>>>;

/// Writes `content` to `out` as one gzip member.
pub(super) fn write(content: &mut Content<'_>, out: &mut dyn Write) -> Result<(), WriteError> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    write_by(threads.min(MOST_THREADS), content, out)
}

fn write_by(
    threads: usize,
    content: &mut Content<'_>,
    out: &mut dyn Write,
) -> Result<(), WriteError> {
    let output = |source| WriteError::Output { source };
    out.write_all(&HEADER).map_err(output)?;
    let mut crc = Crc::new();
    let first = read_block(content, &mut crc)?;
    if first.len() < BLOCK {
        // Most layers are small: no thread is worth it.
        let bytes = deflate(None, &first, true).map_err(output)?;
        out.write_all(&bytes).map_err(output)?;
    } else {
        blocks(threads, first, content, &mut crc, out)?;
    }
    let mut trailer = crc.sum().to_le_bytes().to_vec();
    // Modulo 2^32, as the format has it.
    trailer.extend_from_slice(&crc.amount().to_le_bytes());
    out.write_all(&trailer).map_err(output)
}

fn read_block(content: &mut Content<'_>, crc: &mut Crc) -> Result<Vec<u8>, WriteError> {
    let mut block = vec![0; BLOCK];
    let filled = content.read(&mut block)?.len();
    block.truncate(filled);
    crc.update(&block);
    Ok(block)
}

fn blocks(
    threads: usize,
    first: Vec<u8>,
    content: &mut Content<'_>,
    crc: &mut Crc,
    out: &mut dyn Write,
) -> Result<(), WriteError> {
    let (send, receive) = sync_channel::<Block>(threads);
    let receive = Mutex::new(receive);
    thread::scope(|scope| {
        // Moved in, so that the threads end when this one stops early.
        let send = send;
        for _ in 0..threads {
            scope.spawn(|| work(&receive));
        }
        let mut waiting: VecDeque<Deflated> = VecDeque::new();
        let mut dictionary = None;
        let mut data = Arc::new(first);
        loop {
            let next = Arc::new(read_block(content, crc)?);
            // A block after a full one may be empty: then the full one was the last.
            let last = next.is_empty();
            let (done, deflated) = sync_channel(1);
            let block = Block {
                dictionary: dictionary.replace(Arc::clone(&data)),
                data,
                last,
                done,
            };
            if send.send(block).is_err() {
                return Err(stopped());
            }
            waiting.push_back(deflated);
            if waiting.len() > 2 * threads {
                write_next(&mut waiting, out)?;
            }
            if last {
                break;
            }
            data = next;
        }
        while !waiting.is_empty() {
            write_next(&mut waiting, out)?;
        }
        Ok(())
    })
}

fn stopped() -> WriteError {
    let source = io::Error::other("a thread that compresses has stopped");
    WriteError::Output { source }
}

fn write_next(waiting: &mut VecDeque<Deflated>, out: &mut dyn Write) -> Result<(), WriteError> {
    let Some(next) = waiting.pop_front() else {
        return Ok(());
    };
    let bytes = next.recv().map_err(|_| stopped())?;
    let written = bytes.and_then(|bytes| out.write_all(&bytes));
    written.map_err(|source| WriteError::Output { source })
}

fn work(blocks: &Mutex<Receiver<Block>>) {
    loop {
        let block = blocks.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(block) = block else { return };
        let dictionary = block.dictionary.as_deref().map(Vec::as_slice);
        let deflated = deflate(dictionary, &block.data, block.last);
        // Nobody waits for it when the work has stopped early.
        let _ = block.done.send(deflated);
    }
}

/// Deflates a block that follows `before`.
///
/// An encoder that has seen other data, even when it is reset, may choose other matches: only a
/// new one gives the same bytes whichever thread it is.
fn deflate(before: Option<&[u8]>, data: &[u8], last: bool) -> io::Result<Vec<u8>> {
    let mut encoder = Compress::new(Compression::new(LEVEL), false);
    if let Some(before) = before {
        let from = before.len().saturating_sub(DICTIONARY);
        encoder.set_dictionary(before.get(from..).unwrap_or_default())?;
    }
    let flush = if last {
        FlushCompress::Finish
    } else {
        FlushCompress::Sync
    };
    let mut out = Vec::with_capacity(data.len() / 2 + 64);
    loop {
        let done = usize::try_from(encoder.total_in()).unwrap_or(usize::MAX);
        let rest = data.get(done..).unwrap_or_default();
        let status = encoder.compress_vec(rest, &mut out, flush)?;
        let done = usize::try_from(encoder.total_in()).unwrap_or(usize::MAX);
        // A full output may hide more.
        let room = out.len() < out.capacity();
        match status {
            Status::StreamEnd => return Ok(out),
            _ if !last && done >= data.len() && room => return Ok(out),
            _ => out.reserve(data.len() / 4 + 4096),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lith_store::DiffId;

    /// Three letters in no order: with many matches of equal length, an encoder has to choose.
    fn letters(length: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let letter = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) as u8 % 3
        };
        (0..length).map(letter).collect()
    }

    #[test]
    fn any_number_of_threads_gives_the_same() {
        let content = letters(8 * BLOCK + 77);
        let name = DiffId::of_bytes(b"");
        let by = |threads| {
            let mut source = &content[..];
            let mut content = Content {
                source: &mut source,
                name: &name,
                size: None,
                done: 0,
            };
            let mut out = Vec::new();
            write_by(threads, &mut content, &mut out).unwrap();
            out
        };
        let one = by(1);
        assert!(by(2) == one);
        assert!(by(5) == one);
        assert!(by(5) == one);
    }
}
