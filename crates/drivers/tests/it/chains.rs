//! Many layers on top of each other.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use lith_drivers::{DriverError, DriverOptions, MountRequest};

use crate::support::{Bench, DRIVERS, Layer, Tree, brief, dir, file, hard_link, root};

fn chain(bench: &Bench, count: usize) -> Vec<Layer> {
    let mut layers: Vec<Layer> = Vec::new();
    for n in 0..count {
        let mut items = vec![
            file(format!("own/{n:03}"), n.to_string()),
            file("top-id", n.to_string()),
        ];
        if n > 0 && n % 50 == 0 {
            items.push(file(format!("own/.wh.{:03}", n - 1), ""));
        }
        layers.push(bench.layer(layers.last(), &items));
    }
    layers
}

fn expected(count: usize) -> BTreeMap<String, String> {
    let last = count - 1;
    let mut expected: BTreeMap<String, String> = (0..count)
        .map(|n| (format!("own/{n:03}"), n.to_string()))
        .collect();
    for n in (50..=last).step_by(50) {
        expected.remove(&format!("own/{:03}", n - 1));
    }
    expected.insert("top-id".to_owned(), last.to_string());
    expected
}

fn files(tree: &Tree) -> BTreeMap<String, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let files = tree.iter().filter(|(_, node)| node.kind == 'f');
    files
        .map(|(place, node)| (text(place), text(&node.content)))
        .collect()
}

/// Several threads copy what vfs takes over: directories with more files than one takes at a time,
/// directories with none, files with several names among them; and each directory is completed
/// when all of it is there.
#[test]
fn a_full_copy_is_like_what_it_was_copied_from() {
    if !root("a_full_copy") {
        return;
    }
    let mut items = Vec::new();
    for n in 0..40 {
        let place = format!("d{}/e{n}", n % 7);
        let folder = dir(&place).mode(0o700 + n % 64).mtime(&format!("{n}.25"));
        items.push(folder.owner(u64::from(n), 5));
        for f in 0..[0, 3, 70, 200][n as usize % 4] {
            let name = format!("{place}/f{f}");
            items.push(file(&name, f.to_string()).mtime("7.5").mode(0o640));
            if f % 50 == 1 {
                items.push(hard_link(format!("{place}/l{f}"), &name));
            }
        }
    }
    let bench = Bench::new("vfs");
    let base = bench.layer(None, &items);
    // One directory of its own is new, one is partly hidden, one loses a file.
    let top = bench.layer(
        Some(&base),
        &[
            file("new/file", "1"),
            dir("d3/e3").mode(0o711).mtime("9.75"),
            file("d3/e3/f5", "other"),
            file("d6/e6/.wh.f9", ""),
        ],
    );
    let (mut expected, found) = (bench.shown(&base), bench.shown(&top));
    let changed = [
        &b""[..],
        b"new",
        b"new/file",
        b"d3/e3",
        b"d3/e3/f5",
        b"d6/e6/f9",
    ];
    let unchanged = |tree: &mut Tree| tree.retain(|place, _| !changed.contains(&&place[..]));
    let mut copied = found.clone();
    unchanged(&mut expected);
    unchanged(&mut copied);
    assert_eq!(brief(&expected), brief(&copied));
    assert!(expected == copied);
    assert_eq!(found[&b"d3/e3/f5"[..]].content, b"other");
    assert!(!found.contains_key(&b"d6/e6/f9"[..]));
}

#[test]
fn five_hundred_layers_show_as_one_tree() {
    if !root("five_hundred_layers") {
        return;
    }
    for old_mount_api in [false, true] {
        let mut options = DriverOptions::default();
        options.old_mount_api = old_mount_api;
        let bench = Bench::in_memory("overlay", &options);
        let count = if old_mount_api { 130 } else { 501 };
        let layers = chain(&bench, count);
        let top = &layers[count.min(500) - 1];
        assert_eq!(
            files(&bench.shown(top)),
            expected(count.min(500)),
            "old API: {old_mount_api}"
        );
        if let Some(one_more) = layers.get(500) {
            let request = MountRequest::new(&one_more.id, bench.temp.path());
            let error = bench.driver.mount(&request).unwrap_err();
            assert!(
                matches!(
                    error,
                    DriverError::TooManyLayers {
                        count: 501,
                        limit: 500,
                        ..
                    }
                ),
                "{error}"
            );
            // One that hides all below starts anew.
            let cut = bench.layer(Some(one_more), &[file(".wh..wh..opq", ""), file("n", "")]);
            assert_eq!(brief(&bench.shown(&cut)), ["n="]);
            let over = bench.layer(Some(&cut), &[file("m", "")]);
            assert_eq!(brief(&bench.shown(&over)), ["m=", "n="]);
        }
        bench.check_clean();
    }
}

#[test]
fn vfs_layers_are_whole_and_stand_without_the_others() {
    if !root("vfs_layers_are_whole") {
        return;
    }
    let bench = Bench::in_memory("vfs", &DriverOptions::default());
    let layers = chain(&bench, 60);
    for layer in &layers[..59] {
        bench.driver.remove(&layer.id).unwrap();
    }
    assert_eq!(files(&bench.shown(&layers[59])), expected(60));
    bench.check_comes_back(&layers[59]);
}

