//! Layers of an ordinary user: every file the user's own, what it is to be recorded.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use lith_drivers::{DriverError, DriverOptions, Ownership, default_driver};

use proptest::prelude::*;

use crate::property;
use crate::support::{
    self, BUILT_IN, Bench, Item, Layer, Node, Tree, as_user, brief, dir, file, hard_link, item,
    root, symlink, tree_of, user_folder,
};

const USER: u32 = 54_321;
const RECORD: &[u8] = b"user.lith.recorded";

fn recorded() -> DriverOptions {
    let mut options = DriverOptions::default();
    options.ownership = Ownership::Recorded;
    options
}

fn base() -> Vec<Item> {
    let capability: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    vec![
        dir("").mode(0o711).owner(3, 4),
        dir("closed").mode(0).owner(1, 2).xattr("user.d", b"1"),
        file("closed/file", "f").mode(0).owner(5, 6),
        dir("closed/sticky").mode(0o1777).xattr("trusted.t", b"x"),
        file("setid", "s").mode(0o6511).owner(7, 8),
        file("able", "able")
            .owner(9, 9)
            .xattr("security.capability", &capability)
            .xattr("user.u", b"\0\xff"),
        item(b'3', "tty")
            .device(5, 1)
            .owner(0, 5)
            .mode(0o620)
            .xattr("user.skipped", b"1"),
        item(b'4', "disk").device(259, 1_048_575).mode(0o660),
        item(b'6', "fifo").owner(10, 10).mode(0o644),
        symlink("link", "closed").owner(11, 12),
        symlink("root's", "/nowhere"),
        hard_link("link2", "link").owner(13, 14),
        hard_link("able2", "able").owner(9, 8).mode(0o755),
        hard_link("tty2", "tty").owner(0, 5).mode(0o666),
        file("implied/by", "name").owner(2, 2),
        file("gone/file", ""),
        dir("opaque").owner(20, 20).mode(0o500),
        file("opaque/below", ""),
        symlink("deep/er/link", "x").owner(15, 0),
        file("big", vec![b'b'; 70_000]).mtime("-5.25"),
    ]
}

fn upper() -> Vec<Item> {
    vec![
        file("closed/new", "n").owner(1003, 0),
        file(".wh.gone", ""),
        file("opaque/.wh..wh..opq", ""),
        file("opaque/above", ""),
        hard_link("far", "able2").owner(1, 1),
        hard_link("far link", "link").owner(77, 77),
        hard_link("fifo2", "fifo").owner(10, 11).mode(0o600),
        symlink("deep/er/other", "y").owner(16, 16),
        file("link/through", "not followed"),
        symlink("root's", "/elsewhere").owner(1, 1),
        symlink("root's", "/again"),
    ]
}

fn third() -> Vec<Item> {
    vec![
        file("closed/more", ""),
        file("deep/.wh.er", ""),
        file("deep/er/back", "b"),
        item(b'3', "closed/zero").device(0, 0),
        item(b'3', "disk").device(1, 3),
    ]
}

fn layers(bench: &Bench) -> [Layer; 3] {
    let one = bench.layer(None, &base());
    let two = bench.layer(Some(&one), &upper());
    let three = bench.layer(Some(&two), &third());
    [one, two, three]
}

/// The tree as the records say it is to be; `said` finds those of links.
fn told(tree: Tree, said: impl Fn(&[u8]) -> Option<Vec<u8>>) -> Tree {
    let mut told = Tree::new();
    for (place, mut node) in tree {
        let record = if node.kind == 'l' {
            Some(said(&place).unwrap_or_else(|| b"0:0:777".to_vec()))
        } else {
            node.xattrs.remove(RECORD)
        };
        let record = record.unwrap_or_else(|| panic!("{:?}", String::from_utf8_lossy(&place)));
        tell(&mut node, &record);
        told.insert(place, node);
    }
    told
}

fn tell(node: &mut Node, record: &[u8]) {
    let mut parts = record.splitn(2, |byte| *byte == 0);
    let head = String::from_utf8(parts.next().unwrap().to_vec()).unwrap();
    let fields: Vec<&str> = head.split(':').collect();
    node.owner = (fields[0].parse().unwrap(), fields[1].parse().unwrap());
    node.mode = u32::from_str_radix(fields[2], 8).unwrap();
    if let Some(kind) = fields.get(3) {
        assert_eq!((node.kind, node.content.len()), ('f', 0));
        let mut numbers = kind.split('-').skip(1).map(|n| n.parse().unwrap());
        node.kind = kind.chars().next().unwrap();
        if node.kind != 'p' {
            node.device = rustix::fs::makedev(numbers.next().unwrap(), numbers.next().unwrap());
        }
    }
    let mut rest = parts.next().unwrap_or_default();
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        let (name, behind) = (rest[..end].to_vec(), &rest[end + 1..]);
        let length = u32::from_le_bytes(behind[..4].try_into().unwrap()) as usize;
        node.xattrs.insert(name, behind[4..4 + length].to_vec());
        rest = behind.get(5 + length..).unwrap_or_default();
    }
}

