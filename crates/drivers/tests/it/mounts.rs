//! Mounts: read-only, found again, in the way of removal.

use std::io::ErrorKind;
use std::path::Path;

use lith_drivers::{
    DriverError, DriverOptions, MountRequest, Ownership, Parent, default_driver, unmount,
};

use crate::support::{self, Bench, DRIVERS, Item, brief, dir, file, root};

#[test]
fn mounts_cannot_be_written_and_are_found_again() {
    if !root("mounts_cannot_be_written") {
        return;
    }
    for driver in DRIVERS {
        let bench = Bench::new(driver);
        let base = bench.layer(None, &[file("f", "x")]);
        let upper = bench.layer(Some(&base), &[file("g", "y")]);
        let other = Bench::new(driver);
        for layer in [&base, &upper] {
            let (one, two) = (
                bench.temp.path().join("o n\\e"),
                bench.temp.path().join("two"),
            );
            let mut mounts = Vec::new();
            for target in [&one, &two] {
                std::fs::create_dir_all(target).unwrap();
                let mount = bench
                    .driver
                    .mount(&MountRequest::new(&layer.id, target))
                    .unwrap();
                assert_eq!(mount.target(), target);
                for (place, what) in [("f", "change"), ("new", "create")] {
                    let error = std::fs::write(target.join(place), "z").unwrap_err();
                    assert_eq!(
                        error.kind(),
                        ErrorKind::ReadOnlyFilesystem,
                        "{driver} {what}"
                    );
                }
                mounts.push(mount);
            }
            // Another process, or another driver on the same folder, sees them as well.
            let again = support::open(driver, bench.home(), &DriverOptions::default()).unwrap();
            let mut found = again.mounts().unwrap();
            found.sort_by(|a, b| a.target.cmp(&b.target));
            assert_eq!(
                found.iter().map(|m| m.target.as_path()).collect::<Vec<_>>(),
                [one.as_path(), &two]
            );
            assert!(found.iter().all(|m| m.layer == layer.id && m.read_only));
            assert!(other.driver.mounts().unwrap().is_empty());
            // What a mounted layer stands on is busy too, where it needs it.
            let error = again.remove(&layer.id).unwrap_err();
            assert!(
                matches!(&error, DriverError::Busy { target, .. } if *target == one || *target == two),
                "{error}"
            );
            assert!(again.exists(&layer.id).unwrap());
            let below = again.remove(&base.id);
            assert_eq!(
                below.is_err(),
                driver == "overlay" || std::ptr::eq(layer, &base)
            );
            if below.is_ok() {
                return;
            }
            // Left mounted, then taken away by its target.
            mounts.pop().unwrap().leave();
            drop(mounts);
            assert_eq!(again.mounts().unwrap().len(), 1);
            unmount(&two).unwrap();
            assert!(again.mounts().unwrap().is_empty() && unmount(&two).is_err());
        }
        for layer in [&upper, &base] {
            bench.driver.remove(&layer.id).unwrap();
            bench.driver.remove(&layer.id).unwrap();
        }
        assert!(bench.driver.list().unwrap().is_empty());
        bench.check_clean();
    }
}

#[test]
fn set_id_bits_and_devices_do_nothing_unless_asked_for() {
    if !root("set_id_bits_and_devices") {
        return;
    }
    for driver in DRIVERS {
        let bench = Bench::new(driver);
        let base = bench.layer(None, &[file("f", "x").mode(0o4755)]);
        let upper = bench.layer(
            Some(&base),
            &[Item {
                mode: 0o666,
                ..crate::support::item(b'3', "null")
            }
            .device(1, 3)],
        );
        let target = bench.temp.path().join("mnt");
        std::fs::create_dir(&target).unwrap();
        let mount = bench
            .driver
            .mount(&MountRequest::new(&upper.id, &target))
            .unwrap();
        let flags = rustix::fs::statvfs(&target).unwrap().f_flag;
        let expected = rustix::fs::StatVfsMountFlags::NOSUID | rustix::fs::StatVfsMountFlags::NODEV;
        assert!(
            flags.contains(expected | rustix::fs::StatVfsMountFlags::RDONLY),
            "{driver} {flags:?}"
        );
        assert!(std::fs::read(target.join("null")).is_err());
        drop(mount);
        let mut request = MountRequest::new(&upper.id, &target);
        (request.set_id, request.devices) = (true, true);
        let mount = bench.driver.mount(&request).unwrap();
        assert!(
            !rustix::fs::statvfs(&target)
                .unwrap()
                .f_flag
                .intersects(expected),
            "{driver}"
        );
        assert_eq!(std::fs::read(target.join("null")).unwrap(), b"");
        drop(mount);
        request.read_only = false;
        let error = bench.driver.mount(&request).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "the {driver} driver has no writable layer {}",
                request.layer
            )
        );
    }
}

