//! Moving a store to another driver: what comes out, what is refused, what an interruption leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use lith_graph::{
    CreateOptions, Descriptor, Event, Graph, GraphError, MigrateError, MigrateOptions, Migrated,
    Observer,
};
use lith_store::{
    ChainId, Digest, ImageId, ImageRecord, LayerId, OpenError, OpenOptions, Reference,
};

use crate::fixture::{Fixture, id, on_each_driver, plain, register, tar};

/// The other one of the two.
fn other(fixture: &Fixture) -> &'static str {
    match fixture.driver {
        "vfs" => "overlay",
        _ => "vfs",
    }
}

fn options(driver: &str) -> MigrateOptions {
    let mut options = MigrateOptions::new(driver);
    options.patience = Duration::from_millis(50);
    options
}

fn migrate(graph: Graph, driver: &str) -> Result<Migrated, MigrateError> {
    graph.migrate(&options(driver), &())
}

fn header(kind: tar::EntryType, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o4755);
    header.set_uid(1234);
    header.set_gid(5678);
    header.set_mtime(1_500_000_000);
    header
}

/// A layer of all that a driver treats in its own way: whiteouts, links within the layer and into lower
/// ones, names that come twice, payload where a tree has none, directories that nobody describes.
fn odd() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |name: &str, kind, content: &[u8]| {
        let mut header = header(kind, content.len() as u64);
        builder.append_data(&mut header, name, content).unwrap();
    };
    add(
        "dir/new",
        tar::EntryType::Regular,
        b"in a directory of the layer below",
    );
    add("twice", tar::EntryType::Regular, b"the first");
    add("twice", tar::EntryType::Regular, b"the second one");
    add("gone/.wh..wh..opq", tar::EntryType::Regular, b"");
    add(
        ".wh.lower",
        tar::EntryType::Regular,
        b"payload of a whiteout",
    );
    add(
        "deep/and/undescribed",
        tar::EntryType::Regular,
        &[7; 100_000],
    );
    add("becomes-a-directory", tar::EntryType::Regular, b"displaced");
    add(
        "becomes-a-directory/file",
        tar::EntryType::Regular,
        b"inside",
    );
    add("device", tar::EntryType::Fifo, b"");
    let mut link = |name: &str, target: &str, kind| {
        let mut header = header(kind, 0);
        builder.append_link(&mut header, name, target).unwrap();
    };
    link("hard", "twice", tar::EntryType::Link);
    link("hard-below", "dir/old", tar::EntryType::Link);
    link("soft", "/nowhere", tar::EntryType::Symlink);
    builder.into_inner().unwrap()
}

/// What a layer is, and its bytes.
type Facts = (lith_graph::Layer, Vec<u8>);

struct Filled {
    layers: BTreeMap<LayerId, Facts>,
    image: ImageId,
}

/// A store with a chain of three layers, a layer of its own ID, one that is kept, an image, two names.
fn fill(fixture: &Fixture) -> Filled {
    let graph = fixture.open();
    let store = graph.store();
    let session = store.begin().unwrap();
    let base = tar(&[("lower", b"1"), ("dir/old", b"22"), ("gone/x", b"333")]);
    let top = tar(&[("dir/old", b"replaced"), ("dir/new/er", b"y")]);
    let (first, _) = register(&graph, &session, None, &base);
    let (second, odd) = register(&graph, &session, Some(&first), &odd());
    let (third, _) = register(&graph, &session, Some(&second), &top);
    let digest = format!("sha256:{}", "5".repeat(64)).parse().unwrap();
    graph.set_layer_digest(&session, &odd.id, &digest).unwrap();
    let own = graph
        .create(
            &session,
            &CreateOptions::default(),
            Some(&mut &base[..]),
            &(),
        )
        .unwrap();
    graph.keep(&own.id).unwrap();
    let alone = plain(id("ab"), Some(LayerId::from(&first)));
    graph.register(&session, &alone, None, &()).unwrap();
    graph.keep(&alone.id).unwrap();
    let config = b"{\"made\":\"here\"}".to_vec();
    let image = ImageRecord {
        id: ImageId::of_bytes(&config),
        config,
        layers: [first, second, third].iter().map(LayerId::from).collect(),
        manifest: Some(b"{ }".to_vec()),
        parent: None,
        created: None,
        architecture: None,
        os: None,
        variant: None,
        size: 7,
        extra: BTreeMap::default(),
        index: None,
    };
    store.publish_image(&session, &image).unwrap();
    for name in ["one:1", "example.org/two:2"] {
        let name = Reference::parse(name).unwrap();
        store.set_name(&session, &name, &image.id).unwrap();
    }
    session.end().unwrap();
    let filled = Filled {
        layers: facts(&graph),
        image: image.id,
    };
    assert_eq!(filled.layers.len(), 5);
    filled
}

