//! Layers that want out.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use lith_drivers::{LayerFiles, Parent};

use crate::support::{
    Bench, DRIVERS, Item, Node, Tree, dir, file, fill, hard_link, item, node_at, root, symlink,
    tar, tree_of,
};

/// A folder outside, next to the driver's, that must stay as it is.
fn canary(bench: &Bench) -> (std::path::PathBuf, Tree) {
    let canary = bench.temp.path().join("canary");
    std::fs::create_dir(&canary).unwrap();
    std::fs::write(canary.join("victim"), "untouched").unwrap();
    std::fs::create_dir(canary.join("dir")).unwrap();
    let tree = tree_of(&canary);
    (canary, tree)
}

#[test]
fn nothing_outside_is_touched() {
    if !root("nothing_outside_is_touched") {
        return;
    }
    for driver in DRIVERS {
        let bench = Bench::new(driver);
        let (canary, before) = canary(&bench);
        let out = canary.to_str().unwrap();
        let up = format!("{}{out}", "../".repeat(30));
        let shapes: Vec<Vec<Item>> = vec![
            vec![
                symlink("l", out),
                file("l/new", "x"),
                file("l/victim", "x"),
                dir("l/dir").mode(0o777),
            ],
            vec![symlink("l", &up), file("l/victim", "x")],
            vec![symlink("a", "b"), symlink("b", out), file("a/victim", "x")],
            vec![
                file(&up, "x"),
                file(format!("{up}/victim"), "x"),
                file(format!("{out}/victim"), "x"),
            ],
            vec![
                symlink("l", format!("{out}/victim")),
                file("l", "x").mode(0o777),
            ],
            vec![
                symlink("l", format!("{out}/victim")),
                hard_link("h", "l").mode(0o777).owner(5, 5),
                file("h", "y"),
            ],
            vec![
                symlink("l", format!("{out}/dir")),
                dir("l").mode(0o777).owner(5, 5),
            ],
            vec![
                symlink("l", out),
                file("l/.wh.victim", ""),
                file("l/.wh..wh..opq", ""),
            ],
            vec![
                symlink("l", out),
                symlink("l/victim", "/x"),
                item(b'6', "l/dir"),
                hard_link("l/h", "l/victim"),
            ],
            vec![symlink("/.", out), file("victim", "x")],
            vec![symlink("..", out), symlink("", out), file("x", "")],
            vec![
                dir("d"),
                symlink("d", out),
                dir("d"),
                symlink("d", out),
                dir("d"),
                file("d/victim", "x"),
            ],
            vec![
                symlink("dead", "/nowhere/at/all"),
                file("dead/.wh.x", ""),
                file("dead/f", "x"),
            ],
            vec![
                symlink("loop", "loop"),
                file("loop/f", "x"),
                symlink("l1", "l2"),
                symlink("l2", "l1"),
                dir("l1/d"),
            ],
            vec![dir("d").mode(0o0), file("d/f", "x").mode(0o0)],
        ];
        for (shape, items) in shapes.iter().enumerate() {
            match bench.try_layer(None, items) {
                Ok(layer) => {
                    bench.check_comes_back(&layer);
                    bench.shown(&layer);
                    let top = bench.layer(Some(&layer), &[file("l/over", ""), file(".wh.a", "")]);
                    bench.check_comes_back(&top);
                }
                Err(refusal) => {
                    assert!(
                        refusal.starts_with("tar entry at byte "),
                        "{driver} {shape}: {refusal}"
                    );
                }
            }
            assert_eq!(tree_of(&canary), before, "{driver}, shape {shape}");
        }
        // Nor through a hard link to what lies outside.
        let Err(refusal) = bench.try_layer(None, &[hard_link("h", format!("{out}/victim"))]) else {
            panic!("there is no such file in the layer");
        };
        assert!(
            refusal.contains("neither this layer nor one below has"),
            "{refusal}"
        );
        assert_eq!(tree_of(&canary), before);
    }
}

#[test]
fn reading_back_opens_nothing_but_own_regular_files() {
    if !root("reading_back_opens_nothing") {
        return;
    }
    for driver in DRIVERS {
        let bench = Bench::new(driver);
        let (canary, _) = canary(&bench);
        let victim = canary.join("victim");
        let layer = bench.layer(
            None,
            &[
                symlink("l", victim.as_os_str().as_encoded_bytes()),
                symlink("d", canary.as_os_str().as_encoded_bytes()),
                symlink("in", "real"),
                file("real/f", "x"),
                item(b'6', "fifo"),
                item(b'3', "null").device(1, 3),
            ],
        );
        let LayerFiles::Tree(mut files) = bench.driver.files(&layer.id).unwrap() else {
            panic!("a tree driver")
        };
        for name in [
            "l", "d/victim", "in/f", "fifo", "null", "real", "", "..", "/", "none", "real/f/g",
        ] {
            assert!(files.open(name.as_bytes()).is_err(), "{driver} {name}");
        }
        let up = format!("{}{}", "../".repeat(20), victim.display());
        assert!(
            files.open(up.as_bytes()).is_err()
                && files.open(victim.as_os_str().as_encoded_bytes()).is_err()
        );
        for name in [
            "real/f",
            "./real/f",
            "/real/f",
            "../../real/f",
            "real/../real/f/",
            "x/../real/f",
        ] {
            files.open(name.as_bytes()).unwrap();
        }
    }
}