/// What is said of a link in the topmost of these layers that has something there.
fn said_of(bench: &Bench, tree: &str, layers: &[Layer], place: &[u8]) -> Option<Vec<u8>> {
    let place = std::ffi::OsStr::from_bytes(place);
    for layer in layers.iter().rev() {
        let folder = bench.home().join(layer.id.as_str());
        if folder.join(tree).join(place).symlink_metadata().is_ok() {
            let mut value = vec![0; 4096];
            let beside = folder.join("links").join(place);
            let length = rustix::fs::lgetxattr(beside, RECORD, &mut value[..]).ok()?;
            value.truncate(length);
            return Some(value);
        }
    }
    None
}

/// Asserts that all files are the user's and that the user can read and remove them.
fn check_own(path: &Path) {
    let mut todo = vec![path.to_owned()];
    while let Some(path) = todo.pop() {
        let meta = path.symlink_metadata().unwrap();
        assert_eq!((meta.uid(), meta.gid()), (USER, USER), "{}", path.display());
        let kind = meta.file_type();
        if kind.is_dir() {
            assert_eq!(meta.mode() & 0o700, 0o700, "{}", path.display());
            let entries = std::fs::read_dir(&path).unwrap();
            todo.extend(entries.map(|entry| entry.unwrap().path()));
        } else if kind.is_file() {
            assert_eq!(meta.mode() & 0o600, 0o600, "{}", path.display());
        } else {
            assert!(kind.is_symlink() || meta.rdev() == 0, "{}", path.display());
        }
    }
}

#[test]
fn a_users_layers_say_all_that_roots_are() {
    if !root("a_users_layers_say_all_that_roots_are") {
        return;
    }
    for driver in BUILT_IN {
        let plain = Bench::new(driver);
        let theirs = layers(&plain);
        let (bench, ours) = as_user(USER, || {
            let bench = Bench::inside(user_folder(), driver, &recorded());
            let ours = layers(&bench);
            for layer in &ours {
                bench.check_comes_back(layer);
            }
            (bench, ours)
        });
        check_own(bench.home());
        let tree = if driver == "overlay" { "diff" } else { "tree" };
        for n in 0..theirs.len() {
            let mut expected = plain.shown(&theirs[n]);
            let shown = bench.shown(&ours[n]);
            let beneath = if driver == "overlay" {
                &ours[..=n]
            } else {
                &ours[n..=n]
            };
            let mut found = told(shown, |place| said_of(&bench, tree, beneath, place));
            // The machine's own labels.
            for node in expected.values_mut().chain(found.values_mut()) {
                node.xattrs.retain(|name, _| name != b"security.selinux");
            }
            assert_eq!(brief(&found), brief(&expected), "{driver} {n}");
            for (place, node) in &expected {
                let name = String::from_utf8_lossy(place);
                assert_eq!(found.get(place), Some(node), "{driver} {n}: {name}");
            }
        }
        // Sizes do not depend on who counts.
        for n in 0..3_usize {
            let parent = |layers: &[Layer]| n.checked_sub(1).map(|n| layers[n].id.clone());
            let counted = as_user(USER, || {
                bench.driver.diff_size(&ours[n].id, parent(&ours).as_ref())
            });
            let expected = plain
                .driver
                .diff_size(&theirs[n].id, parent(&theirs).as_ref());
            assert_eq!(counted.unwrap(), expected.unwrap(), "{driver} {n}");
        }
        as_user(USER, || {
            for layer in ours.iter().rev() {
                assert!(bench.driver.usage(&layer.id).unwrap().files > 3);
                bench.driver.remove(&layer.id).unwrap();
            }
            bench.check_clean();
            assert_eq!(bench.driver.list().unwrap(), []);
        });
    }
}

/// Applies layers as `layers` of a driver; stops at the first refusal.
fn apply(bench: &Bench, layers: &[Vec<Item>]) -> (Vec<Layer>, Option<String>) {
    let mut made: Vec<Layer> = Vec::new();
    for items in layers {
        match bench.try_layer(made.last(), items) {
            Ok(layer) => {
                bench.check_comes_back(&layer);
                made.push(layer);
            }
            Err(refusal) => return (made, Some(refusal)),
        }
    }
    (made, None)
}

