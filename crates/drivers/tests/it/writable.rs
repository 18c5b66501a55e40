//! Layers that can be written: they last, are found again, and end only when they are to.

use std::fs;
use std::path::Path;

use lith_drivers::{CacheId, DriverError, DriverOptions, MountRequest, set_read_only, unmount};

use crate::support::{self, Bench, DRIVERS, brief, dir, file, root, tree_of};

fn on_each_driver(test: fn(&str)) {
    if root("writable layers") {
        for driver in DRIVERS {
            eprintln!("driver {driver}");
            test(driver);
        }
    }
}

fn mount_point(bench: &Bench) -> std::path::PathBuf {
    let target = bench.temp.path().join("rw");
    fs::create_dir_all(&target).unwrap();
    target
}

#[test]
fn what_is_written_survives_the_mount_and_the_process() {
    on_each_driver(|driver| {
        let bench = Bench::new(driver);
        let base = bench.layer(
            None,
            &[dir("d").mode(0o750), file("d/f", "old"), file("g", "g")],
        );
        let top = bench.layer(Some(&base), &[file("d/h", "h")]);
        let before = bench.shown(&top);
        let writable = bench.driver.writable().unwrap();
        let id = CacheId::random();
        writable.create(&id, Some(&top.id), b"a label").unwrap();
        let target = mount_point(&bench);
        let mount = bench.driver.mount(&MountRequest::writable(&id, &target));
        assert_eq!(tree_of(&target), before, "it begins as its parent");
        fs::write(target.join("d/f"), "new").unwrap();
        fs::remove_file(target.join("g")).unwrap();
        fs::create_dir(target.join("made")).unwrap();
        let written = tree_of(&target);
        mount.unwrap().unmount().unwrap();
        assert!(bench.shown(&top) == before, "the layers below stay");

        let again = support::open(driver, bench.home(), &DriverOptions::default()).unwrap();
        let writable = again.writable().unwrap();
        assert_eq!(writable.list().unwrap(), std::slice::from_ref(&id));
        let found = writable.get(&id).unwrap();
        assert_eq!(found.parent.as_ref(), Some(&top.id));
        assert_eq!(found.label, b"a label");
        again
            .mount(&MountRequest::writable(&id, &target))
            .unwrap()
            .leave();
        assert_eq!(tree_of(&target), written);

        let mounts = bench.driver.mounts().unwrap();
        assert_eq!(mounts.len(), 1, "{mounts:?}");
        assert!(mounts[0].writable && !mounts[0].read_only && mounts[0].layer == id);
        let second = bench
            .driver
            .mount(&MountRequest::writable(&id, &target))
            .unwrap_err();
        assert!(matches!(second, DriverError::Busy { .. }), "{second}");
        let error = writable.remove(&id).unwrap_err();
        assert!(matches!(error, DriverError::Busy { .. }), "{error}");
        // What a full copy was made of further down is nobody's business.
        if driver == "overlay" {
            for below in [&top.id, &base.id] {
                let error = bench.driver.remove(below).unwrap_err();
                assert!(matches!(error, DriverError::Busy { .. }), "{error}");
            }
        }
        unmount(&target).unwrap();
        assert!(writable.usage(&id).unwrap().files >= 4);
        writable.remove(&id).unwrap();
        writable.remove(&id).unwrap();
        assert!(writable.list().unwrap().is_empty());
        let gone = writable.get(&id).unwrap_err();
        assert!(
            matches!(gone, DriverError::MissingWritable { .. }),
            "{gone}"
        );
        bench.driver.remove(&top.id).unwrap();
        bench.check_clean();
    });
}

#[test]
fn one_that_stands_on_nothing_is_empty() {
    on_each_driver(|driver| {
        let bench = Bench::new(driver);
        let writable = bench.driver.writable().unwrap();
        let id: CacheId = "rw".parse().unwrap();
        writable.create(&id, None, b"").unwrap();
        let target = mount_point(&bench);
        let mount = bench
            .driver
            .mount(&MountRequest::writable(&id, &target))
            .unwrap();
        assert_eq!(brief(&tree_of(&target)), Vec::<String>::new());
        fs::write(target.join("f"), "x").unwrap();
        fs::remove_file(target.join("f")).unwrap();
        fs::write(target.join("g"), "y").unwrap();
        assert_eq!(bench.driver.mounts().unwrap().len(), 1);
        mount.unmount().unwrap();
        assert_eq!(writable.get(&id).unwrap().parent, None);
        let tree = writable.tree(&id).unwrap();
        let found = lith_drivers::changes(&tree, None).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].kind.letter(), found[0].path.as_slice()),
            ('A', &b"g"[..])
        );
        writable.remove(&id).unwrap();
    });
}

