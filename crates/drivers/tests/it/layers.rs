//! Layers as wholes: listed, removed, left behind by the dead.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;

use lith_drivers::{CacheId, DriverOptions, MountRequest, Parent, Placed, names};

use crate::support::{
    BUILT_IN, Bench, DRIVERS, brief, dir, file, fill, hard_link, item, open, root, tar,
};

#[test]
fn exactly_the_committed_layers_are_listed() {
    if !root("exactly_the_committed_layers") {
        return;
    }
    assert_eq!(names(), BUILT_IN);
    for driver in DRIVERS {
        let bench = Bench::new(driver);
        let base = bench.layer(None, &[]);
        assert_eq!(brief(&bench.shown(&base)), [""; 0]);
        let upper = bench.layer(Some(&base), &[file("f", "")]);
        std::fs::write(bench.home().join("foreign"), "").unwrap();
        std::fs::create_dir(bench.home().join("Not an ID")).unwrap();
        let mut draft = bench.driver.prepare(Parent::Later).unwrap();
        fill(
            draft.body(),
            &tar(&[file("x", "")])[..],
            &bench.temp.path().join("k"),
        )
        .unwrap();
        let listed: BTreeSet<CacheId> = bench.driver.list().unwrap().into_iter().collect();
        assert_eq!(listed, [base.id.clone(), upper.id.clone()].into());
        assert!(
            bench.driver.exists(&base.id).unwrap()
                && !bench.driver.exists(&CacheId::random()).unwrap()
        );
        drop(draft);
        bench.check_clean();
        bench.driver.sync().unwrap();
        assert!(!bench.driver.status().unwrap().is_empty());
        let info = bench.driver.info();
        assert_eq!(
            (info.name.as_str(), info.stand_alone),
            (driver, driver != "copying")
        );
        assert!(!info.backing.is_empty());
    }
}

#[test]
fn what_the_dead_left_is_swept_and_the_living_are_not() {
    if !root("what_the_dead_left") {
        return;
    }
    for driver in DRIVERS {
        let bench = Bench::new(driver);
        let mut draft = bench.driver.prepare(Parent::Later).unwrap();
        fill(
            draft.body(),
            &tar(&[file("x", "alive")])[..],
            &bench.temp.path().join("k"),
        )
        .unwrap();
        let dead = bench.home().join(".work/dead/layer/tree/d");
        std::fs::create_dir_all(&dead).unwrap();
        std::fs::write(bench.home().join(".work/dead/lock"), "").unwrap();
        let again = open(driver, bench.home(), &DriverOptions::default()).unwrap();
        assert!(!dead.exists());
        assert_eq!(again.sweep().unwrap(), 0);
        let id = CacheId::random();
        assert_eq!(draft.commit(&id, None).unwrap(), Placed::New);
        assert!(again.exists(&id).unwrap());
        bench.check_clean();
    }
}

#[test]
fn drafts_that_wait_hold_no_descriptors() {
    if !root("drafts_that_wait") {
        return;
    }
    for driver in DRIVERS {
        let bench = Bench::new(driver);
        let base = bench.layer(None, &[file("d/below", "1"), file("hidden", "2")]);
        let open_files = || {
            let home = std::fs::canonicalize(bench.home()).unwrap();
            std::fs::read_dir("/proc/self/fd")
                .unwrap()
                .filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok())
                .filter(|target| target.starts_with(&home))
                .count()
        };
        let items = [
            file("d/new", "3"),
            hard_link("linked", "d/below"),
            item(b'0', ".wh.hidden"),
            item(b'0', "d/.wh.nothing"),
        ];
        let park = |number: usize| {
            let mut draft = bench.driver.prepare(Parent::Later).unwrap();
            let kept = bench.temp.path().join(format!("waits-{number}"));
            fill(draft.body(), &tar(&items)[..], &kept).unwrap();
            draft.park().unwrap()
        };
        let first = park(0);
        let one = open_files();
        let mut waiting: Vec<_> = (1..50).map(park).collect();
        assert_eq!(open_files(), one, "{driver}: of 50 drafts");
        assert_eq!(bench.driver.sweep().unwrap(), 0);
        // What is done when it has its place is done as ever.
        let id = CacheId::random();
        assert_eq!(first.commit(&id, Some(&base.id)).unwrap(), Placed::New);
        let last = waiting.pop().unwrap();
        let whole = CacheId::random();
        last.commit(&whole, Some(&id)).unwrap();
        let target = bench.temp.path().join("shown");
        std::fs::create_dir_all(&target).unwrap();
        let mount = bench
            .driver
            .mount(&MountRequest::new(&whole, &target))
            .unwrap();
        for (name, content) in [("d/below", "1"), ("d/new", "3"), ("linked", "1")] {
            let found = std::fs::read_to_string(target.join(name)).unwrap();
            assert_eq!(found, content, "{driver}: {name}");
        }
        for name in ["hidden", "d/nothing", "d/.wh.nothing"] {
            assert!(!target.join(name).exists(), "{driver}: {name}");
        }
        mount.unmount().unwrap();
        drop(waiting);
        bench.check_clean();
    }
}