#[test]
fn random_layers_of_a_user_say_what_roots_are() {
    if !root("random_layers_of_a_user_say_what_roots_are") {
        return;
    }
    let config = ProptestConfig {
        cases: property::config().cases / 2,
        ..property::config()
    };
    proptest!(config, |(layers in property::layers(true))| {
        for driver in BUILT_IN {
            let plain = Bench::in_memory(driver, &DriverOptions::default());
            let (theirs, expected_refusal) = apply(&plain, &layers);
            let (bench, ours, refusal) = as_user(USER, || {
                let bench = Bench::inside(user_folder(), driver, &recorded());
                let (ours, refusal) = apply(&bench, &layers);
                bench.check_clean();
                (bench, ours, refusal)
            });
            prop_assert_eq!(refusal, expected_refusal);
            check_own(bench.home());
            let tree = if driver == "overlay" { "diff" } else { "tree" };
            for (n, (theirs, layer)) in theirs.iter().zip(&ours).enumerate() {
                let expected = plain.shown(theirs);
                let beneath = if driver == "overlay" { &ours[..=n] } else { &ours[n..=n] };
                let found = told(bench.shown(layer), |place| said_of(&bench, tree, beneath, place));
                for place in expected.keys().chain(found.keys()) {
                    let (theirs, ours) = (expected.get(place), found.get(place));
                    let name = String::from_utf8_lossy(place);
                    prop_assert_eq!(theirs, ours, "{} {} at {:?}: root, user", driver, n, name);
                }
            }
        }
    });
}

#[test]
fn an_image_cannot_write_records() {
    if !root("an_image_cannot_write_records") {
        return;
    }
    let name = "user.lith.recorded";
    let items = [
        file("a", "x").xattr(name, b"0:0:7777:char-1-1"),
        dir("d").xattr(name, b"nonsense"),
        dir("o").xattr("user.overlay.opaque", b"y"),
        symlink("l", "a").xattr(name, b"1:1:777"),
    ];
    for driver in BUILT_IN {
        let bench = as_user(USER, || {
            let bench = Bench::inside(user_folder(), driver, &recorded());
            let layer = bench.layer(None, &items);
            bench.layer(Some(&layer), &[file("d/below", "")]);
            bench.check_comes_back(&layer);
            bench
        });
        let tree = if driver == "overlay" { "diff" } else { "tree" };
        for id in bench.driver.list().unwrap() {
            let tree = tree_of(&bench.home().join(id.as_str()).join(tree));
            let Some(node) = tree.get(&b"a"[..]) else {
                continue;
            };
            let record = &node.xattrs[RECORD];
            assert!(
                record.starts_with(b"0:0:644\0user.lith.recorded\0"),
                "{driver}"
            );
            assert_eq!(node.xattrs.len(), 1, "{driver}");
            assert_eq!(tree[&b"o"[..]].xattrs.len(), 1, "{driver}");
            let told = told(tree, |_| None);
            let nested = BTreeMap::from([(RECORD.to_vec(), b"nonsense".to_vec())]);
            assert_eq!(told[&b"d"[..]].xattrs, nested, "{driver}");
        }
    }
}

#[test]
fn other_modes_need_more_than_a_user_has() {
    if !root("other_modes_need_more_than_a_user_has") {
        return;
    }
    as_user(USER, || {
        let temp = user_folder();
        for driver in BUILT_IN {
            let Err(error) = support::open(driver, temp.path(), &DriverOptions::default()) else {
                panic!("a user with root's files");
            };
            assert!(matches!(error, DriverError::Unsuitable { .. }), "{error}");
        }
        assert_eq!(default_driver(temp.path(), Ownership::Recorded), "overlay");
        assert_eq!(default_driver(temp.path(), Ownership::Real), "vfs");
    });
}

#[test]
fn a_tree_is_written_as_it_is_to_be_and_not_as_it_lies() {
    if !root("a_tree_is_written_as_it_is_to_be") {
        return;
    }
    for driver in BUILT_IN {
        let mut shown = Vec::new();
        for options in [DriverOptions::default(), recorded()] {
            let bench = Bench::with(driver, &options);
            let low = bench.layer(None, &base());
            let top = bench.layer(Some(&low), &upper());
            let mut options = lith_drivers::DiffOptions::default();
            options.root = true;
            let (tree, below) = (bench.driver.tree(&top.id), bench.driver.tree(&low.id));
            let mut tar = Vec::new();
            lith_drivers::diff(tree.as_ref().unwrap(), None, &options, &mut tar).unwrap();
            let told = lith_drivers::changes(&tree.unwrap(), Some(&below.unwrap())).unwrap();
            let flat = Bench::new(driver);
            let layer = flat.try_tar(None, tar).unwrap();
            shown.push((flat.shown(&layer), told));
        }
        let (recorded, real) = (shown.pop().unwrap(), shown.pop().unwrap());
        for (place, node) in &real.0 {
            let text = String::from_utf8_lossy(place);
            assert_eq!(recorded.0.get(place), Some(node), "{driver} {text}");
        }
        assert_eq!(recorded.0.len(), real.0.len());
        assert_eq!(recorded.1, real.1);
    }
}
