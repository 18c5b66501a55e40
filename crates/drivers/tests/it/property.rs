//! Random layers: every byte comes back, and all drivers show what a simple model says.

use std::collections::{BTreeMap, BTreeSet};

use lith_drivers::DriverOptions;
use proptest::prelude::*;

use crate::support::{Bench, DRIVERS, Item, Tree, dir, file, hard_link, item, root, symlink};

fn part() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "c\u{e9}"])
}

/// A place of one to three parts.
fn place() -> impl Strategy<Value = String> {
    let depth = prop_oneof![4 => Just(1_usize), 3 => Just(2), 1 => Just(3)];
    depth
        .prop_flat_map(|depth| prop::collection::vec(part(), depth))
        .prop_map(|parts| parts.join("/"))
}

/// The same place, said in another way.
fn said() -> impl Strategy<Value = String> {
    (place(), 0..8_u8).prop_map(|(place, way)| match way {
        0 => format!("./{place}"),
        1 => format!("/{place}"),
        2 => format!("../../{place}"),
        3 => format!("x/.././{place}"),
        4 => format!("{place}/"),
        _ => place,
    })
}

fn target() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => place(),
        1 => place().prop_map(|place| format!("/{place}")),
        1 => place().prop_map(|place| format!("../../{place}")),
        1 => Just(".".to_owned()),
        1 => Just("/".to_owned()),
    ]
}

fn whiteout() -> impl Strategy<Value = Item> {
    (prop::collection::vec(part(), 0..3), prop_oneof![3 => part().prop_map(|part| format!(".wh.{part}")), 1 => Just(".wh..wh..opq".to_owned())])
        .prop_map(|(mut parents, last)| {
            parents.push(&last);
            file(parents.join("/"), "")
        })
}

fn entry(links: bool) -> impl Strategy<Value = Item> {
    let content = "[a-z]{0,9}";
    let attributes = (0..4_u32, 0..3_u64, 0..2_000_000_000_i64, any::<bool>());
    let item = prop_oneof![
        8 => (said(), content).prop_map(|(name, content)| file(name, content)),
        6 => said().prop_map(dir),
        3 => (said(), target()).prop_map(move |(name, target)| if links { symlink(name, target) } else { file(name, target) }),
        3 => (said(), target()).prop_map(|(name, target)| hard_link(name, target)),
        5 => whiteout(),
        1 => (whiteout(), content).prop_map(|(item, content)| item.payload(content.as_bytes())),
        1 => said().prop_map(|name| item(b'6', name)),
        1 => said().prop_map(|name| item(b'3', name).device(1, 3)),
        1 => said().prop_map(|name| item(b'3', name)),
        1 => (said(), content).prop_map(|(name, content)| item(b'Z', name).payload(content.as_bytes())),
        1 => (said(), content).prop_map(|(name, content)| item(b'D', name).payload(content.as_bytes())),
    ];
    (item, attributes).prop_map(|(item, (mode, uid, mtime, xattr))| {
        let item = Item {
            mode: [0o644, 0o4755, 0o700, 0o1777][mode as usize],
            ..item
        }
        .owner(uid, uid);
        let item = item.mtime(&format!("{mtime}.25"));
        if xattr && matches!(item.kind, b'0' | b'5') {
            item.xattr("user.x", b"value")
        } else {
            item
        }
    })
}

pub(crate) fn layers(links: bool) -> impl Strategy<Value = Vec<Vec<Item>>> {
    prop::collection::vec(prop::collection::vec(entry(links), 0..14), 1..4)
}

/// Applies layers on top of each other, checks that each comes back, and returns what shows
/// after each, or the first refusal.
fn run(driver: &str, layers: &[Vec<Item>]) -> (Vec<Tree>, Option<String>) {
    let bench = Bench::in_memory(driver, &DriverOptions::default());
    let (mut made, mut trees) = (Vec::new(), Vec::new());
    for items in layers {
        match bench.try_layer(made.last(), items) {
            Ok(layer) => {
                bench.check_comes_back(&layer);
                trees.push(bench.shown(&layer));
                made.push(layer);
            }
            Err(refusal) => {
                bench.check_clean();
                return (trees, Some(refusal));
            }
        }
    }
    for layer in &made {
        bench.check_comes_back(layer);
    }
    bench.check_clean();
    (trees, None)
}

pub(crate) fn config() -> ProptestConfig {
    // More on request, by LITH_CASES=20000.
    let cases = std::env::var("LITH_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok())
        .unwrap_or(80);
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    }
}

#[test]
fn random_layers_come_back_and_all_drivers_agree() {
    if !root("random_layers_come_back") {
        return;
    }
    proptest!(config(), |(layers in layers(true))| {
        let overlay = run(DRIVERS[0], &layers);
        for driver in &DRIVERS[1..] {
            let other = run(driver, &layers);
            prop_assert_eq!(&overlay.1, &other.1, "overlay, {}", driver);
            for (layer, (overlay, other)) in overlay.0.iter().zip(&other.0).enumerate() {
                for place in overlay.keys().chain(other.keys()) {
                    let place_shown = String::from_utf8_lossy(place);
                    let (one, two) = (overlay.get(place), other.get(place));
                    prop_assert_eq!(one, two, "layer {} at {:?}: overlay, {}", layer, place_shown, driver);
                }
            }
        }
    });
}

