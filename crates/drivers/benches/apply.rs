//! What creating the files of a layer costs: `cargo bench -p lith-drivers`.
//!
//! Each sample applies a layer of small files to a folder of its own, in memory where the machine offers
//! that, with the driver `vfs`, which looks at no parent. `tar -xf` of the same layer is the floor.
//! On a disk ext4 creates files slowly for minutes after the last sample's were deleted: `cargo xtask
//! bench images` has a fresh file system for each run.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a program for people"
)]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use criterion::{BatchSize, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use lith_drivers::{DraftBody, Driver, DriverOptions, Kept, Parent, open_driver};
use lith_tarsplit::Splitter;

const FILES: usize = 4000;

fn layer() -> Vec<u8> {
    let content = vec![b'x'; 700];
    let mut tar = tar::Builder::new(Vec::new());
    for number in 0..FILES {
        if number % 50 == 0 {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Directory);
            header.set_mode(0o755);
            header.set_size(0);
            let name = format!("folder-{}/", number / 50);
            tar.append_data(&mut header, name, std::io::empty())
                .unwrap();
        }
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        let name = format!("folder-{}/file-{number}", number / 50);
        tar.append_data(&mut header, name, &content[..]).unwrap();
    }
    tar.into_inner().unwrap()
}

fn apply(driver: &dyn Driver, tar: &[u8], kept: &Path, id: &str) {
    let mut draft = driver.prepare(Parent::None).unwrap();
    let mut kept = Kept::new(kept);
    let mut splitter = Splitter::new(tar, std::io::sink());
    while let Some(mut entry) = splitter.next_entry().unwrap() {
        let (metadata, payload) = entry.into_parts();
        if let DraftBody::Tree(tree) = draft.body() {
            tree.apply(metadata, payload, &mut kept).unwrap();
        }
    }
    splitter.finish().unwrap();
    draft.commit(&id.parse().unwrap(), None).unwrap();
}

fn small_files(criterion: &mut Criterion) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: layers keep their real owners, which needs root");
        return;
    }
    let tar = layer();
    let folder = match tempfile::tempdir_in("/dev/shm") {
        Ok(folder) => folder,
        Err(_) => tempfile::tempdir().unwrap(),
    };
    let archive = folder.path().join("layer.tar");
    fs::write(&archive, &tar).unwrap();
    let mut group = criterion.benchmark_group("apply");
    group
        .sampling_mode(SamplingMode::Flat)
        .sample_size(10)
        .measurement_time(Duration::from_secs(3))
        .throughput(Throughput::Elements(FILES as u64));
    let fresh = || tempfile::tempdir_in(folder.path()).unwrap();
    group.bench_function("4,000 small files", |b| {
        b.iter_batched(
            || {
                let folder = fresh();
                let home = folder.path().join("home");
                let options = DriverOptions::default();
                (open_driver("vfs", &home, &options).unwrap(), folder)
            },
            |(driver, folder)| {
                apply(&*driver, &tar, &folder.path().join("kept"), "layer");
                // Dropped when nobody counts the time.
                folder
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("4,000 small files, tar -xf", |b| {
        b.iter_batched(
            fresh,
            |folder| {
                let mut tar = Command::new("tar");
                tar.arg("-xf").arg(&archive).arg("-C").arg(folder.path());
                assert!(tar.status().unwrap().success());
                folder
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, small_files);
criterion_main!(benches);
