//! Taking out what nobody needs, and saying exactly what that frees.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use lith_archive::{
    Because, Item, Kept, PruneOptions, PruneReport, RemoveError, prune, select, untag,
};
use lith_graph::{Graph, Observer};
use lith_store::{ImageId, ImageRecord, Reference};

use crate::support::{Image, Root, Tar};

fn options(all: bool, dry_run: bool) -> PruneOptions {
    let mut options = PruneOptions::default();
    options.all = all;
    options.dry_run = dry_run;
    options
}

fn pruned(root: &Root, all: bool) -> PruneReport {
    prune(&root.graph, &options(all, false), &()).unwrap()
}

/// What the real `du` says of all that prune counts.
fn du(root: &Root) -> u64 {
    let root = root.graph.store().root().path();
    let places = ["images", "layers", "drivers"].map(|place| root.join(place));
    let output = Command::new("du")
        .arg("-csB1")
        .args(places)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let total = text.lines().last().unwrap().split_whitespace().next();
    total.unwrap().parse().unwrap()
}

/// Folders, hard links, a large file, and one with a hole in it once it is extracted.
fn odd_layer(name: &str) -> Vec<u8> {
    let mut tar = Tar::new();
    tar.folder("folder/");
    tar.file("folder/large", &[b'x'; 100_000]);
    tar.hard_link("folder/again", "folder/large");
    tar.hard_link("third", "folder/large");
    tar.symlink("link", "folder/large");
    tar.file("hole", b"");
    tar.file(&format!("file-{name}"), name.as_bytes());
    tar.finish()
}

fn make_holes(folder: &Path) -> usize {
    let mut made = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            made += make_holes(&entry.path());
        } else if entry.file_name() == "hole" {
            let file = fs::File::options().write(true).open(entry.path()).unwrap();
            file.set_len(10_000_000).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, b"end", 9_000_000).unwrap();
            made += 1;
        }
    }
    made
}

#[test]
fn a_dry_run_says_what_du_confirms() {
    for driver in ["vfs", "overlay"] {
        let root = Root::with_driver(driver);
        let base = Image::of(vec![odd_layer("base")]);
        let top = Image::of(vec![odd_layer("base"), odd_layer("top")]);
        let alone = Image::of(vec![odd_layer("alone"), odd_layer("above")]);
        root.load_file(&base.archive(&["base:1"])).unwrap();
        root.load_file(&top.archive(&[])).unwrap();
        root.load_file(&alone.archive(&["alone:1"])).unwrap();
        assert!(
            make_holes(&root.path().join("root/drivers")) >= 4,
            "{driver}"
        );
        root.graph.driver().sync().unwrap();
        for all in [false, true] {
            let before = du(&root);
            let planned = prune(&root.graph, &options(all, true), &()).unwrap();
            assert_eq!(du(&root), before, "{driver}: a dry run has done something");
            let done = pruned(&root, all);
            assert_eq!(before - du(&root), done.disk, "{driver}, all: {all}");
            let document = |report| serde_json::to_value(report).unwrap();
            assert_eq!(document(&planned), document(&done), "{driver}, all: {all}");
            let expected = if all { (2, 3) } else { (1, 1) };
            assert_eq!((done.images.len(), done.layers.len()), expected, "{driver}");
        }
        root.assert_empty(driver);
        assert_eq!(pruned(&root, true).disk, 0);
    }
}

#[test]
fn what_has_a_name_stays_and_names_go_with_all() {
    let root = Root::new();
    let image = Image::new(&["a", "b"]);
    root.load_file(&image.archive(&["app:1", "app:2"])).unwrap();
    let report = pruned(&root, false);
    assert!(report.images.is_empty() && report.layers.is_empty() && report.kept.is_empty());
    let report = pruned(&root, true);
    let names: Vec<String> = report.images[0]
        .names
        .iter()
        .map(Reference::familiar)
        .collect();
    assert_eq!(names, ["app:1", "app:2"]);
    // Each before the one below it.
    let parent_last = lith_store::LayerId::from_bytes(*image.diff_id(0).digest().as_bytes());
    assert_eq!(report.layers[1].id, parent_last);
    root.assert_empty("all pruned");
}

/// Why the one thing stays that is kept.
fn only(kept: &[Kept]) -> &Because {
    let [kept] = kept else { panic!("{kept:?}") };
    &kept.because
}

