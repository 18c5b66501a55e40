//! What a layer costs over a parent of 60,000 files: the time of a snapshot, whatever the parent holds.
//!
//! Needs root, `mkfs.btrfs` and a loop device; says so where there is none of them.

// Helpers of benchmarks fail by panicking.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

#[path = "../tests/it/disk.rs"]
#[allow(dead_code, reason = "it is the tests', too")]
mod disk;

use criterion::{Criterion, criterion_group, criterion_main};
use lith_drivers::{CacheId, DraftBody, Driver, Kept, Parent};
use lith_tarsplit::{EntryHeader, Splitter};

const FILES: usize = 60_000;

fn tar(files: impl Iterator<Item = String>) -> Vec<u8> {
    let mut tar = Vec::new();
    for name in files {
        tar.extend_from_slice(&EntryHeader::new(b'0', name.as_bytes()).to_bytes());
    }
    tar.resize(tar.len() + 1024, 0);
    tar
}

fn layer(driver: &dyn Driver, parent: Option<&CacheId>, tar: &[u8]) -> CacheId {
    let id = CacheId::random();
    let over = parent.map_or(Parent::None, Parent::Known);
    let mut draft = driver.prepare(over).unwrap();
    let DraftBody::Tree(tree) = draft.body() else {
        panic!("it keeps trees");
    };
    let mut kept = Kept::new(&std::env::temp_dir().join("no-such-folder"));
    let mut splitter = Splitter::new(tar, std::io::sink());
    while let Some(mut entry) = splitter.next_entry().unwrap() {
        let (metadata, payload) = entry.into_parts();
        tree.apply(metadata, payload, &mut kept).unwrap();
    }
    draft.commit(&id, parent).unwrap();
    id
}

fn over_many_files(c: &mut Criterion) {
    let Some(disk) = disk::Disk::new("a layer over 60,000 files") else {
        return;
    };
    let driver = disk.driver();
    let many = tar((0..FILES).map(|n| format!("d{}/f{n}", n / 100)));
    let base = layer(&*driver, None, &many);
    let one = tar(std::iter::once("new/file".to_owned()));
    let mut group = c.benchmark_group("btrfs");
    group.sample_size(10);
    group.bench_function("a layer over 60,000 files", |b| {
        b.iter(|| layer(&*driver, Some(&base), &one));
    });
    group.finish();
}

criterion_group!(benches, over_many_files);
criterion_main!(benches);