fn facts(graph: &Graph) -> BTreeMap<LayerId, Facts> {
    let map = graph.map().unwrap();
    assert!(map.damaged.is_empty(), "{:?}", map.damaged);
    let mut facts = BTreeMap::new();
    for (id, mut layer) in map.layers {
        let mut bytes = Vec::new();
        io::copy(&mut graph.tar_layer(&id).unwrap(), &mut bytes).unwrap();
        // What only the index knows.
        layer.record.synced = false;
        facts.insert(id, (layer, bytes));
    }
    facts
}

/// Every file of some folders, with the digest of its content.
fn files(root: &Path, folders: &[&str]) -> BTreeMap<PathBuf, Digest> {
    let mut found = BTreeMap::new();
    let mut todo: Vec<PathBuf> = folders.iter().map(|folder| root.join(folder)).collect();
    while let Some(path) = todo.pop() {
        let metadata = path.symlink_metadata().unwrap();
        let content = if metadata.is_dir() {
            todo.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
            Vec::new()
        } else if metadata.is_file() {
            fs::read(&path).unwrap()
        } else {
            Vec::new()
        };
        let path = path.strip_prefix(root).unwrap().to_owned();
        found.insert(path, Digest::of(&content));
    }
    found
}

const RECORDS: &[&str] = &["layers", "images", "names", "ownership", "format"];

/// Asserts that a root has all that was filled in, with a driver and nothing of any other.
fn expect(root: &Path, driver: &str, filled: &Filled) {
    let graph = Graph::open_root(root, &OpenOptions::default()).unwrap();
    assert_eq!(graph.store().driver(), driver);
    assert_eq!(graph.store().other_drivers().unwrap(), Vec::<String>::new());
    assert_eq!(facts(&graph), filled.layers);
    assert_eq!(graph.driver().list().unwrap().len(), filled.layers.len());
    let names = graph.store().names().unwrap();
    assert_eq!(names.len(), 2);
    assert!(names.iter().all(|(_, image)| *image == filled.image));
    let staging: Vec<_> = fs::read_dir(root.join("staging")).unwrap().collect();
    assert!(staging.is_empty(), "{staging:?}");
    assert!(!root.join("copy").exists());
    for layer in filled.layers.keys() {
        assert!(graph.verify(layer).unwrap().is_none());
    }
}

/// The same of a root whose trees were all made by a move: they are known to be on the disk.
fn expect_moved(root: &Path, driver: &str, filled: &Filled) {
    expect(root, driver, filled);
    let graph = Graph::open_root(root, &OpenOptions::default()).unwrap();
    assert!(
        graph
            .store()
            .layers()
            .unwrap()
            .iter()
            .all(|layer| layer.synced)
    );
}

#[test]
fn a_store_gets_another_driver_and_is_otherwise_what_it_was() {
    on_each_driver(|fixture| {
        let filled = fill(fixture);
        let root = fixture.path("");
        let before = files(&root, RECORDS);
        let to = other(fixture);
        let migrated = migrate(fixture.open(), to).unwrap();
        let bytes: u64 = filled
            .layers
            .values()
            .map(|(_, tar)| tar.len() as u64)
            .sum();
        assert!(migrated.moved);
        assert_eq!((migrated.layers, migrated.made), (5, 5));
        assert_eq!(migrated.bytes, bytes);
        assert_eq!(files(&root, RECORDS), before);
        assert_eq!(fixture.listing("drivers"), [to]);
        expect_moved(&root, to, &filled);
        // Who names the old one is told.
        let old = OpenOptions {
            driver: Some(fixture.driver.to_owned()),
            ..OpenOptions::default()
        };
        let Err(GraphError::Open(OpenError::OtherDriver { found, .. })) =
            Graph::open_root(&root, &old)
        else {
            panic!("the old driver is not refused");
        };
        assert_eq!(found, to);
        // And back.
        let graph = Graph::open_root(&root, &OpenOptions::default()).unwrap();
        assert!(migrate(graph, fixture.driver).unwrap().moved);
        assert_eq!(files(&root, RECORDS), before);
        expect(&root, fixture.driver, &filled);
    });
}