#[test]
fn what_is_held_or_mounted_stays() {
    let root = Root::new();
    let (held, mounted) = (Image::new(&["a", "b"]), Image::new(&["c"]));
    root.load_file(&held.archive(&["held:1"])).unwrap();
    root.load_file(&mounted.archive(&[])).unwrap();
    let selection = select(&root.graph, &["held:1".to_owned()]).unwrap();
    let top = root.graph.store().layers_of_image(&mounted.id()).unwrap()[0];
    let target = root.path().join("mounted");
    fs::create_dir(&target).unwrap();
    let mount = root.graph.mount(&top, &target).unwrap();

    let report = pruned(&root, true);
    assert_eq!((report.images.len(), report.layers.len()), (0, 0));
    assert_eq!(report.kept.len(), 2);
    for kept in &report.kept {
        match (&kept.item, &kept.because) {
            (Item::Image(id), Because::Sessions(_)) => assert_eq!(*id, held.id()),
            (Item::Image(id), Because::Mounted(places)) => {
                assert_eq!((*id, places), (mounted.id(), &vec![target.clone()]));
            }
            other => panic!("{other:?}"),
        }
    }
    drop(selection);
    assert!(matches!(
        only(&pruned(&root, true).kept),
        Because::Mounted(_)
    ));
    drop(mount);
    assert_eq!(pruned(&root, true).images.len(), 1);
    root.assert_empty("nothing is used");
}

#[test]
fn layers_that_no_image_has_stay_for_who_holds_them_or_keeps_them() {
    let root = Root::new();
    let store = root.graph.store();
    root.load_file(&Image::new(&["a", "b"]).archive(&["app:1"]))
        .unwrap();
    let selection = select(&root.graph, &["app:1".to_owned()]).unwrap();
    let layers = selection.images()[0].record.layers.clone();
    root.remove(&["app:1"], false).unwrap();
    let report = pruned(&root, false);
    // One word for the stack: the lower layer stays for the upper one.
    assert!(matches!(only(&report.kept), Because::Sessions(_)));
    assert_eq!(report.kept[0].item, Item::Layer(layers[1]));
    store.keep_layer(&layers[0]).unwrap();
    drop(selection);
    assert_eq!(store.layers().unwrap().len(), 1);
    assert_eq!(*only(&pruned(&root, true).kept), Because::Owner);
    store.unkeep_layer(&layers[0]).unwrap();
    assert_eq!(pruned(&root, false).layers.len(), 1);
    root.assert_empty("not kept any more");
}

/// An image without layers.
fn publish(graph: &Graph, text: &str, parent: Option<ImageId>, name: Option<&str>) -> ImageId {
    let config = format!("{{\"author\":\"{text}\"}}").into_bytes();
    publish_as(graph, ImageId::of_bytes(&config), config, parent, name)
}

fn publish_as(
    graph: &Graph,
    id: ImageId,
    config: Vec<u8>,
    parent: Option<ImageId>,
    name: Option<&str>,
) -> ImageId {
    let record = ImageRecord {
        id,
        config,
        manifest: None,
        layers: Vec::new(),
        parent,
        created: None,
        architecture: None,
        os: None,
        variant: None,
        size: 0,
        extra: std::collections::BTreeMap::new(),
        index: None,
    };
    let session = graph.store().begin().unwrap();
    graph.store().publish_image(&session, &record).unwrap();
    if let Some(name) = name {
        let name = Reference::parse(name).unwrap();
        graph.store().set_name(&session, &name, &id).unwrap();
    }
    session.end().unwrap();
    id
}

#[test]
fn an_image_stays_for_those_that_were_built_on_it() {
    let root = Root::new();
    let graph = &root.graph;
    let ground = publish(graph, "ground", None, None);
    let middle = publish(graph, "middle", Some(ground), None);
    let top = publish(graph, "top", Some(middle), Some("top:1"));
    publish(graph, "alone", None, None);
    let report = pruned(&root, false);
    assert_eq!(report.images.len(), 1);
    let parents = [(ground, middle), (middle, top)];
    assert_eq!(report.kept.len(), parents.len());
    for (parent, child) in parents {
        let kept = report
            .kept
            .iter()
            .find(|kept| kept.item == Item::Image(parent));
        assert_eq!(kept.unwrap().because, Because::Parent(vec![child]));
    }
    untag(graph, &["top:1".to_owned()], &()).unwrap();
    // Two that say of each other that they were built on it keep nobody.
    let other = ImageId::of_bytes(b"{\"author\":\"two\"}");
    let one = publish(graph, "one", Some(other), None);
    assert_eq!(publish(graph, "two", Some(one), None), other);
    assert_eq!(pruned(&root, false).images.len(), 5);
    root.assert_empty("no names");
}

/// Does something between the plan and the first step.
struct Between<F>(Mutex<Option<F>>);

impl<F: FnOnce() + Send> Observer for Between<F> {
    fn cancelled(&self) -> bool {
        if let Some(act) = self.0.lock().unwrap().take() {
            act();
        }
        false
    }
}

