//! Stores of podman made by hand: what is chosen, and what is refused.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lith_archive::{
    Defaults, EngineError, FolderError, Input, LoadError, LoadOptions, Location, load,
};
use lith_graph::Observer;
use lith_store::ImageId;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use serde_json::json;

use super::made::{Made, load_from};
use crate::support::{Image, Root, tar};

fn ids(report: &lith_archive::LoadReport) -> Vec<ImageId> {
    report.images.iter().map(|image| image.id).collect()
}

fn engine(error: &LoadError) -> &EngineError {
    match error {
        LoadError::Engine(error) => error,
        other => panic!("{other}"),
    }
}

#[test]
fn one_image_by_name_or_id_or_all_of_them() {
    let (one, two) = (Image::new(&["base", "one"]), Image::new(&["base", "two"]));
    let digest = format!("example.com/one@sha256:{}", "ab".repeat(32));
    let store = Made::storage(&[
        (
            &one,
            &["localhost/one:1", "docker.io/library/one:2", &digest],
        ),
        (&two, &[]),
    ]);
    let all = store.load("").unwrap();
    assert_eq!(ids(&all), [one.id(), two.id()]);
    assert!(all.warnings.is_empty());
    let names: Vec<String> = all.images[0]
        .names
        .iter()
        .map(|name| name.familiar())
        .collect();
    assert_eq!(names, ["localhost/one:1", "one:2"]);
    let new: Vec<usize> = all.images.iter().map(|image| image.layers_new).collect();
    assert_eq!(new, [2, 1], "the base is shared");
    for name in ["one:2", "localhost/one:1", &digest] {
        assert_eq!(ids(&store.load(name).unwrap()), [one.id()], "{name}");
    }
    let hex = two.id().hex();
    for id in [
        hex.clone(),
        format!("@{hex}"),
        format!("sha256:{}", &hex[..12]),
    ] {
        assert_eq!(ids(&store.load(&id).unwrap()), [two.id()], "{id}");
    }
    let (error, _) = store.fails("three");
    assert!(
        matches!(engine(&error), EngineError::NoImage { available, .. } if available.len() == 2),
        "{error}"
    );
}

#[test]
fn images_that_are_not_asked_for_may_be_broken() {
    let (one, two) = (Image::new(&["one"]), Image::new(&["two"]));
    let mut store = Made::storage(&[(&one, &["one:1"]), (&two, &["two:1"])]);
    store.images[1]["id"] = json!("../../../etc");
    store.write_lists();
    assert_eq!(ids(&store.load("one:1").unwrap()), [one.id()]);
    let root = Root::new();
    let location = store.location("");
    let report = load_from(&root, &location, &["one"], store.folder.path()).unwrap();
    assert_eq!(ids(&report), [one.id()]);
    let (error, _) = store.fails("");
    assert!(
        matches!(engine(&error), EngineError::BadId { .. }),
        "{error}"
    );
    let (error, _) = store.fails("two:1");
    assert!(
        matches!(engine(&error), EngineError::BadId { .. }),
        "{error}"
    );
}

#[test]
fn the_driver_is_found() {
    let one = Image::new(&["one"]);
    let store = Made::storage(&[(&one, &["one:1"])]);
    let path = store.folder.path().display().to_string();
    let root = Root::new();
    let load = |location: &str| load_from(&root, location, &[], store.folder.path());
    for location in ["[", "[overlay2@"] {
        load(&format!("containers-storage:{location}{path}]one:1")).unwrap();
    }
    for (driver, what) in [("vfs@", "not a store"), ("btrfs@", "cannot be read")] {
        let error = load(&format!("containers-storage:[{driver}{path}]one:1")).unwrap_err();
        let fits = match engine(&error) {
            EngineError::NotAStore { .. } => "not a store",
            EngineError::Driver { .. } => "cannot be read",
            _ => "other",
        };
        assert_eq!(fits, what, "{error}");
    }
    store.write("vfs-images/images.json", b"[]");
    let error = load(&format!("containers-storage:[{path}]one:1")).unwrap_err();
    assert!(
        matches!(engine(&error), EngineError::SeveralDrivers { .. }),
        "{error}"
    );
    let empty = tempfile::tempdir().unwrap();
    let location = format!("containers-storage:[{}]one", empty.path().display());
    let error = load_from(&root, &location, &[], empty.path()).unwrap_err();
    assert!(
        matches!(engine(&error), EngineError::NotAStore { .. }),
        "{error}"
    );
}

