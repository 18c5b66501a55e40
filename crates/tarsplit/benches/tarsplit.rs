//! What the bytes and the entries of a layer cost without a disk: `cargo bench -p lith-tarsplit`.
//!
//! Three layers in memory: one of large files, where bytes count, one of small files, where
//! entries do, and 1 GB of such files as a Node application has. Each is split and put together again with both forms of the record.
#![allow(missing_docs, clippy::unwrap_used, reason = "a program for people")]

use std::hint::black_box;
use std::io::{self, Cursor, Read};
use std::sync::Arc;

use bytes::Bytes;
use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use lith_tarsplit::{
    Assembler, BinaryWriter, Crc64, FileEntry, Pieces, RecordReader, RecordSink, Splitter,
    TextWriter,
};

/// How much of a stream is handed on at once.
const PIECE: usize = 256 << 10;

/// A tar in memory as a stream brings it.
struct InPieces(Bytes);

impl Pieces for InPieces {
    fn next_piece(&mut self) -> io::Result<Bytes> {
        Ok(self.0.split_to(self.0.len().min(PIECE)))
    }
}

/// A tar of files that are all alike.
struct Layer {
    name: &'static str,
    content: Arc<[u8]>,
    tar: Bytes,
}

impl Layer {
    fn new(name: &'static str, files: usize, size: usize) -> Layer {
        let content: Arc<[u8]> = (0..size).map(|at| (at * 7 + at / 251) as u8).collect();
        let mut tar = tar::Builder::new(Vec::new());
        for number in 0..files {
            let mut header = tar::Header::new_gnu();
            header.set_size(size as u64);
            header.set_mode(0o644);
            let name = format!("usr/lib/folder-{}/file-{number}.js", number / 50);
            tar.append_data(&mut header, name, &content[..]).unwrap();
        }
        let tar = Bytes::from(tar.into_inner().unwrap());
        Layer { name, content, tar }
    }

    /// Splits it, with whoever takes the payloads doing nothing with them.
    fn split<S: RecordSink>(&self, record: S) -> S::Written {
        let mut splitter = Splitter::recording(InPieces(self.tar.clone()), record);
        while let Some(mut entry) = splitter.next_entry().unwrap() {
            let (_, payload) = entry.into_parts();
            loop {
                let ready = black_box(payload.fill_buf().unwrap()).len();
                if ready == 0 {
                    break;
                }
                payload.consume(ready);
            }
        }
        splitter.finish().unwrap().0
    }

    fn assemble(&self, record: RecordReader<&[u8]>, buffer: &mut [u8]) {
        let getter = |_: &FileEntry| -> io::Result<Box<dyn Read + Send>> {
            Ok(Box::new(Cursor::new(Arc::clone(&self.content))))
        };
        let mut tar = Assembler::reading(record, getter);
        let mut length = 0;
        loop {
            match black_box(tar.read(buffer).unwrap()) {
                0 => break,
                read => length += read,
            }
        }
        assert_eq!(length, self.tar.len());
    }

    fn measure(&self, group: &mut BenchmarkGroup<'_, WallTime>) {
        let Layer { name, .. } = self;
        group.throughput(Throughput::Bytes(self.tar.len() as u64));
        group.bench_function(format!("split, {name}, text"), |b| {
            b.iter(|| self.split(TextWriter::new(Vec::new())));
        });
        group.bench_function(format!("split, {name}, binary"), |b| {
            b.iter(|| self.split(BinaryWriter::new(Vec::new())));
        });
        let text = self.split(TextWriter::new(Vec::new()));
        let binary = self.split(BinaryWriter::new(Vec::new()));
        let mut buffer = vec![0; PIECE];
        group.bench_function(format!("assemble, {name}, text"), |b| {
            b.iter(|| self.assemble(RecordReader::new(&text[..]), &mut buffer));
        });
        group.bench_function(format!("assemble, {name}, binary"), |b| {
            b.iter(|| self.assemble(RecordReader::binary(&binary[..]), &mut buffer));
        });
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(format!("record, {name}, text to binary"), |b| {
            b.iter(|| {
                let record = RecordReader::new(&text[..]);
                record.copy_to(BinaryWriter::new(Vec::new())).unwrap()
            });
        });
    }
}

fn layers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tarsplit");
    group
        .sampling_mode(SamplingMode::Flat)
        .sample_size(10)
        .measurement_time(std::time::Duration::from_secs(3));
    Layer::new("256 MiB in large files", 16, 16 << 20).measure(&mut group);
    Layer::new("40,000 small files", 40_000, 700).measure(&mut group);
    Layer::new("1 GB in files of 5 kB", 160_000, 5_000).measure(&mut group);
    group.finish();
}

fn crc(criterion: &mut Criterion) {
    let bytes = vec![0x5a; 1 << 20];
    let mut group = criterion.benchmark_group("CRC-64");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("1 MiB", |b| {
        b.iter(|| {
            let mut crc = Crc64::new();
            crc.update(black_box(&bytes));
            crc.finish()
        });
    });
    group.finish();
}

criterion_group!(benches, layers, crc);
criterion_main!(benches);