#[test]
fn a_new_root_gets_everything_and_the_old_one_stays() {
    on_each_driver(|fixture| {
        let filled = fill(fixture);
        let (root, new) = (fixture.path(""), fixture.folder.path().join("new/root"));
        let before = files(&root, RECORDS);
        let to = other(fixture);
        let mut there = options(to);
        there.root = Some(new.clone());
        // What can be written stays where it is.
        let writable = fixture.open().create_writable(None, b"mine").unwrap();
        let migrated = fixture.open().migrate(&there, &()).unwrap();
        assert_eq!(
            (migrated.moved, migrated.layers, migrated.root),
            (true, 5, new.canonicalize().unwrap())
        );
        assert_eq!(files(&root, RECORDS), before);
        assert_eq!(files(&new, RECORDS), before);
        expect_moved(&new, to, &filled);
        fixture.open().discard_writable(&writable).unwrap();
        expect(&root, fixture.driver, &filled);
        // There is a store now.
        let error = fixture.open().migrate(&there, &()).unwrap_err().to_string();
        assert!(error.contains("there is a store at"), "{error}");
    });
}

#[test]
fn a_copy_with_the_same_driver_can_be_made_elsewhere_only() {
    let fixture = Fixture::new("vfs");
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: real ownership needs root");
        return;
    }
    let filled = fill(&fixture);
    let to = |path: PathBuf| {
        let mut there = options("vfs");
        there.root = Some(path);
        fixture.open().migrate(&there, &())
    };
    let error = to(fixture.path("inside")).unwrap_err().to_string();
    assert!(error.contains("one lies in the other"), "{error}");
    let error = to(fixture.folder.path().to_owned())
        .unwrap_err()
        .to_string();
    assert!(error.contains("one lies in the other"), "{error}");
    let foreign = fixture.folder.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("precious"), "x").unwrap();
    let error = to(foreign.clone()).unwrap_err().to_string();
    assert!(error.contains("precious"), "{error}");
    assert_eq!(fs::read_dir(&foreign).unwrap().count(), 1);
    let empty = fixture.folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    to(empty.clone()).unwrap();
    expect_moved(&empty, "vfs", &filled);
}

#[test]
fn a_store_that_has_the_driver_is_left_alone() {
    on_each_driver(|fixture| {
        let filled = fill(fixture);
        let migrated = migrate(fixture.open(), fixture.driver).unwrap();
        assert!(!migrated.moved && migrated.swept.is_empty());
        expect(&fixture.path(""), fixture.driver, &filled);
        let error = migrate(fixture.open(), "aufs").unwrap_err().to_string();
        assert!(error.contains("no driver is called \"aufs\""), "{error}");
        expect(&fixture.path(""), fixture.driver, &filled);
    });
}

#[test]
fn what_uses_the_old_trees_is_named_and_nothing_happens() {
    on_each_driver(|fixture| {
        let filled = fill(fixture);
        let root = fixture.path("");
        let to = other(fixture);
        let graph = fixture.open();
        let writable = graph.create_writable(None, b"").unwrap();
        let error = migrate(fixture.open(), to).unwrap_err();
        assert!(matches!(error, MigrateError::Writable { .. }), "{error}");
        assert!(error.to_string().contains(writable.as_str()), "{error}");
        graph.discard_writable(&writable).unwrap();

        let target = fixture.folder.path().join("mounted");
        fs::create_dir(&target).unwrap();
        let layer = filled.layers.keys().next().unwrap();
        let mount = graph.mount(layer, &target).unwrap();
        let error = migrate(fixture.open(), to).unwrap_err();
        assert!(matches!(error, MigrateError::Mounted { .. }), "{error}");
        assert!(error.to_string().contains("/mounted"), "{error}");
        mount.unmount().unwrap();

        // Somebody else has the store open: all is ready, and stays so.
        let error = migrate(fixture.open(), to).unwrap_err();
        assert!(matches!(error, MigrateError::InUse { .. }), "{error}");
        let lock = graph.store().try_lock_migration().unwrap().unwrap();
        let error = migrate(fixture.open(), to).unwrap_err();
        assert!(matches!(error, MigrateError::UnderWay { .. }), "{error}");
        drop((lock, graph));
        let graph = fixture.open();
        assert_eq!(graph.store().other_drivers().unwrap(), [to]);
        let migrated = migrate(graph, to).unwrap();
        assert_eq!((migrated.layers, migrated.made), (5, 0));
        expect_moved(&root, to, &filled);
    });
}