#[test]
fn what_cannot_be_made_leaves_nothing_and_harms_nothing() {
    on_each_driver(|driver| {
        let bench = Bench::new(driver);
        let base = bench.layer(None, &[file("f", "x")]);
        let writable = bench.driver.writable().unwrap();
        let id = CacheId::random();
        let missing = CacheId::random();
        let error = writable.create(&id, Some(&missing), b"").unwrap_err();
        assert!(matches!(error, DriverError::Missing { .. }), "{error}");
        let target = mount_point(&bench);
        let error = bench
            .driver
            .mount(&MountRequest::writable(&id, &target))
            .unwrap_err();
        assert!(
            matches!(error, DriverError::MissingWritable { .. }),
            "{error}"
        );
        writable.create(&id, Some(&base.id), b"one").unwrap();
        let error = writable.create(&id, Some(&base.id), b"two").unwrap_err();
        assert!(matches!(error, DriverError::Exists { .. }), "{error}");
        assert_eq!(writable.get(&id).unwrap().label, b"one");
        writable.relabel(&id, b"three").unwrap();
        assert_eq!(writable.get(&id).unwrap().label, b"three");
        let error = writable.relabel(&missing, b"").unwrap_err();
        assert!(
            matches!(error, DriverError::MissingWritable { .. }),
            "{error}"
        );
        // A layer is not to be written, and IDs of one kind are none of the other.
        let error = bench
            .driver
            .mount(&MountRequest::writable(&base.id, &target))
            .unwrap_err();
        assert!(
            matches!(error, DriverError::MissingWritable { .. }),
            "{error}"
        );
        assert!(!bench.driver.exists(&id).unwrap());
        assert_eq!(bench.driver.list().unwrap(), std::slice::from_ref(&base.id));
        bench.check_clean();
    });
}

/// A process dies at some moment of making or removing one.
#[test]
fn what_a_dead_process_left_half_done_is_swept() {
    on_each_driver(|driver| {
        let bench = Bench::new(driver);
        let base = bench.layer(None, &[file("f", "x")]);
        let id = CacheId::random();
        bench
            .driver
            .writable()
            .unwrap()
            .create(&id, Some(&base.id), b"")
            .unwrap();
        // Not yet renamed into its place, or renamed out of it again.
        let dead = bench.home().join(".work/dead/0");
        fs::create_dir_all(&dead).unwrap();
        copy(
            &bench.home().join(".writable").join(id.as_str()),
            &dead.join("layer"),
        );
        let again = support::open(driver, bench.home(), &DriverOptions::default()).unwrap();
        assert!(!dead.exists());
        assert_eq!(
            again.writable().unwrap().list().unwrap(),
            std::slice::from_ref(&id)
        );
        let target = mount_point(&bench);
        let mount = again.mount(&MountRequest::writable(&id, &target)).unwrap();
        assert_eq!(brief(&tree_of(&target)), ["f=x"]);
        drop(mount);
    });
}

fn copy(from: &Path, to: &Path) {
    let done = std::process::Command::new("cp")
        .arg("-a")
        .args([from, to])
        .status();
    assert!(done.unwrap().success());
}

#[test]
fn many_layers_can_be_written_over_in_both_ways_of_mounting() {
    if !root("many layers") {
        return;
    }
    for old_api in [false, true] {
        let mut options = DriverOptions::default();
        options.old_mount_api = old_api;
        let bench = Bench::in_memory("overlay", &options);
        let mut top = bench.layer(None, &[file("bottom", "b"), file("all", "0")]);
        for n in 1..140 {
            top = bench.layer(Some(&top), &[file("all", n.to_string())]);
        }
        let id = CacheId::random();
        let writable = bench.driver.writable().unwrap();
        writable.create(&id, Some(&top.id), b"").unwrap();
        let target = mount_point(&bench);
        let mount = bench
            .driver
            .mount(&MountRequest::writable(&id, &target))
            .unwrap();
        assert_eq!(brief(&tree_of(&target)), ["all=139", "bottom=b"]);
        fs::write(target.join("all"), "new").unwrap();
        let tree = writable.tree(&id).unwrap();
        let old = bench.driver.tree(&top.id).unwrap();
        let found = lith_drivers::changes(&tree, Some(&old)).unwrap();
        assert_eq!(found.len(), 1);
        mount.unmount().unwrap();
    }
}

#[test]
fn what_is_frozen_cannot_be_written_until_it_is_thawed() {
    on_each_driver(|driver| {
        let bench = Bench::new(driver);
        let base = bench.layer(None, &[file("f", "x")]);
        let id = CacheId::random();
        let writable = bench.driver.writable().unwrap();
        writable.create(&id, Some(&base.id), b"").unwrap();
        let target = mount_point(&bench);
        let mount = bench
            .driver
            .mount(&MountRequest::writable(&id, &target))
            .unwrap();
        let open = fs::File::create(target.join("open")).unwrap();
        set_read_only(&target, true).unwrap_err();
        drop(open);
        set_read_only(&target, true).unwrap();
        fs::write(target.join("f"), "y").unwrap_err();
        assert!(bench.driver.mounts().unwrap()[0].read_only);
        set_read_only(&target, false).unwrap();
        fs::write(target.join("f"), "y").unwrap();
        mount.unmount().unwrap();
    });
}
