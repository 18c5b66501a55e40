//! Archives with many images and many layers: all of them or none, with few descriptors.

use std::fs;
use std::io::{self, Cursor, Read};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lith_archive::{Input, LoadError, LoadOptions, LoadReport, RemoveOptions, load};
use lith_graph::{Graph, Observer};
use lith_store::OpenOptions;

use crate::support::{Image, Root, Tar};

/// Where the manifest stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Order {
    ManifestFirst,
    ManifestLast,
}

/// Images of one own layer each over a shared one.
fn images(count: usize) -> Vec<Image> {
    let own = |number: usize| Image::new(&["base", &format!("own-{number}")]);
    (0..count).map(own).collect()
}

fn archive(images: &[Image], order: Order) -> Vec<u8> {
    let mut tar = Tar::new();
    let names = |image: &Image| -> Vec<String> {
        (0..image.layers.len())
            .map(|index| image.layer_name(index))
            .collect()
    };
    let items: Vec<_> = images
        .iter()
        .enumerate()
        .map(|(number, image)| {
            serde_json::json!({
                "Config": format!("{number}.json"),
                "RepoTags": [format!("many:{number}")],
                "Layers": names(image),
            })
        })
        .collect();
    let manifest = serde_json::Value::from(items).to_string();
    let documents = |tar: &mut Tar| {
        tar.file("manifest.json", manifest.as_bytes());
        for (number, image) in images.iter().enumerate() {
            tar.file(&format!("{number}.json"), &image.config);
        }
    };
    if order == Order::ManifestFirst {
        documents(&mut tar);
    }
    let mut written = std::collections::HashSet::new();
    for image in images {
        for (name, layer) in names(image).iter().zip(&image.layers) {
            if written.insert(name.clone()) {
                tar.file(name, layer);
            }
        }
    }
    if order == Order::ManifestLast {
        documents(&mut tar);
    }
    tar.finish()
}

fn stream(archive: &[u8]) -> Input {
    Input::Stream(Box::new(Cursor::new(archive.to_vec())))
}

fn assert_report(report: &LoadReport, images: &[Image]) {
    assert_eq!(report.images.len(), images.len());
    for (number, (loaded, image)) in report.images.iter().zip(images).enumerate() {
        assert_eq!(loaded.id, image.id());
        assert_eq!(loaded.names.len(), 1);
        assert!(loaded.moved.is_empty());
        // The base comes with the first.
        let new = if number == 0 { 2 } else { 1 };
        assert_eq!(
            (loaded.layers_new, loaded.layers_reused),
            (new, 2 - new),
            "{number}"
        );
        let new = image.layers.iter().rev().take(new);
        assert_eq!(
            loaded.bytes,
            new.map(|layer| layer.len() as u64).sum::<u64>()
        );
    }
}

#[test]
fn the_report_is_exact_in_any_order() {
    let images = images(40);
    for order in [Order::ManifestFirst, Order::ManifestLast] {
        let archive = archive(&images, order);
        let root = Root::new();
        assert_report(&root.load_file(&archive).unwrap(), &images);
        let root = Root::new();
        assert_report(&root.load_stream(&archive).unwrap(), &images);
        let again = root.load_stream(&archive).unwrap();
        let new: usize = again.images.iter().map(|image| image.layers_new).sum();
        assert_eq!(new, 0);
        assert_eq!(root.graph.store().events(0, 1000).unwrap().len(), 80);
    }
}

/// Loads into a fresh store, where from one effect on every effect fails, those of clearing up
/// too: so it is for a process that is killed. Gives the number of effects.
fn dying(root: &Root, archive: &[u8], death: usize, by_file: bool) -> (usize, bool) {
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&seen);
    let effects = root.graph.store().effects();
    effects.set_hook(Some(Arc::new(move |_| {
        if counter.fetch_add(1, Ordering::Relaxed) >= death {
            return Err(io::Error::other("dead"));
        }
        Ok(())
    })));
    let result = if by_file {
        root.load_file(archive)
    } else {
        root.load_stream(archive)
    };
    effects.set_hook(None);
    (seen.load(Ordering::Relaxed), result.is_ok())
}

#[test]
fn a_death_at_any_effect_leaves_all_or_none() {
    let images = images(20);
    let archive = archive(&images, Order::ManifestFirst);
    let (effects, loaded) = dying(&Root::new(), &archive, usize::MAX, true);
    assert!(loaded);
    let (mut all, mut none) = (0, 0);
    // The last ones are those that decide.
    let deaths = (0..effects).step_by(23);
    let last = (effects.saturating_sub(70)..effects).step_by(4);
    for (number, death) in deaths.chain(last).enumerate() {
        let root = Root::new();
        let (_, loaded) = dying(&root, &archive, death, number % 2 == 0);
        root.reopen();
        let context = format!("death at effect {death} of {effects}, loaded: {loaded}");
        let store = root.graph.store();
        let names = store.names().unwrap().len();
        assert_eq!(store.images().unwrap().len(), names, "{context}");
        let layers = store.layers().unwrap().len();
        match names {
            0 => {
                none += 1;
                root.assert_empty(&context);
                assert!(!loaded, "{context}");
            }
            20 => {
                all += 1;
                assert_eq!(layers, 21, "{context}");
            }
            some => panic!("{some} of 20 images: {context}"),
        }
        let trees = root.graph.driver().list().unwrap().len();
        assert_eq!(trees, layers, "{context}");
        let staging = fs::read_dir(store.root().staging()).unwrap().count();
        assert_eq!(staging, 0, "{context}");
    }
    assert!(none > 5 && all > 0, "{none} none, {all} all");
}