#[test]
fn damaged_files_are_named_and_nothing_is_kept() {
    let image = Image::of(vec![
        tar(&[("etc/base", b"base")]),
        tar(&[("etc/good", b"good"), ("etc/bad", b"as it was")]),
    ]);
    for change in ["other content", "shorter", "gone", "a link", "a pipe"] {
        let store = Made::storage(&[(&image, &["app:1"])]);
        let file = store.tree(1).join("etc/bad");
        fs::remove_file(&file).unwrap();
        match change {
            "other content" => fs::write(&file, "as it is!").unwrap(),
            "shorter" => fs::write(&file, "as").unwrap(),
            "a link" => {
                let outside = store.folder.path().join("outside");
                fs::write(&outside, "as it was").unwrap();
                symlink(outside, &file).unwrap();
            }
            "a pipe" => {
                nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap();
            }
            _ => {}
        }
        let (_, text) = store.fails("app:1");
        let layer = store.layers[1]["id"].as_str().unwrap();
        assert!(text.contains(layer), "{change}: {text}");
        assert!(text.contains("etc/bad"), "{change}: {text}");
    }
}

#[test]
fn layers_that_cannot_be_read_are_told() {
    let image = Image::new(&["one", "two"]);
    let made = || Made::storage(&[(&image, &["app:1"])]);
    let id = |store: &Made, layer: usize| store.layers[layer]["id"].as_str().unwrap().to_owned();

    let store = made();
    let record = store.path(&format!("overlay-layers/{}.tar-split.gz", id(&store, 1)));
    fs::remove_file(&record).unwrap();
    let (error, text) = store.fails("app:1");
    assert!(
        matches!(engine(&error), EngineError::NoRecord { .. }),
        "{text}"
    );
    assert!(text.contains(&id(&store, 1)), "{text}");

    let mut store = made();
    fs::remove_file(store.path(&format!("overlay-layers/{}.tar-split.gz", id(&store, 1)))).unwrap();
    store.layers[1]["toc-digest"] = json!(format!("sha256:{}", "ab".repeat(32)));
    store.write_lists();
    let (_, text) = store.fails("app:1");
    assert!(text.contains("zstd:chunked"), "{text}");

    let store = made();
    fs::create_dir(store.path(&format!("overlay/{}/composefs-data", id(&store, 0)))).unwrap();
    let (error, text) = store.fails("app:1");
    assert!(
        matches!(engine(&error), EngineError::Composefs { .. }),
        "{text}"
    );

    let store = made();
    let record = store.path(&format!("overlay-layers/{}.tar-split.gz", id(&store, 0)));
    fs::write(record, b"\x1f\x8b\x08 no gzip").unwrap();
    let (_, text) = store.fails("app:1");
    assert!(text.contains(&id(&store, 0)), "{text}");

    let store = made();
    fs::remove_dir_all(store.tree(0)).unwrap();
    let (error, text) = store.fails("app:1");
    assert!(
        matches!(engine(&error), EngineError::Missing { .. }),
        "{text}"
    );
}

#[test]
fn lists_that_lie_are_refused() {
    let image = Image::new(&["one", "two"]);
    let made = || Made::storage(&[(&image, &["app:1"])]);
    let refused = |change: &dyn Fn(&mut Made)| {
        let mut store = made();
        change(&mut store);
        store.write_lists();
        store.fails("app:1")
    };
    let (error, _) = refused(&|store| store.images[0]["layer"] = json!("../../outside"));
    assert!(
        matches!(engine(&error), EngineError::NoLayer { .. }),
        "{error}"
    );
    let (error, _) = refused(&|store| {
        store.images[0]["layer"] = json!("../../outside");
        store.layers[1]["id"] = json!("../../outside");
    });
    assert!(
        matches!(engine(&error), EngineError::BadId { .. }),
        "{error}"
    );
    let (error, _) = refused(&|store| {
        let top = store.layers[1]["id"].clone();
        store.layers[0]["parent"] = top;
    });
    assert!(
        matches!(engine(&error), EngineError::Loop { .. }),
        "{error}"
    );
    let (error, _) = refused(&|store| {
        store.layers[1]["diff-digest"] = json!(format!("sha256:{}", "00".repeat(32)));
    });
    assert!(
        matches!(engine(&error), EngineError::OtherLayer { .. }),
        "{error}"
    );
    // Said to be nothing in particular, the content still decides.
    let (error, text) = refused(&|store| {
        let (one, two) = (store.tree(0), store.tree(1));
        store.layers[1]
            .as_object_mut()
            .unwrap()
            .remove("diff-digest");
        let record = |id: &serde_json::Value| {
            store.path(&format!(
                "overlay-layers/{}.tar-split.gz",
                id.as_str().unwrap()
            ))
        };
        fs::copy(
            record(&store.layers[0]["id"]),
            record(&store.layers[1]["id"]),
        )
        .unwrap();
        fs::remove_dir_all(&two).unwrap();
        fs::rename(&one, &two).unwrap();
        fs::create_dir(&one).unwrap();
        fs::copy(two.join("file-one"), one.join("file-one")).unwrap();
    });
    assert!(matches!(error, LoadError::Layer { .. }), "{text}");
    let (error, _) = refused(&|store| {
        store.layers[1].as_object_mut().unwrap().remove("parent");
    });
    assert!(
        matches!(
            error,
            LoadError::LayerCount {
                layers: 1,
                diff_ids: 2,
                ..
            }
        ),
        "{error}"
    );
    let (error, _) = refused(&|store| store.images[0]["names"] = json!(7));
    assert!(
        matches!(engine(&error), EngineError::Document { .. }),
        "{error}"
    );
}