#[test]
fn a_busy_mount_goes_when_it_is_dropped() {
    if !root("a_busy_mount_goes") {
        return;
    }
    for driver in DRIVERS {
        let bench = Bench::new(driver);
        let base = bench.layer(None, &[file("f", "x")]);
        let upper = bench.layer(Some(&base), &[file("g", "x")]);
        let target = bench.temp.path().join("mnt");
        std::fs::create_dir(&target).unwrap();
        let mount = bench
            .driver
            .mount(&MountRequest::new(&upper.id, &target))
            .unwrap();
        let held = std::fs::File::open(target.join("f")).unwrap();
        drop(mount);
        assert!(bench.driver.mounts().unwrap().is_empty() && !target.join("f").exists());
        drop(held);
    }
}

#[test]
fn errors_name_what_is_wrong() {
    if !root("errors_name_what_is_wrong") {
        return;
    }
    for driver in DRIVERS {
        let bench = Bench::new(driver);
        let base = bench.layer(None, &[dir("d")]);
        let id = "none".parse().unwrap();
        let missing = format!("the {driver} driver has no layer none");
        assert_eq!(bench.driver.files(&id).unwrap_err().to_string(), missing);
        let Err(error) = bench.driver.prepare(Parent::Known(&id)) else {
            panic!("no such parent")
        };
        assert_eq!(error.to_string(), missing);
        let target = bench.temp.path().to_owned();
        let error = bench
            .driver
            .mount(&MountRequest::new(&id, &target))
            .unwrap_err();
        assert_eq!(error.to_string(), missing);
        let error = bench
            .driver
            .mount(&MountRequest::new(&base.id, Path::new("/nowhere/at/all")))
            .unwrap_err();
        assert_eq!(error.to_string(), "cannot mount on /nowhere/at/all");
        let draft = bench.driver.prepare(Parent::None).unwrap();
        let error = draft.commit(&id, Some(&base.id)).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("the draft was prepared over no layer, not over {}", base.id)
        );
        // A layer that is there already is no error, and the draft goes.
        let draft = bench.driver.prepare(Parent::None).unwrap();
        assert_eq!(
            draft.commit(&base.id, None).unwrap(),
            lith_drivers::Placed::AlreadyThere
        );
        assert_eq!(brief(&bench.shown(&base)), ["d/"]);
        bench.check_clean();
    }
    let bench = Bench::new("overlay");
    let base = bench.layer(None, &[dir("d")]);
    let upper = bench.layer(Some(&base), &[dir("e")]);
    std::fs::write(
        bench.home().join(upper.id.as_str()).join("layer.json"),
        "{\"version\":7}",
    )
    .unwrap();
    let target = bench.temp.path().to_owned();
    let error = bench
        .driver
        .mount(&MountRequest::new(&upper.id, &target))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("is damaged") && error.ends_with("version 7 (expected 1)"),
        "{error}"
    );
}

#[test]
fn overlay_is_chosen_where_it_works() {
    if !root("overlay_is_chosen") {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    assert_eq!(default_driver(temp.path(), Ownership::Real), "overlay");
    assert_eq!(
        default_driver(Path::new("/proc/self"), Ownership::Real),
        "vfs"
    );
    assert!(std::fs::read_dir(temp.path()).unwrap().next().is_none());
}