/// Cancels when it has been asked this often.
struct Impatient(AtomicUsize);

impl Observer for Impatient {
    fn cancelled(&self) -> bool {
        let asked = |left: usize| Some(left.saturating_sub(1));
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, asked)
            == Ok(0)
    }
}

#[test]
fn cancelled_at_any_point_leaves_nothing() {
    let archive = archive(&images(20), Order::ManifestFirst);
    let root = Root::new();
    let path = root.path().join("archive");
    fs::write(&path, &archive).unwrap();
    let mut finished = [false; 2];
    for patience in (0..).step_by(9) {
        for (way, finished) in finished.iter_mut().enumerate() {
            let input = match way {
                0 => Input::File(path.clone()),
                _ => stream(&archive),
            };
            let observer = Impatient(AtomicUsize::new(patience));
            let result = load(&root.graph, input, &LoadOptions::default(), &observer);
            match result {
                Ok(_) => {
                    *finished = true;
                    let names: Vec<String> =
                        (0..20).map(|number| format!("many:{number}")).collect();
                    lith_archive::remove(&root.graph, &names, &RemoveOptions::default(), &())
                        .unwrap();
                }
                Err(error) => assert!(matches!(error, LoadError::Cancelled), "{error:?}"),
            }
            root.assert_empty(&format!("cancelled after {patience}"));
        }
        if finished == [true; 2] {
            assert!(patience > 40);
            return;
        }
    }
}

/// Watches the store while the stream passes.
struct Watched {
    stream: Cursor<Vec<u8>>,
    root: std::path::PathBuf,
    most: Arc<AtomicUsize>,
}

impl Read for Watched {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        // With the last of its documents everything is known in either order.
        if self.stream.position() < self.stream.get_ref().len() as u64 * 4 / 5 {
            let layers = fs::read_dir(self.root.join("layers"))?.count();
            self.most.fetch_max(layers, Ordering::Relaxed);
        }
        let want = buf.len().min(4096);
        self.stream.read(buf.get_mut(..want).unwrap_or_default())
    }
}

#[test]
fn layers_behind_the_manifest_get_their_places_as_they_pass() {
    let images = images(300);
    for (order, early) in [(Order::ManifestFirst, true), (Order::ManifestLast, false)] {
        let root = Root::new();
        let most = Arc::new(AtomicUsize::new(0));
        let watched = Watched {
            stream: Cursor::new(archive(&images, order)),
            root: root.graph.store().root().path().to_owned(),
            most: Arc::clone(&most),
        };
        let input = Input::Stream(Box::new(watched));
        let report = load(&root.graph, input, &LoadOptions::default(), &()).unwrap();
        assert_report(&report, &images);
        let most = most.load(Ordering::Relaxed);
        assert_eq!(most > 100, early, "{order:?}: {most}");
    }
}

const ROOT: &str = "LITH_TEST_FEW_DESCRIPTORS";
const FEW: u64 = 96;

/// What the test below runs in a process of its own.
#[test]
fn few_descriptors_in_a_process_of_its_own() {
    let Some(root) = std::env::var_os(ROOT) else {
        return;
    };
    let few = rustix::process::Rlimit {
        current: Some(FEW),
        maximum: Some(FEW),
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, few).unwrap();
    let images = images(300);
    for (name, order) in [
        ("first", Order::ManifestFirst),
        ("last", Order::ManifestLast),
    ] {
        let archive = archive(&images, order);
        let options = OpenOptions {
            create: true,
            driver: Some("vfs".into()),
            ..OpenOptions::default()
        };
        let path = Path::new(&root).join("archive");
        fs::write(&path, &archive).unwrap();
        for (way, input) in [("file", Input::File(path)), ("stream", stream(&archive))] {
            let root = Path::new(&root).join(format!("{name}-{way}"));
            let graph = Graph::open_root(&root, &options).unwrap();
            let report = load(&graph, input, &LoadOptions::default(), &()).unwrap();
            assert_report(&report, &images);
        }
    }
}

#[test]
fn few_descriptors_are_enough() {
    let dir = tempfile::tempdir().unwrap();
    let test = "many::few_descriptors_in_a_process_of_its_own";
    let output = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--test-threads=1"])
        .env(ROOT, dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 passed"), "{text}");
    assert!(dir.path().join("last-stream").exists());
}