#[test]
fn configs_are_checked() {
    let image = Image::new(&["one"]);
    let store = Made::storage(&[(&image, &["app:1"])]);
    let folder = store.path(&format!("overlay-images/{}", image.id().hex()));
    let config = fs::read_dir(&folder)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    fs::write(&config, b"{\"rootfs\":{\"diff_ids\":[]}}").unwrap();
    let (error, _) = store.fails("app:1");
    assert!(
        matches!(engine(&error), EngineError::ConfigChanged { .. }),
        "{error}"
    );
    fs::write(&config, vec![b' '; 5 << 20]).unwrap();
    let (error, _) = store.fails("app:1");
    assert!(
        matches!(
            engine(&error),
            EngineError::Folder(FolderError::TooLarge { .. })
        ),
        "{error}"
    );
    fs::remove_file(&config).unwrap();
    symlink("/etc/passwd", &config).unwrap();
    let (error, _) = store.fails("app:1");
    assert!(
        matches!(
            engine(&error),
            EngineError::Folder(FolderError::Kind { .. })
        ),
        "{error}"
    );
    fs::remove_file(&config).unwrap();
    let (error, _) = store.fails("app:1");
    assert!(
        matches!(engine(&error), EngineError::NoConfig { .. }),
        "{error}"
    );
}

#[test]
fn folders_that_are_links_are_not_entered() {
    let image = Image::new(&["one"]);
    let store = Made::storage(&[(&image, &["app:1"])]);
    let tree = store.tree(0);
    let outside = tempfile::tempdir().unwrap();
    fs::rename(&tree, outside.path().join("diff")).unwrap();
    symlink(outside.path().join("diff"), &tree).unwrap();
    let (error, _) = store.fails("app:1");
    assert!(
        matches!(
            engine(&error),
            EngineError::Folder(FolderError::Kind { .. })
        ),
        "{error}"
    );
}

/// Cancels when told to.
struct Stop(AtomicBool);

impl Observer for Stop {
    fn cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Holds a whole file as podman does when it writes.
fn write_lock(file: &File, kind: i32) {
    let whole = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(file, FcntlArg::F_OFD_SETLK(&whole)).unwrap();
}

#[test]
fn a_writer_is_waited_for() {
    let image = Image::new(&["one"]);
    for lock in ["overlay-images/images.lock", "overlay-layers/layers.lock"] {
        let store = Made::storage(&[(&image, &["app:1"])]);
        let file = File::options().write(true).open(store.path(lock)).unwrap();
        let root = Root::new();
        let stop = Stop(AtomicBool::new(false));
        let location = Location::parse(store.location("app:1").as_ref()).unwrap();
        let input = || Input::at(location.clone(), &Defaults::default()).unwrap();
        let run = || load(&root.graph, input(), &LoadOptions::default(), &stop);
        write_lock(&file, libc::F_WRLCK);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(run);
            std::thread::sleep(Duration::from_millis(150));
            assert!(!waiting.is_finished(), "{lock}: nobody waited");
            stop.0.store(true, Ordering::Release);
            let error = waiting.join().unwrap().unwrap_err();
            assert!(matches!(error, LoadError::Cancelled), "{error}");
            stop.0.store(false, Ordering::Release);
            let waiting = scope.spawn(run);
            std::thread::sleep(Duration::from_millis(60));
            write_lock(&file, libc::F_UNLCK);
            assert_eq!(ids(&waiting.join().unwrap().unwrap()), [image.id()]);
        });
    }
}
