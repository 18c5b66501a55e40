//! Many layers on top of each other.

use std::collections::BTreeMap;

use lith_drivers::{DriverError, DriverOptions, MountRequest};

use crate::support::{Bench, Layer, Tree, brief, file, root};

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
