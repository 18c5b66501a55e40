//! Owners that are shifted by ID maps.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use lith_drivers::{
    ApplyError, DraftBody, DriverError, DriverOptions, IdKind, IdMaps, IdRange, Kept, Ownership,
    Parent,
};
use lith_tarsplit::Splitter;

use crate::support::{
    self, Bench, DRIVERS, Item, Layer, Tree, dir, file, hard_link, item, root, symlink, tar,
    tree_of,
};

fn range(container: u32, host: u32, count: u32) -> IdRange {
    IdRange {
        container,
        host,
        count,
    }
}

/// Two ranges for users, which go different ways.
fn maps() -> IdMaps {
    let uids = vec![range(0, 100_000, 1000), range(1000, 50_000, 10)];
    IdMaps::new(uids, vec![range(0, 300_000, 2000)]).unwrap()
}

fn mapped(maps: IdMaps) -> DriverOptions {
    let mut options = DriverOptions::default();
    options.ownership = Ownership::Mapped;
    options.id_maps = Some(maps);
    options
}

fn capability(root: Option<u32>) -> Vec<u8> {
    let mut value = vec![1, 0, 0, 2, 0, 0x20, 0, 0];
    value.resize(20, 0);
    if let Some(root) = root {
        value[3] = 3;
        value.extend_from_slice(&root.to_le_bytes());
    }
    value
}

fn access_list(user: u32, group: u32) -> Vec<u8> {
    let all = u32::MAX;
    let entries = [
        (1, all),
        (2, user),
        (4, all),
        (8, group),
        (16, all),
        (32, all),
    ];
    let mut value = vec![2, 0, 0, 0];
    for (tag, id) in entries {
        value.extend_from_slice(&[tag, 0, 4, 0]);
        value.extend_from_slice(&id.to_le_bytes());
    }
    value
}

const ACCESS: &str = "system.posix_acl_access";
const CAPABILITY: &str = "security.capability";

fn base() -> Vec<Item> {
    vec![
        dir("d").owner(1001, 7).mode(0o2751),
        dir("d/e").owner(999, 1999).xattr("user.d", b"1"),
        file("d/e/f", "f").owner(1009, 5).mode(0o4755),
        file("d/e/g", "g").owner(3, 3),
        file("list", "x")
            .owner(1, 2)
            .xattr(ACCESS, &access_list(1005, 6)),
        file("able", "x")
            .owner(5, 5)
            .xattr(CAPABILITY, &capability(None)),
        file("able too", "x").xattr(CAPABILITY, &capability(Some(1002))),
        symlink("link", "d").owner(8, 9),
        item(b'3', "tty").device(5, 1).owner(0, 5),
        item(b'6', "fifo").owner(1000, 1000),
        hard_link("again", "able").owner(5, 5),
        file("implied/by", "name").owner(2, 2),
    ]
}

fn upper() -> Vec<Item> {
    vec![
        file("d/e/new", "n").owner(1003, 0),
        file("d/e/.wh.g", ""),
        hard_link("far", "able too"),
        hard_link("fifo2", "fifo").owner(1000, 1000),
        dir("swap").owner(6, 6),
        file("implied/again", ""),
    ]
}

fn layers(bench: &Bench) -> [Layer; 3] {
    let one = bench.layer(None, &base());
    let two = bench.layer(Some(&one), &upper());
    let three = bench.layer(Some(&two), &[file("d/e/more", "")]);
    [one, two, three]
}

/// What a container with these maps would see.
fn seen(mut tree: Tree, maps: &IdMaps) -> Tree {
    for (place, node) in &mut tree {
        let back = |kind, id| {
            maps.to_container(kind, id)
                .unwrap_or_else(|| panic!("{kind} {id} of {}", String::from_utf8_lossy(place)))
        };
        let (uid, gid) = node.owner;
        node.owner = (back(IdKind::User, uid), back(IdKind::Group, gid));
    }
    tree
}