#[test]
fn a_damaged_layer_is_named_and_nothing_changes() {
    on_each_driver(|fixture| {
        let filled = fill(fixture);
        let to = other(fixture);
        let root = fixture.path("");
        // The only file of the kind that no other layer has.
        let path = fixture.tree_files("er").pop().unwrap();
        let whole = fs::read(&path).unwrap();
        fs::write(&path, "z").unwrap();
        let refused = |word: &str| {
            for there in [None, Some(fixture.folder.path().join("new"))] {
                let mut options = options(to);
                options.root = there;
                let error = fixture.open().migrate(&options, &()).unwrap_err();
                assert!(matches!(error, MigrateError::Damaged { .. }), "{error}");
                assert!(error.to_string().contains(word), "{error}");
            }
            assert_eq!(fixture.open().store().driver(), fixture.driver);
        };
        let damaged = filled.layers.iter().find(|(_, (_, tar))| {
            let text = String::from_utf8_lossy(tar);
            text.contains("dir/new/er")
        });
        let damaged = damaged.unwrap().0.to_string();
        refused(&damaged);
        fs::write(&path, whole).unwrap();
        // What was noted of it does not outlive the tree.
        migrate(fixture.open(), to).unwrap();
        expect_moved(&root, to, &filled);
        let graph = Graph::open_root(&root, &OpenOptions::default()).unwrap();
        let moved = Fixture {
            folder: tempfile::tempdir().unwrap(),
            driver: to,
        };
        drop(graph);
        fs::rename(&root, moved.path("")).unwrap();
        let lost: LayerId = damaged.parse().unwrap();
        moved.lose_tree(&moved.open(), &lost);
        let error = migrate(moved.open(), fixture.driver).unwrap_err();
        assert!(matches!(error, MigrateError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains(&damaged), "{error}");
    });
}

/// Says that it is enough after so many layers.
struct Enough(AtomicUsize);

impl Observer for Enough {
    fn event(&self, event: &Event<'_>) {
        if matches!(event, Event::LayerDone { .. }) {
            let left = self.0.load(Ordering::Relaxed);
            self.0.store(left.saturating_sub(1), Ordering::Relaxed);
        }
    }

    fn cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

#[test]
fn what_was_interrupted_goes_on_or_is_swept() {
    on_each_driver(|fixture| {
        let filled = fill(fixture);
        let root = fixture.path("");
        let to = other(fixture);
        let before = files(&root, RECORDS);
        let stop = || {
            let enough = Enough(AtomicUsize::new(3));
            let error = fixture.open().migrate(&options(to), &enough).unwrap_err();
            assert!(matches!(error, MigrateError::Cancelled { .. }), "{error}");
            assert_eq!(fixture.open().store().other_drivers().unwrap(), [to]);
            assert_eq!(files(&root, RECORDS), before);
        };
        stop();
        // Used as ever meanwhile: one goes, one comes.
        let graph = fixture.open();
        let session = graph.store().begin().unwrap();
        graph.unkeep(&id("ab")).unwrap();
        graph.delete(&session, &id("ab")).unwrap();
        let first = filled.layers.values().find(|(layer, _)| {
            let record = &layer.record;
            record.parent.is_none() && record.id != id("ab") && layer.raw_json.is_none()
        });
        let first = ChainId::of(None, &first.unwrap().0.record.diff_id.unwrap());
        let (_, new) = register(&graph, &session, Some(&first), &tar(&[("late", b"1")]));
        graph.keep(&new.id).unwrap();
        session.end().unwrap();
        let now = Filled {
            layers: facts(&graph),
            image: filled.image,
        };
        drop(graph);
        // To the driver that it has: nothing of the other is left.
        let migrated = migrate(fixture.open(), fixture.driver).unwrap();
        assert_eq!(
            (migrated.moved, migrated.swept),
            (false, vec![to.to_owned()])
        );
        assert_eq!(fixture.listing("drivers"), [fixture.driver]);
        let enough = Enough(AtomicUsize::new(3));
        fixture.open().migrate(&options(to), &enough).unwrap_err();
        // A tree that lost something in between is made anew.
        let spoilt = files(&root.join("drivers"), &[to]);
        let spoilt = spoilt
            .iter()
            .find(|(path, content)| path.ends_with("old") && **content == Digest::of(b"22"));
        let spoilt = root.join("drivers").join(spoilt.unwrap().0);
        fs::write(&spoilt, "zz").unwrap();
        let migrated = migrate(fixture.open(), to).unwrap();
        assert!(migrated.made < 5 && migrated.made > 1, "{}", migrated.made);
        expect_moved(&root, to, &now);
    });
}

#[test]
fn whoever_opens_the_store_meanwhile_finds_all_layers() {
    on_each_driver(|fixture| {
        let filled = fill(fixture);
        let root = fixture.path("");
        let (to, done) = (other(fixture), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut drivers = BTreeSet::new();
                while !done.load(Ordering::Relaxed) && !drivers.contains(to) {
                    let graph = Graph::open_root(&root, &OpenOptions::default()).unwrap();
                    drivers.insert(graph.store().driver().to_owned());
                    assert_eq!(facts(&graph), filled.layers);
                    drop(graph);
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
            let mut patient = options(to);
            patient.patience = Duration::from_secs(60);
            let moved = fixture.open().migrate(&patient, &());
            done.store(true, Ordering::Relaxed);
            reader.join().unwrap();
            assert!(moved.unwrap().moved);
        });
        expect_moved(&root, to, &filled);
    });
}

#[test]
fn it_can_stop_at_every_step() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: real ownership needs root");
        return;
    }
    for fixture in ["vfs", "overlay"].map(Fixture::in_memory) {
        for there in [false, true] {
            // Each number of steps after which all others are refused, as a dead process takes none.
            for steps in 0.. {
                let fixture = Fixture::like(&fixture, steps + if there { 10_000 } else { 0 });
                if stopped_after(&fixture, steps, there) {
                    assert!(steps > 20, "it has taken {steps} steps only");
                    break;
                }
            }
        }
    }
}