#[test]
fn paths_that_a_mount_table_can_not_show_work() {
    if !root("paths_that_a_mount_table_can_not_show") {
        return;
    }
    for old_mount_api in [false, true] {
        let mut options = DriverOptions::default();
        options.old_mount_api = old_mount_api;
        let temp = tempfile::Builder::new()
            .prefix("a b:c,d\\e=")
            .tempdir()
            .unwrap();
        let bench = Bench::inside(temp, "overlay", &options);
        let base = bench.layer(None, &[file("f", "x")]);
        let upper = bench.layer(Some(&base), &[file("g", "y")]);
        assert_eq!(
            brief(&bench.shown(&upper)),
            ["f=x", "g=y"],
            "old API: {old_mount_api}"
        );
        let target = bench.temp.path().join("mnt");
        for layer in [&base, &upper] {
            let mount = bench
                .driver
                .mount(&MountRequest::new(&layer.id, &target))
                .unwrap();
            let found = bench.driver.mounts().unwrap();
            assert_eq!((found.len(), &found[0].target), (1, &target));
            drop(mount);
        }
    }
}

#[test]
fn a_thousand_layers_cost_little_each() {
    if !root("a_thousand_layers") {
        return;
    }
    for driver in DRIVERS {
        let bench = Bench::in_memory(driver, &DriverOptions::default());
        let base = [
            dir("d").mode(0o711).mtime("5"),
            file("d/bottom", "below"),
            file("gone", ""),
        ];
        let mut layers = vec![bench.layer(None, &base)];
        for n in 1..999 {
            let items = [file(format!("d/{}", n % 7), n.to_string())];
            layers.push(bench.layer(layers.last(), &items));
        }
        let most = AtomicUsize::new(0);
        let done = AtomicBool::new(false);
        let top = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    most.fetch_max(open_files(bench.home()), Ordering::Relaxed);
                }
            });
            let items = [
                file("d/new", "n"),
                file(".wh.gone", ""),
                hard_link("link", "d/bottom"),
                hard_link("other", "d/3"),
            ];
            let top = bench.try_layer(layers.last(), &items);
            done.store(true, Ordering::Relaxed);
            top.unwrap()
        });
        // Two views of few handles each, and what a draft holds open.
        let most = most.into_inner();
        assert!(most < 60, "{driver}: {most} descriptors");
        let tree = if driver == "overlay" { "diff" } else { "tree" };
        let at = |place: &str| {
            let folder = bench.home().join(top.id.as_str());
            crate::support::node_at(&folder.join(tree).join(place))
        };
        assert_eq!((at("d").mode, at("d").mtime), (0o711, (5, 0)), "{driver}");
        assert_eq!(at("link").content, b"below");
        assert_eq!(at("other").content, b"997");
        for layer in &layers {
            let notes = bench.home().join(layer.id.as_str()).join("layer.json");
            assert!(notes.metadata().unwrap().len() < 4096, "{notes:?}");
        }
        let request = MountRequest::new(&top.id, bench.temp.path());
        match bench.driver.mount(&request) {
            Err(DriverError::TooManyLayers { count: 1000, .. }) => assert_eq!(driver, "overlay"),
            Err(error) => panic!("{driver}: {error}"),
            Ok(_) => assert_ne!(driver, "overlay"),
        }
        layers.push(top);
        for layer in layers.iter().rev() {
            bench.driver.remove(&layer.id).unwrap();
        }
        assert_eq!(bench.driver.list().unwrap(), []);
        bench.check_clean();
    }
}

fn open_files(home: &Path) -> usize {
    let home = home.canonicalize().unwrap();
    std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok())
        .filter(|target| target.starts_with(&home))
        .count()
}

#[test]
fn layers_that_note_only_their_parent_still_stand_on_all() {
    if !root("layers_that_note_only_their_parent") {
        return;
    }
    let bench = Bench::in_memory("overlay", &DriverOptions::default());
    let layers = chain(&bench, 140);
    for layer in &layers[..70] {
        let notes = bench.home().join(layer.id.as_str()).join("layer.json");
        let text = std::fs::read_to_string(&notes).unwrap();
        let start = text.split(",\"lowers\"").next().unwrap();
        let end = if start == text { "" } else { "}" };
        std::fs::write(&notes, format!("{start}{end}")).unwrap();
    }
    assert_eq!(files(&bench.shown(&layers[139])), expected(140));
}

#[test]
fn a_layer_that_is_missing_further_down_is_named() {
    if !root("a_layer_that_is_missing_further_down") {
        return;
    }
    let bench = Bench::in_memory("overlay", &DriverOptions::default());
    let layers = chain(&bench, 10);
    // Nothing keeps a driver from doing this: that it is not asked to is its caller's business.
    bench.driver.remove(&layers[4].id).unwrap();
    let Err(error) = bench.try_layer(layers.last(), &[file("f", "")]) else {
        panic!("a layer is missing");
    };
    let expected = format!("the overlay driver has no layer {}", layers[4].id);
    assert_eq!(error, expected);
    let request = MountRequest::new(&layers[9].id, bench.temp.path());
    let error = bench.driver.mount(&request).unwrap_err();
    assert_eq!(error.to_string(), expected);
    let tree = bench.home().join(layers[3].id.as_str()).join("diff");
    std::fs::rename(&tree, bench.temp.path().join("aside")).unwrap();
    let request = MountRequest::new(&layers[3].id, bench.temp.path());
    let error = bench.driver.mount(&request).unwrap_err();
    assert!(matches!(error, DriverError::Damaged { .. }), "{error}");
    bench.check_clean();
}