#[test]
fn a_container_with_the_maps_sees_what_the_layers_say() {
    if !root("a_container_with_the_maps") {
        return;
    }
    for driver in DRIVERS {
        let plain = Bench::new(driver);
        let bench = Bench::with(driver, &mapped(maps()));
        let (theirs, ours) = (layers(&plain), layers(&bench));
        for (theirs, ours) in theirs.iter().zip(&ours) {
            let (mut expected, mut found) = (plain.shown(theirs), bench.shown(ours));
            for place in ["list", "able", "again", "able too", "far"] {
                for tree in [&mut expected, &mut found] {
                    if let Some(node) = tree.get_mut(place.as_bytes()) {
                        node.xattrs.remove(ACCESS.as_bytes());
                        node.xattrs.remove(CAPABILITY.as_bytes());
                    }
                }
            }
            assert_eq!(seen(found, &maps()), expected, "{driver}");
            bench.check_comes_back(ours);
        }
        let top = bench.shown(&ours[2]);
        let xattr = |place: &str, name: &str| {
            let node = &top[place.as_bytes()];
            node.xattrs
                .get(name.as_bytes())
                .unwrap_or_else(|| panic!("{driver}: {place} has {:?}", node.xattrs))
        };
        assert_eq!(xattr("list", ACCESS), &access_list(50_005, 300_006));
        assert_eq!(xattr("able", CAPABILITY), &capability(Some(100_000)));
        assert_eq!(xattr("again", CAPABILITY), &capability(Some(100_000)));
        for place in ["able too", "far"] {
            assert_eq!(xattr(place, CAPABILITY), &capability(Some(50_002)));
        }
    }
}

#[test]
fn whatever_a_driver_makes_is_in_the_maps() {
    if !root("whatever_a_driver_makes") {
        return;
    }
    for driver in DRIVERS {
        let bench = Bench::with(driver, &mapped(maps()));
        layers(&bench);
        let owners: BTreeMap<Vec<u8>, (u32, u32)> = tree_of(bench.home())
            .into_iter()
            .map(|(place, node)| (place, node.owner))
            .collect();
        for (place, (uid, gid)) in &owners {
            let known = maps().to_container(IdKind::User, *uid).is_some()
                && maps().to_container(IdKind::Group, *gid).is_some();
            assert!(known, "{driver}: {}", String::from_utf8_lossy(place));
        }
        for place in [&b""[..], b".work"] {
            assert_eq!(owners[place], (100_000, 300_000));
        }
        // The folder that was made for it on the way as well, the one that was there not.
        let made = bench.temp.path().join("drivers").metadata().unwrap();
        assert_eq!((made.uid(), made.gid()), (100_000, 300_000));
        assert_eq!(bench.temp.path().metadata().unwrap().uid(), 0);
        let whiteouts = owners.iter().filter(|(place, _)| place.ends_with(b"/g"));
        let expected = if driver == "overlay" { 2 } else { 1 };
        assert_eq!(whiteouts.count(), expected, "{driver}");
    }
}

fn apply(bench: &Bench, items: &[Item]) -> Result<(), ApplyError> {
    let mut draft = bench.driver.prepare(Parent::None).unwrap();
    let DraftBody::Tree(tree) = draft.body() else {
        panic!("a tree driver")
    };
    let mut kept = Kept::new(&bench.temp.path().join("kept"));
    let tar = tar(items);
    let mut splitter = Splitter::new(&tar[..], std::io::sink());
    while let Some(mut entry) = splitter.next_entry().unwrap() {
        let (metadata, payload) = entry.into_parts();
        tree.apply(metadata, payload, &mut kept)?;
    }
    match draft.commit(&"x".parse().unwrap(), None) {
        Err(DriverError::Apply(error)) => Err(error),
        done => {
            done.unwrap();
            Ok(())
        }
    }
}