fn between(root: &Root, all: bool, act: impl FnOnce() + Send) -> PruneReport {
    let observer = Between(Mutex::new(Some(act)));
    prune(&root.graph, &options(all, false), &observer).unwrap()
}

#[test]
fn what_happens_after_the_plan_counts() {
    let image = Image::new(&["a", "b"]);
    let archive = image.archive(&["app:1"]);
    let id = image.id();
    let loaded = || {
        let root = Root::new();
        root.load_file(&archive).unwrap();
        root
    };

    // Named again, as an unnamed image and as one whose names were to go.
    for all in [false, true] {
        let root = loaded();
        if !all {
            untag(&root.graph, &["app:1".to_owned()], &()).unwrap();
        }
        let report = between(&root, all, || {
            let session = root.graph.store().begin().unwrap();
            let name = Reference::parse("app:2").unwrap();
            root.graph.store().set_name(&session, &name, &id).unwrap();
        });
        assert_eq!(
            (report.images.len(), report.layers.len(), report.disk),
            (0, 0, 0)
        );
        let images = report
            .kept
            .iter()
            .filter(|kept| kept.item == Item::Image(id));
        let reasons: Vec<_> = images.map(|kept| kept.because.word()).collect();
        assert_eq!(reasons, ["named"], "all: {all}");
        let names = root.graph.store().names_of(&id).unwrap().len();
        assert_eq!(names, if all { 2 } else { 1 });
    }

    // Loaded again, to the name that was to go.
    let (root, other) = (loaded(), Image::new(&["a", "c"]));
    let report = between(&root, true, || {
        drop(root.load_file(&other.archive(&["app:1"])).unwrap());
    });
    assert_eq!((report.images.len(), report.layers.len()), (1, 1));
    assert!(report.images[0].names.is_empty(), "the name had moved");
    assert_eq!(root.graph.store().names().unwrap()[0].1, other.id());
    root.save(&["app:1"]);

    // Held, and mounted.
    let root = loaded();
    let selection = Mutex::new(None);
    let report = between(&root, true, || {
        *selection.lock().unwrap() = Some(select(&root.graph, &["app:1".to_owned()]).unwrap());
    });
    assert_eq!((report.images.len(), report.layers.len()), (0, 0));
    assert_eq!(report.kept[0].because.word(), "sessions");
    drop(selection);
    root.save(&["app:1"]);

    let target = root.path().join("mounted");
    fs::create_dir(&target).unwrap();
    let top = *root
        .graph
        .store()
        .layers_of_image(&id)
        .unwrap()
        .last()
        .unwrap();
    let mount = Mutex::new(None);
    let report = between(&root, true, || {
        *mount.lock().unwrap() = Some(root.graph.mount(&top, &target).unwrap());
    });
    drop(mount);
    assert_eq!((report.images.len(), report.layers.len()), (0, 0));
    assert_eq!(report.kept[0].because.word(), "mounted");

    // Removed by somebody else: nothing to report.
    let report = between(&root, true, || {
        drop(root.remove(&["app:1"], false).unwrap());
    });
    assert_eq!(
        (report.images.len(), report.layers.len(), report.kept.len()),
        (0, 0, 0)
    );
    root.assert_empty("removed meanwhile");
}

/// Asks to stop when it is asked for the n-th time.
struct StopAt(std::sync::atomic::AtomicUsize);

impl Observer for StopAt {
    fn cancelled(&self) -> bool {
        self.0.fetch_sub(1, std::sync::atomic::Ordering::Relaxed) == 1
    }
}

#[test]
fn an_interruption_tells_what_was_done() {
    for stop_at in 1..=4 {
        let root = Root::new();
        root.load_file(&Image::new(&["a"]).archive(&[])).unwrap();
        root.load_file(&Image::new(&["b"]).archive(&[])).unwrap();
        let before = du(&root);
        let stop = StopAt(stop_at.into());
        let result = prune(&root.graph, &PruneOptions::default(), &stop);
        let Err(RemoveError::Pruned { done, source }) = result else {
            panic!("{stop_at}: {result:?}")
        };
        assert!(matches!(*source, RemoveError::Cancelled), "{source}");
        assert_eq!(done.images.len(), (stop_at - 1).min(2), "{stop_at}");
        assert_eq!(done.layers.len(), stop_at.saturating_sub(3), "{stop_at}");
        assert_eq!(before - du(&root), done.disk, "{stop_at}");
        root.reopen();
        let left = 2 - done.images.len();
        assert_eq!(
            root.graph.store().layers().unwrap().len(),
            left,
            "{stop_at}"
        );
        pruned(&root, false);
        root.assert_empty("pruned again");
    }
}