#[test]
fn removal_never_goes_through_a_mount() {
    if !root("removal_never_goes_through_a_mount") {
        return;
    }
    let bench = Bench::new("overlay");
    let base = bench.layer(None, &[file("f", "x")]);
    let draft = bench.driver.prepare(Parent::None).unwrap();
    let work = std::fs::read_dir(bench.home().join(".work"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let target = work.join("0/layer/diff");
    let mount = bench
        .driver
        .mount(&MountRequest::new(&base.id, &target))
        .unwrap();
    drop(draft);
    assert!(target.join("f").exists());
    mount.unmount().unwrap();
    // Its lock is free now: the next sweep takes it.
    assert_eq!(bench.driver.sweep().unwrap(), 1);
    bench.check_comes_back(&base);
}

#[test]
fn a_vfs_copy_keeps_links_holes_and_attributes_but_no_inode() {
    if !root("a_vfs_copy_keeps_links") {
        return;
    }
    let bench = Bench::new("vfs");
    let base = bench.layer(
        None,
        &[
            dir("d")
                .mode(0o1711)
                .owner(3, 4)
                .mtime("55.5")
                .xattr("user.d", b"1"),
            file("d/one", "same")
                .mode(0o6750)
                .owner(7, 8)
                .mtime("-1.5")
                .xattr("user.f", b"2"),
            hard_link("two", "d/one")
                .mode(0o6750)
                .owner(7, 8)
                .mtime("-1.5"),
            item(b'6', "p").mode(0o600),
        ],
    );
    let upper = bench.layer(Some(&base), &[file("new", "")]);
    let (below, mut above) = (bench.shown(&base), bench.shown(&upper));
    above.remove(&b"new"[..]).unwrap();
    assert_eq!(above, below);
    let at = |layer: &crate::support::Layer, place: &str| {
        bench
            .home()
            .join(layer.id.as_str())
            .join("tree")
            .join(place)
            .metadata()
            .unwrap()
    };
    assert_eq!(at(&upper, "two").ino(), at(&upper, "d/one").ino());
    assert_ne!(at(&upper, "two").ino(), at(&base, "two").ino());
    assert_eq!(
        (at(&upper, "two").nlink(), at(&base, "two").nlink()),
        (2, 2)
    );
}

#[test]
fn sparse_files_get_their_holes_and_come_back() {
    if !root("sparse_files") {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("sparse");
    let file = std::fs::File::create(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"middle", 5 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"more", 7 << 20).unwrap();
    file.set_len(9 << 20).unwrap();
    for args in [
        &["--format=gnu"][..],
        &["--format=posix"],
        &["--format=posix", "--sparse-version=0.0"],
        &["--format=posix", "--sparse-version=0.1"],
    ] {
        let made = std::process::Command::new("tar")
            .args(["-cSf", "-", "-C"])
            .arg(temp.path())
            .args(args)
            .arg("sparse")
            .output();
        let Some(made) = made.ok().filter(|made| made.status.success()) else {
            eprintln!("SKIPPED: sparse_files needs GNU tar");
            return;
        };
        for driver in DRIVERS {
            let bench = Bench::new(driver);
            let layer = bench.try_tar(None, made.stdout.clone()).unwrap();
            bench.check_comes_back(&layer);
            let tree = bench.shown(&layer);
            assert!(
                tree[&b"sparse"[..]].content == std::fs::read(&path).unwrap(),
                "{args:?}"
            );
            assert_eq!(layer.summary.size, 9 << 20);
            let tree = if driver == "overlay" { "diff" } else { "tree" };
            let blocks = bench
                .home()
                .join(layer.id.as_str())
                .join(tree)
                .join("sparse")
                .metadata()
                .unwrap()
                .blocks();
            assert!(blocks < 100, "{driver} {args:?}: {blocks} blocks");
        }
    }
}