/// Layers with so many files that threads make them, in places that other entries want too.
fn crowded() -> impl Strategy<Value = Vec<Vec<Item>>> {
    let files = prop::collection::vec((place(), 0..600_usize), 1..40);
    let layer = prop::collection::vec((files, entry(true)), 10..20).prop_map(|steps| {
        let mut items = Vec::new();
        for (files, item) in steps {
            for (place, size) in files {
                let name = format!("{place}/file-{}", items.len());
                items.push(file(name, "x".repeat(size)));
            }
            items.push(item);
        }
        items
    });
    prop::collection::vec(layer, 1..3)
}

/// The same, on one processor: then no threads make files.
fn run_alone(layers: &[Vec<Item>]) -> (Vec<Tree>, Option<String>) {
    let alone = || {
        let mut one = nix::sched::CpuSet::new();
        let all = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)).unwrap();
        let first = (0..nix::sched::CpuSet::count()).find(|cpu| all.is_set(*cpu).unwrap());
        one.set(first.unwrap()).unwrap();
        nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &one).unwrap();
        assert_eq!(std::thread::available_parallelism().unwrap().get(), 1);
        run(DRIVERS[0], layers)
    };
    std::thread::scope(|scope| scope.spawn(alone).join().unwrap())
}

#[test]
fn random_layers_are_the_same_however_many_threads_make_them() {
    if !root("random_layers_are_the_same_however_many_threads_make_them") {
        return;
    }
    if std::thread::available_parallelism().unwrap().get() == 1 {
        println!("SKIPPED: there is one processor only");
        return;
    }
    let cases = ProptestConfig {
        cases: config().cases / 2,
        ..config()
    };
    proptest!(cases, |(layers in crowded())| {
        let (alone, threads) = (run_alone(&layers), run(DRIVERS[0], &layers));
        prop_assert_eq!(alone.1, threads.1);
        prop_assert_eq!(alone.0.len(), threads.0.len());
        for (layer, (alone, threads)) in alone.0.iter().zip(&threads.0).enumerate() {
            for place in alone.keys().chain(threads.keys()) {
                let (a, t) = (alone.get(place), threads.get(place));
                prop_assert_eq!(a, t, "layer {} at {:?}: alone, threads", layer, String::from_utf8_lossy(place));
            }
        }
    });
}

#[test]
fn random_layers_show_what_the_model_says() {
    if !root("random_layers_show_what_the_model_says") {
        return;
    }
    proptest!(config(), |(layers in layers(false))| {
        let (trees, refusal) = run(DRIVERS[0], &layers);
        let mut below = BTreeMap::new();
        for (layer, items) in layers.iter().enumerate() {
            let Some(model) = model(&below, items) else {
                prop_assert!(refusal.is_some() && trees.len() == layer, "should be refused: {refusal:?}");
                return Ok(());
            };
            prop_assert!(trees.len() > layer, "layer {layer}: {refusal:?}");
            let found: BTreeMap<String, String> = trees[layer]
                .iter()
                .filter(|(place, _)| !place.is_empty())
                .map(|(place, node)| {
                    let content = String::from_utf8_lossy(&node.content).into_owned();
                    (String::from_utf8_lossy(place).into_owned(), format!("{}{content}", node.kind))
                })
                .collect();
            prop_assert_eq!(&found, &model, "layer {}", layer);
            below = model;
        }
    });
}

/// What shows: a letter for the kind and the content of files.
type Shown = BTreeMap<String, String>;