/// Moves a store, stops after some steps, moves it again. True when there were no more steps.
fn stopped_after(fixture: &Fixture, steps: usize, there: bool) -> bool {
    let root = fixture.path("");
    let new = fixture.folder.path().join("new");
    let graph = fixture.open();
    let session = graph.store().begin().unwrap();
    let (first, _) = register(&graph, &session, None, &tar(&[("a", b"1")]));
    let (_, second) = register(&graph, &session, Some(&first), &tar(&[("b", b"2")]));
    graph.keep(&second.id).unwrap();
    session.end().unwrap();
    let expected = facts(&graph);
    let to = other(fixture);
    let mut options = options(to);
    options.root = there.then(|| new.clone());

    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let effects = Arc::clone(graph.store().effects());
    effects.set_hook(Some(Arc::new(move |_| {
        match counter.fetch_add(1, Ordering::Relaxed) < steps {
            true => Ok(()),
            false => Err(io::Error::other("the process is dead")),
        }
    })));
    let moved = graph.migrate(&options, &());
    let all = count.load(Ordering::Relaxed) <= steps;
    assert_eq!(moved.is_ok(), all, "{moved:?} after {steps} steps");
    drop(effects);

    let look = |root: &Path, driver: Option<&str>| {
        let graph = Graph::open_root(root, &OpenOptions::default()).unwrap();
        assert_eq!(facts(&graph), expected, "after {steps} steps");
        if let Some(driver) = driver {
            assert_eq!(graph.store().driver(), driver);
            assert_eq!(graph.driver().list().unwrap().len(), 2);
            assert_eq!(graph.store().other_drivers().unwrap(), Vec::<String>::new());
        }
        graph
    };
    let graph = look(&root, there.then_some(fixture.driver));
    if !(all && there) {
        match graph.migrate(&options, &()) {
            Ok(_) => {}
            // It was complete, and could say so.
            Err(error) => assert!(
                there && error.to_string().contains("there is a store"),
                "{error}"
            ),
        }
    }
    drop(look(&root, Some(if there { fixture.driver } else { to })));
    if there {
        drop(look(&new, Some(to)));
    }
    assert_eq!(fs::read_dir(root.join("staging")).unwrap().count(), 0);
    all
}

#[test]
fn a_layer_registered_by_digest_alone_is_found_again() {
    on_each_driver(|fixture| {
        let filled = fill(fixture);
        let to = other(fixture);
        migrate(fixture.open(), to).unwrap();
        let graph = Graph::open_root(&fixture.path(""), &OpenOptions::default()).unwrap();
        let session = graph.store().begin().unwrap();
        for (layer, _) in filled.layers.values() {
            let descriptor = Descriptor {
                id: layer.record.id,
                parent: layer.record.parent,
                diff_id: layer.record.diff_id,
                json: layer.raw_json.clone(),
            };
            let there = graph.register(&session, &descriptor, None, &()).unwrap();
            assert!(!there.new);
        }
        session.end().unwrap();
    });
}
