//! Memory does not grow with the stream. A binary of its own: its allocator counts for all threads.

use std::io::{self, Read};

use lith_tarsplit::{
    BinaryWriter, FileEntry, RecordReader, Splitter, assemble, disassemble_seekable,
};
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// A made stream: entries, and what stands behind the end. It takes no memory, however long it is.
#[derive(Clone)]
struct Tar {
    entries: u64,
    size: u64,
    behind: u64,
    at: u64,
    block: [u8; 512],
}

impl Tar {
    fn new(entries: u64, size: u64, behind: u64) -> Self {
        Self {
            entries,
            size,
            behind,
            at: 0,
            block: [0; 512],
        }
    }

    fn length(&self) -> u64 {
        self.entries * self.step() + 1024 + self.behind
    }

    fn step(&self) -> u64 {
        512 + self.size.next_multiple_of(512)
    }

    fn header(&mut self, index: u64) {
        let mut header = tar::Header::new_ustar();
        header
            .set_path(format!("folder{}/file{index}", index % 1000))
            .expect("a short path");
        header.set_size(self.size);
        header.set_mode(0o644);
        header.set_cksum();
        self.block = *header.as_bytes();
    }
}

impl Read for Tar {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let (index, within) = (self.at / self.step(), self.at % self.step());
        let length = if index < self.entries && within < 512 {
            if within == 0 {
                self.header(index);
            }
            (&self.block[within as usize..]).read(out)?
        } else {
            let end = if index < self.entries {
                (index + 1) * self.step()
            } else {
                self.length()
            };
            let length = (out.len() as u64).min(end - self.at) as usize;
            out[..length].fill(0);
            length
        };
        self.at += length as u64;
        Ok(length)
    }
}

impl io::Seek for Tar {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        let at = match to {
            io::SeekFrom::Start(at) => Some(at),
            io::SeekFrom::Current(by) => self.at.checked_add_signed(by),
            io::SeekFrom::End(by) => self.length().checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        if !self.at.is_multiple_of(self.step()) && self.at / self.step() < self.entries {
            self.header(self.at / self.step());
        }
        Ok(self.at)
    }
}

/// The most memory that `run` had at once, over what was there before.
fn peak<T>(run: impl FnOnce() -> T) -> (usize, T) {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let result = run();
    (MEMORY.peak_usage().saturating_sub(before), result)
}

fn split(tar: Tar) {
    let mut splitter = Splitter::new(tar, io::sink());
    while let Some(mut entry) = splitter.next_entry().expect("a tar") {
        let (_, payload) = entry.into_parts();
        let length = payload.fill_buf().expect("payload").len();
        payload.consume(length / 2);
    }
    splitter.finish().expect("the end");
}

/// A header that claims what is not there.
fn claim(flag: u8, size: u64) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().linkflag = [flag];
    header.set_size(size);
    header.set_cksum();
    let mut tar = header.as_bytes().to_vec();
    tar.extend([b'7'; 4000]);
    tar
}

// One test: the peak is one for the whole process.
#[test]
fn memory_is_bounded() {
    const MIB: usize = 1 << 20;

    // Splitting: the same for a few entries and many, small payloads and large, any junk behind.
    for (entries, size, behind) in [
        (1, 10, 0),
        (50_000, 10, 0),
        (3, 64 << 20, 0),
        (1, 10, 256 << 20),
    ] {
        let (peak, ()) = peak(|| split(Tar::new(entries, size, behind)));
        assert!(
            peak < MIB,
            "{entries} entries of {size} bytes, {behind} behind: {peak} bytes"
        );
    }

    // What a header claims costs nothing.
    for flag in *b"0xgLKSD" {
        for size in [1 << 20, 8 << 30, u64::MAX / 2] {
            let tar = claim(flag, size);
            let (peak, refused) = peak(|| {
                let mut splitter = Splitter::new(&tar[..], io::sink());
                while let Ok(Some(_)) = splitter.next_entry() {}
                splitter.finish().is_err()
            });
            assert!(
                peak < MIB,
                "type {} with {size} bytes: {peak} bytes",
                char::from(flag)
            );
            assert!(refused, "type {} with {size} bytes", char::from(flag));
        }
    }

    // Disassembling: at most 16 bytes an entry more.
    for entries in [1, 100_000, 200_000] {
        let tar = Tar::new(entries, 0, 0);
        let (peak, summary) = peak(|| disassemble_seekable(tar, io::sink(), None).expect("a tar"));
        assert_eq!(summary.entries, entries);
        let limit = MIB + entries as usize * 16;
        assert!(peak < limit, "{entries} entries: {peak} bytes");
    }

    records();
}

/// Reading records takes no more than a few lines of them.
fn records() {
    const MIB: usize = 1 << 20;
    // A line of 100 MB.
    let line = 100 << 20;
    let record = || {
        (&br#"{"type":2,"payload":""#[..])
            .chain(io::repeat(b'A').take(line))
            .chain(&b"\",\"position\":0}\n"[..])
    };
    let getter = |_: &FileEntry| Err(io::ErrorKind::NotFound.into());
    let (used, length) = peak(|| assemble(record(), getter, io::sink()));
    assert_eq!(length.expect("a record"), line / 4 * 3);
    assert!(used < 2 * MIB, "{used} bytes");

    let (used, converted) =
        peak(|| RecordReader::new(record()).copy_to(BinaryWriter::new(io::sink())));
    converted.expect("a record");
    assert!(used < 2 * MIB, "{used} bytes");

    // What a binary record claims costs nothing.
    for claim in [&b"\xff\xff\xff\x07"[..], b"\xfe\xff\xff\xff\xff\x0f"] {
        let record = [b"\x89tarrec\x01", claim, &[b'7'; 4000]].concat();
        let (used, refused) = peak(|| RecordReader::binary(&record[..]).next_item());
        assert!(refused.is_err());
        assert!(used < MIB, "{used} bytes");
    }
}