fn clean(name: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn ancestors(place: &str) -> Vec<&str> {
    place
        .match_indices('/')
        .map(|(at, _)| &place[..at])
        .collect()
}

fn below(place: &str, above: &str) -> bool {
    place
        .strip_prefix(above)
        .is_some_and(|rest| rest.starts_with('/'))
}

/// The rules of layers, without symbolic links, in the plainest words. `None`: to be refused.
fn model(lower: &Shown, items: &[Item]) -> Option<Shown> {
    #[derive(Default)]
    struct Model {
        own: Shown,
        /// Waiting hard links: the target, and whether it was in the layer.
        waiting: BTreeMap<String, (String, bool)>,
        /// The lower layers' name, and all below it, is hidden.
        cut: BTreeSet<String>,
        /// Only what is below it.
        opaque: BTreeSet<String>,
        /// Directories that whiteouts need.
        touched: BTreeSet<String>,
    }
    impl Model {
        fn replace(&mut self, place: &str) {
            self.own.retain(|p, _| p != place && !below(p, place));
            self.waiting.retain(|p, _| p != place && !below(p, place));
            self.touched.retain(|p| p != place && !below(p, place));
            self.cut.retain(|p| !below(p, place));
            self.opaque.retain(|p| p != place && !below(p, place));
        }
        fn holds_other(&self, place: &str) -> bool {
            self.own.get(place).is_some_and(|own| own != "d")
        }
        fn parents(&mut self, place: &str) {
            for above in ancestors(place) {
                if self.holds_other(above) {
                    self.replace(above);
                    self.cut.insert(above.to_owned());
                }
                self.own.insert(above.to_owned(), "d".to_owned());
            }
        }
    }
    let mut m = Model::default();
    for item in items {
        let place = clean(std::str::from_utf8(&item.name).unwrap());
        let (parent, last) = place.rsplit_once('/').unwrap_or(("", &place));
        let device_whiteout = item.kind == b'3' && item.device == (0, 0);
        let hidden = if device_whiteout {
            Some(last)
        } else {
            last.strip_prefix(".wh.")
        };
        if let Some(hidden) = hidden {
            let taken = ancestors(&place).iter().any(|above| m.holds_other(above));
            // Below what is hidden already there is nothing to touch.
            let gone =
                |p: &str| m.cut.contains(p) && !m.own.contains_key(p) && !m.touched.contains(p);
            if taken || ancestors(&place).iter().any(|above| gone(above)) {
                continue;
            }
            m.touched
                .extend(ancestors(&place).iter().map(|above| (*above).to_owned()));
            let hidden = if parent.is_empty() {
                hidden.to_owned()
            } else {
                format!("{parent}/{hidden}")
            };
            if last == ".wh..wh..opq" {
                m.opaque.insert(parent.to_owned());
            } else {
                if !m.own.contains_key(&hidden) {
                    m.touched.retain(|p| *p != hidden && !below(p, &hidden));
                }
                m.cut.insert(hidden);
            }
            continue;
        }
        let content = String::from_utf8_lossy(&item.payload).into_owned();
        if item.kind == b'Z' && content.is_empty() {
            continue;
        }
        if place.is_empty() {
            continue;
        }
        m.parents(&place);
        match item.kind {
            b'5' | b'D' => {
                if m.holds_other(&place) {
                    m.replace(&place);
                    m.cut.insert(place.clone());
                }
                m.own.insert(place, "d".to_owned());
            }
            b'1' => {
                let target = clean(std::str::from_utf8(&item.link).unwrap());
                if target.is_empty() {
                    return None;
                }
                // Something under a file of the layer is not there.
                let value = match m.own.get(&target).cloned() {
                    Some(value) => value,
                    // Only whiteouts needed it, but it is a directory.
                    None if m.touched.contains(&target) => "d".to_owned(),
                    None => "?".to_owned(),
                };
                match value.as_str() {
                    "d" => return None,
                    "?" => {
                        let in_layer = m.waiting.contains_key(&target);
                        if place == target && in_layer {
                            continue;
                        }
                        m.replace(&place);
                        m.own.insert(place.clone(), "?".to_owned());
                        m.waiting.insert(place, (target, in_layer));
                    }
                    _ if place == target => {}
                    // Its own making takes the target away.
                    _ if below(&target, &place) => return None,
                    _ => {
                        m.replace(&place);
                        // The target may have been below.
                        m.own.insert(place, value);
                    }
                }
            }
            kind => {
                m.replace(&place);
                let letter = match kind {
                    b'6' => "p",
                    b'3' => "c",
                    _ => "f",
                };
                m.own.insert(place, format!("{letter}{content}"));
            }
        }
    }
    // Hard links find what was below first.
    let waiting: Vec<String> = m.waiting.keys().cloned().collect();
    for _ in 0..=waiting.len() {
        for place in &waiting {
            let (target, in_layer) = m.waiting[place].clone();
            let from_below = if in_layer {
                None
            } else {
                lower.get(&target).cloned()
            };
            let own = m.own.get(&target).filter(|own| *own != "?").cloned();
            match from_below.or(own) {
                Some(value) if value == "d" => return None,
                Some(value) => drop(m.own.insert(place.clone(), value)),
                None => {}
            }
        }
    }
    if m.own.values().any(|value| value == "?") {
        return None;
    }
    let mut shown = Shown::new();
    for (place, value) in lower {
        let hidden = m.cut.contains(place)
            || ancestors(place).iter().any(|above| {
                m.cut.contains(*above) || m.opaque.contains(*above) || m.holds_other(above)
            })
            || m.opaque.contains("");
        if !hidden {
            shown.insert(place.clone(), value.clone());
        }
    }
    for place in &m.touched {
        if shown.get(place).is_none_or(|value| value != "d") {
            shown.retain(|p, _| !below(p, place));
            shown.insert(place.clone(), "d".to_owned());
        }
    }
    for (place, value) in m.own {
        shown.insert(place, value);
    }
    Some(shown)
}