#[test]
fn ids_outside_the_maps_are_named_and_leave_nothing() {
    if !root("ids_outside_the_maps") {
        return;
    }
    for driver in DRIVERS {
        let bench = Bench::with(driver, &mapped(maps()));
        let (user, group) = (IdKind::User, IdKind::Group);
        for (entry, expected) in [
            (file("x", "f").owner(1010, 0), (user, 1010)),
            (file("x", "f").owner(0, 2000), (group, 2000)),
            (dir("x").owner(100_000, 0), (user, 100_000)),
            (symlink("x", "f").owner(0, 300_000), (group, 300_000)),
            (hard_link("x", "good").owner(5000, 0), (user, 5000)),
            (hard_link("x", "nowhere").owner(5000, 0), (user, 5000)),
            (item(b'3', "x").device(5, 1).owner(0, 5000), (group, 5000)),
            (item(b'6', "x").owner(5000, 0), (user, 5000)),
            (dir("./").owner(5000, 0), (user, 5000)),
            (
                file("x", "f").xattr(ACCESS, &access_list(0, 5000)),
                (group, 5000),
            ),
            (
                dir("x").xattr(CAPABILITY, &capability(Some(5000))),
                (user, 5000),
            ),
        ] {
            let path = String::from_utf8(entry.name.clone()).unwrap();
            let error = apply(&bench, &[file("good", "g"), entry]).unwrap_err();
            let text = error.to_string();
            match error {
                ApplyError::Unmapped { name, kind, id, .. } => {
                    assert_eq!((kind, id), expected, "{driver}: {text}");
                    assert_eq!(name.trim_end_matches('/'), path.trim_end_matches('/'));
                }
                other => panic!("{other}"),
            }
            let end = format!("{} {} is outside the ID maps", expected.0, expected.1);
            assert!(text.ends_with(&end), "{text}");
            assert_eq!(bench.driver.list().unwrap(), []);
            bench.check_clean();
        }
        // What hides something is no file: its owner does not matter.
        apply(&bench, &[file(".wh.x", "").owner(5000, 5000)]).unwrap();
    }
}

#[test]
fn root_outside_the_maps_is_an_error_like_any_other() {
    if !root("root_outside_the_maps") {
        return;
    }
    for driver in DRIVERS {
        let ids = || vec![range(1, 100_000, 100)];
        let bench = Bench::with(driver, &mapped(IdMaps::new(ids(), ids()).unwrap()));
        let described = [
            dir("./").owner(1, 1),
            dir("d").owner(1, 1),
            file("d/f", "").owner(1, 1),
        ];
        apply(&bench, &described[1..])
            .map_err(|error| match error {
                ApplyError::UnmappedRoot { path, kind } => {
                    assert_eq!((path.as_path(), kind), (Path::new("."), IdKind::User));
                }
                other => panic!("{other}"),
            })
            .unwrap_err();
        bench.check_clean();
        // Described last, in the place of one that was not.
        let late = [
            file("d/e/f", "").owner(1, 1),
            file("d", "").owner(1, 1),
            file("d/f", "").owner(1, 1),
            dir("d").owner(1, 1),
            dir("./").owner(1, 1),
        ];
        for items in [&described[..], &late] {
            apply(&bench, items).unwrap();
            let tree = tree_of(&bench.home().join("x"));
            let root = if driver == "overlay" { "diff" } else { "tree" };
            for place in [root.to_owned(), format!("{root}/d")] {
                assert_eq!(tree[place.as_bytes()].owner, (100_000, 100_000), "{driver}");
            }
            bench.driver.remove(&"x".parse().unwrap()).unwrap();
        }
        let error = apply(
            &bench,
            &[described[0].clone(), file("implied/f", "").owner(1, 1)],
        )
        .unwrap_err()
        .to_string();
        let expected = "directory implied, which no entry describes: user 0 is outside the ID maps";
        assert_eq!(error, expected, "{driver}");
    }
}

#[test]
fn maps_and_ownership_go_together() {
    if !root("maps_and_ownership_go_together") {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    for driver in DRIVERS {
        let home = temp.path().join(driver);
        let mut options = DriverOptions::default();
        options.id_maps = Some(maps());
        let Err(error) = support::open(driver, &home, &options) else {
            panic!("real ownership with maps");
        };
        assert_eq!(error.to_string(), "ownership real takes no ID maps");
        let mut options = DriverOptions::default();
        options.ownership = Ownership::Mapped;
        let Err(error) = support::open(driver, &home, &options) else {
            panic!("mapped ownership without maps");
        };
        assert_eq!(error.to_string(), "ownership mapped needs ID maps");
        assert!(!home.exists());
        let status = Bench::with(driver, &mapped(maps()))
            .driver
            .status()
            .unwrap();
        assert!(status.contains(&("ID maps".to_owned(), maps().to_string())));
    }
}
