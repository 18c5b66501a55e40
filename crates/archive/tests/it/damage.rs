//! Archives of every format that are cut off, or have one byte changed: an error or a right
//! result, never a panic, and nothing left behind.
//!
//! The quick tests take some of the lengths and changes, other ones from place to place; the
//! slow ones (`cargo xtask damage`) take all lengths, and many changes of every byte, as far
//! as their time goes.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lith_archive::oci::Document;
use lith_archive::{
    DockerLayout, Format, Input, LoadError, LoadOptions, LoadReport, SaveOptions, Target, load,
};
use lith_store::ImageId;

use crate::oci::for_two_platforms;
use crate::support::{Image, Root, Tar, gzip, members};

const NAME: &str = "example.com/damaged:1";

/// What is put in the place of a byte: what ends a text, a list or a number, what is no text,
/// and digits that are others.
const CHANGES: [u8; 14] = *b"\"{}[]:,\\0af \0\xff";

/// An archive, and what it holds.
struct Sample {
    format: &'static str,
    archive: Vec<u8>,
    /// The images, and the index that has them.
    images: Vec<ImageId>,
    /// Whether all platforms are loaded.
    whole: bool,
}

/// One small archive of each format.
fn samples() -> Vec<Sample> {
    let image = Image::new(&["one"]);
    let root = Root::new();
    root.load_file(&image.archive(&[NAME])).unwrap();
    let docker = |layout| {
        let mut options = SaveOptions::default();
        options.docker_layout = layout;
        root.save_stream(&[NAME], &options)
    };
    let mut options = SaveOptions::default();
    options.format = Format::OciArchive;
    let oci = root.save_stream(&[NAME], &options);
    options.format = Format::DockerDir;
    let folder = root.path().join("docker-dir");
    root.save_to(&[NAME], Target::Folder(&folder), &options)
        .unwrap();
    let sample = |format, archive| Sample {
        format,
        archive,
        images: vec![image.id()],
        whole: false,
    };
    let mut samples = vec![
        sample("docker-archive", docker(DockerLayout::Default)),
        sample("docker-archive dirs", docker(DockerLayout::Dirs)),
        sample("docker-archive blobs", docker(DockerLayout::Blobs)),
        sample("oci-archive", oci),
        sample("docker-dir", packed(&folder)),
    ];
    let v1 = v1_part(&docker(DockerLayout::Dirs));
    let id = Root::new().load_file(&v1).unwrap().images[0].id;
    samples.push(Sample {
        images: vec![id],
        ..sample("v1", v1)
    });
    let (layout, here, there) = for_two_platforms(NAME);
    let top = Document::parse(&layout.0["index.json"]).unwrap();
    let Document::Index(top) = top else { panic!() };
    let index = ImageId::from_bytes(*top.manifests[0].digest.as_bytes());
    samples.push(Sample {
        images: vec![there.id(), here.id(), index],
        whole: true,
        ..sample("oci index", layout.tar())
    });
    samples
}

/// The files of a folder as a tar.
fn packed(folder: &Path) -> Vec<u8> {
    let mut tar = Tar::new();
    let mut names: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    for path in names {
        let name = path.file_name().unwrap().to_str().unwrap();
        tar.file(name, &fs::read(&path).unwrap());
    }
    tar.finish()
}

fn v1_part(archive: &[u8]) -> Vec<u8> {
    let mut tar = Tar::new();
    for (name, (kind, _, content)) in members(archive) {
        let newer = name.ends_with(".json") && !name.contains('/');
        if kind == b'0' && !newer {
            tar.file(&name, &content);
        }
    }
    tar.finish()
}

/// Where the documents of an archive are.
fn documents(archive: &[u8]) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let entry = entry.unwrap();
        let at = usize::try_from(entry.raw_file_position()).unwrap();
        let end = at + usize::try_from(entry.size()).unwrap();
        if matches!(archive[at..end].first(), Some(b'{' | b'[')) {
            ranges.push(at..end);
        }
    }
    ranges
}