#[test]
fn a_racing_swap_of_directories_and_links_leads_nowhere() {
    if !root("a_racing_swap") {
        return;
    }
    for driver in DRIVERS {
        let bench = Bench::new(driver);
        let (canary, before) = canary(&bench);
        let items: Vec<Item> = (0..400)
            .flat_map(|n| {
                [
                    file(format!("d/dir/victim{}", n % 7), "x"),
                    file(format!("d/f{}", n % 3), "y").mode(0o777),
                ]
            })
            .collect();
        let stream = tar(&items);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let work = bench.home().join(".work");
            let (stop, canary) = (&stop, &canary);
            scope.spawn(move || swap(&work, canary, stop));
            for _ in 0..8 {
                let mut draft = bench.driver.prepare(Parent::None).unwrap();
                let kept = bench.temp.path().join("kept-race");
                std::fs::remove_dir_all(&kept).ok();
                // It may well fail; it must not get out.
                let filled = fill(draft.body(), &stream[..], &kept);
                if filled.is_ok() {
                    let _ = draft.commit(&lith_drivers::CacheId::random(), None);
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert_eq!(tree_of(&canary), before, "{driver}");
    }
}

/// Swaps the directory `d` of every draft for a link to a folder outside, and back.
fn swap(work: &Path, canary: &Path, stop: &AtomicBool) {
    let mut found = None;
    while !stop.load(Ordering::Relaxed) {
        let here = found.take().or_else(|| {
            let draft = std::fs::read_dir(work)
                .ok()?
                .next()?
                .ok()?
                .path()
                .join("0/layer");
            let tree = ["diff", "tree"]
                .iter()
                .map(|tree| draft.join(tree))
                .find(|tree| tree.exists())?;
            Some(tree)
        });
        let Some(tree) = here else { continue };
        let (dir, aside) = (tree.join("d"), tree.join("aside"));
        if std::fs::rename(&dir, &aside).is_ok() {
            let _ = std::os::unix::fs::symlink(canary, &dir);
            let _ = std::fs::remove_file(&dir);
            let _ = std::fs::rename(&aside, &dir);
        }
        if tree.exists() {
            found = Some(tree);
        }
    }
}

#[test]
fn a_device_out_of_range_is_refused() {
    if !root("a_device_out_of_range") {
        return;
    }
    let bench = Bench::new("overlay");
    for device in [(4096, 0), (1, 1 << 20)] {
        let Err(refusal) = bench.try_layer(None, &[item(b'4', "dev").device(device.0, device.1)])
        else {
            panic!("no such device");
        };
        assert!(refusal.contains("out of range"), "{refusal}");
    }
}

#[test]
fn folders_are_for_their_owner_only() {
    if !root("folders_are_for_their_owner_only") {
        return;
    }
    for driver in DRIVERS {
        let bench = Bench::new(driver);
        let layer = bench.layer(
            None,
            &[dir(".").mode(0o777), file("f", "1"), file("f", "2")],
        );
        let mode = |path: &Path| -> u32 { node_at(path).mode };
        assert_eq!(mode(bench.home()), 0o700);
        assert_eq!(mode(&bench.home().join(layer.id.as_str())), 0o700);
        assert_eq!(mode(&layer.kept), 0o700);
        let kept: Vec<Node> = tree_of(&layer.kept)
            .into_values()
            .filter(|node| node.kind == 'f')
            .collect();
        assert_eq!(
            (kept.len(), kept[0].mode, &kept[0].content[..]),
            (1, 0o600, &b"1"[..])
        );
    }
}

#[test]
fn long_ways_cost_no_more_than_their_length() {
    if !root("long_ways") {
        return;
    }
    let started = std::time::Instant::now();
    let bench = Bench::in_memory("overlay", &lith_drivers::DriverOptions::default());
    let deep = |levels: usize| file("a/".repeat(levels) + "f", "x");
    let base = bench.layer(None, &[deep(8000)]);
    bench.check_comes_back(&base);
    let upper = bench.layer(Some(&base), &[file("a/".repeat(8000) + "g", "y")]);
    bench.check_comes_back(&upper);
    let Err(refusal) = bench.try_layer(None, &[deep(8200)]) else {
        panic!("too deep")
    };
    assert!(refusal.contains("deeper than 8192 levels"), "{refusal}");
    let Err(refusal) = bench.try_layer(
        None,
        &[file(format!("{}/f", "d".repeat(250) + "/").repeat(300), "")],
    ) else {
        panic!("too long")
    };
    assert!(refusal.contains("longer than 65536 bytes"), "{refusal}");
    // Links that lead back and forth.
    let mut items: Vec<Item> = vec![dir("d")];
    for n in 0..39 {
        items.push(symlink(
            format!("l{n}"),
            "d/../".repeat(800) + &format!("l{}", n + 1),
        ));
    }
    items.extend((0..100).map(|n| file(format!("l{}/x{n}/f", n % 3), "x")));
    let Err(refusal) = bench.try_layer(None, &items) else {
        panic!("too many names")
    };
    assert!(
        refusal.contains("its links lead through more than 1000 names"),
        "{refusal}"
    );
    // A whiteout again and again, over a directory with much to look through.
    let mut items: Vec<Item> = (0..3000).map(|n| file(format!("w/.wh.{n}"), "")).collect();
    items.push(file("w/z", "x"));
    items.extend((0..3000).map(|_| file(".wh.w", "")));
    let layer = bench.layer(None, &items);
    bench.check_comes_back(&layer);
    for layer in [&upper, &base] {
        bench.driver.remove(&layer.id).unwrap();
    }
    bench.check_clean();
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}