/// A store that has to be the same after every attempt.
struct Bench {
    root: Root,
    before: BTreeSet<PathBuf>,
    archive: PathBuf,
}

#[derive(Clone, Copy, Debug)]
enum Way {
    File,
    Pipe,
}

impl Bench {
    fn new() -> Bench {
        let root = Root::new();
        // The folders of work appear with the first load.
        let report = root
            .load_file(&Image::new(&["first"]).archive(&["first:1"]))
            .unwrap();
        root.remove(&[&report.images[0].id.to_string()], true)
            .unwrap();
        let before = tree(&root);
        let archive = root.path().join("archive");
        Bench {
            root,
            before,
            archive,
        }
    }

    fn load(&self, archive: &[u8], way: Way, whole: bool) -> Result<LoadReport, LoadError> {
        let mut options = LoadOptions::default();
        options.all_platforms = whole;
        match way {
            Way::Pipe => self.root.load_stream_with(archive, &options),
            Way::File => {
                fs::write(&self.archive, archive).unwrap();
                let input = Input::File(self.archive.clone());
                load(&self.root.graph, input, &options, &())
            }
        }
    }

    /// Loads, checks what came of it, and takes it out again; the image, when there is one.
    fn survives(
        &self,
        archive: &[u8],
        (way, whole): (Way, bool),
        context: &dyn Fn() -> String,
    ) -> Result<LoadReport, LoadError> {
        let result = self.load(archive, way, whole);
        if let Ok(report) = &result {
            for image in &report.images {
                let record = self.root.graph.store().image(&image.id).unwrap().unwrap();
                let document = record.index.as_ref().map(|index| &index.document);
                let document = document.unwrap_or(&record.config);
                assert_eq!(ImageId::of_bytes(document), image.id, "{}", context());
                for layer in &record.layers {
                    let there = self.root.graph.store().has_layer(layer).unwrap();
                    assert!(there, "{}", context());
                }
            }
            // An index goes before its images, and with them.
            for image in report.images.iter().rev() {
                if self.root.graph.store().has_image(&image.id).unwrap() {
                    self.root.remove(&[&image.id.to_string()], true).unwrap();
                }
            }
        }
        self.root.assert_empty(&context());
        assert_eq!(tree(&self.root), self.before, "{}", context());
        result
    }

    fn truncated(&self, sample: &Sample, length: usize, way: Way) {
        let whole = sample.archive.len();
        let context = || format!("{}: {length} of {whole} bytes, {way:?}", sample.format);
        let result = self.survives(&sample.archive[..length], (way, sample.whole), &context);
        match result {
            Ok(report) => {
                assert_eq!(ids(&report), sample.images, "{}", context());
                let marked = length >= whole - 512;
                assert!(marked || !report.warnings.is_empty(), "{}", context());
            }
            Err(LoadError::Empty) => assert_eq!(length, 0),
            Err(LoadError::NotAnArchive) => assert!(length < 512, "{}", context()),
            Err(LoadError::Truncated { offset, .. }) => {
                assert!(offset <= length as u64, "{}: {offset}", context());
            }
            Err(error) => panic!("{}: {error}", context()),
        }
    }

    fn changed(&self, sample: &Sample, at: usize, byte: u8, way: Way) {
        let mut archive = sample.archive.clone();
        if archive[at] == byte {
            return;
        }
        archive[at] = byte;
        let context = || format!("{}: byte {at} is {byte:#x}, {way:?}", sample.format);
        // What is loaded is what the changed document says, under its own digest.
        drop(self.survives(&archive, (way, sample.whole), &context));
    }
}

fn ids(report: &LoadReport) -> Vec<ImageId> {
    report.images.iter().map(|image| image.id).collect()
}

/// Every path of a store, but its index and its locks.
fn tree(root: &Root) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![root.graph.store().root().path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with("lith.db") || name == "locks" {
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            }
            found.insert(entry.path());
        }
    }
    found
}

#[test]
fn whole_ones_are_loaded() {
    let bench = Bench::new();
    for sample in samples() {
        for way in [Way::File, Way::Pipe] {
            let context = || format!("{} {way:?}", sample.format);
            let report = bench
                .survives(&sample.archive, (way, sample.whole), &context)
                .unwrap();
            assert_eq!(ids(&report), sample.images, "{}", context());
            assert!(report.warnings.is_empty(), "{}: {:?}", context(), report);
        }
    }
}

#[test]
fn cut_off() {
    let bench = Bench::new();
    for (number, sample) in samples().iter().enumerate() {
        for length in 0..sample.archive.len() {
            // Both sides of each block's edge, and some within.
            if matches!(length % 512, 0 | 511) || length % 197 == number {
                let way = [Way::File, Way::Pipe][length / 197 % 2];
                bench.truncated(sample, length, way);
            }
        }
    }
}

#[test]
fn one_byte_changed() {
    let bench = Bench::new();
    for (number, sample) in samples().iter().enumerate() {
        for at in documents(&sample.archive).into_iter().flatten() {
            if at % 23 == number {
                let change = CHANGES[at / 23 % CHANGES.len()];
                let way = [Way::File, Way::Pipe][at % 2];
                bench.changed(sample, at, change, way);
            }
        }
    }
}

#[test]
fn cut_off_and_compressed() {
    let root = Root::new();
    let archive = gzip(&Image::new(&["one"]).archive(&[NAME]));
    for length in (0..archive.len()).step_by(5) {
        root.load_stream(&archive[..length]).unwrap_err();
        root.assert_empty(&length.to_string());
    }
}

/// How long each of the slow tests may take, in minutes: `cargo xtask damage` sets it.
const MINUTES: &str = "LITH_DAMAGE_MINUTES";

/// Makes `count` attempts on all processors, or as many as there is time for, spread over all.
fn slowly(count: usize, attempt: impl Fn(&Bench, usize) + Sync) {
    const STRIDE: usize = 1_000_003;
    let minutes = std::env::var(MINUTES).map_or(5, |text| text.parse().unwrap());
    let end = Instant::now() + Duration::from_secs(60 * minutes);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().unwrap().get() {
            scope.spawn(|| {
                let bench = Bench::new();
                while Instant::now() < end {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        break;
                    }
                    attempt(&bench, number * STRIDE % count);
                }
            });
        }
    });
    let made = next.into_inner().min(count);
    eprintln!("{made} of {count} attempts");
}

#[test]
#[ignore = "minutes: cargo xtask damage"]
fn slow_every_length() {
    let samples = samples();
    let lengths = samples.iter().enumerate().flat_map(|(number, sample)| {
        (0..sample.archive.len())
            .flat_map(move |length| [Way::File, Way::Pipe].map(|way| (number, length, way)))
    });
    let all: Vec<(usize, usize, Way)> = lengths.collect();
    slowly(all.len(), |bench, number| {
        let (sample, length, way) = all[number];
        bench.truncated(&samples[sample], length, way);
    });
}

#[test]
#[ignore = "minutes: cargo xtask damage"]
fn slow_every_byte_changed() {
    let samples = samples();
    let mut all = Vec::new();
    for (number, sample) in samples.iter().enumerate() {
        for at in documents(&sample.archive).into_iter().flatten() {
            let low_bit = sample.archive[at] ^ 1;
            for byte in CHANGES.into_iter().chain([low_bit]) {
                all.extend([Way::File, Way::Pipe].map(|way| (number, at, byte, way)));
            }
        }
    }
    slowly(all.len(), |bench, number| {
        let (sample, at, byte, way) = all[number];
        bench.changed(&samples[sample], at, byte, way);
    });
}
