//! What layers take, compared with what `du` says.

use std::path::Path;
use std::process::Command;

use lith_drivers::{CacheId, DriverError};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use crate::support::{Bench, DRIVERS, Layer, dir, file, hard_link, item, root, symlink};

fn du(folder: &Path) -> u64 {
    let told = Command::new("du").arg("-sB1").arg(folder).output().unwrap();
    assert!(told.status.success(), "{told:?}");
    let text = String::from_utf8(told.stdout).unwrap();
    text.split('\t').next().unwrap().parse().unwrap()
}

#[test]
fn usage_is_what_du_says() {
    if !root("usage_is_what_du_says") {
        return;
    }
    for driver in DRIVERS {
        let bench = Bench::new(driver);
        let base = bench.layer(
            None,
            &[
                dir("d").mode(0),
                file("d/big", vec![1; 300_000]).mode(0),
                hard_link("d/again", "d/big").mode(0),
                hard_link("and again", "d/big").mode(0),
                file("empty", ""),
                file("many attributes", "x").xattr("user.long", &[b'v'; 3000]),
                symlink("short", "x"),
                symlink("long", "x".repeat(3000)),
                item(b'6', "fifo"),
                item(b'3', "tty").device(5, 1),
                item(b'4', "disk").device(8, 1),
            ],
        );
        let upper = bench.layer(
            Some(&base),
            &[
                file("d/.wh.again", ""),
                file("new", vec![2; 70_000]),
                hard_link("third", "and again"),
            ],
        );
        let empty = bench.layer(Some(&upper), &[]);
        for layer in [&base, &upper, &empty] {
            bench.driver.sync().unwrap();
            let folder = bench.home().join(layer.id.as_str());
            let usage = bench.driver.usage(&layer.id).unwrap();
            assert_eq!(usage.disk, du(&folder), "{driver}");
        }
        // The folder, the notes, the root of the tree; the rest once each.
        let files = bench.driver.usage(&base.id).unwrap().files;
        assert_eq!(files, 3 + 9, "{driver}");
        let error = bench.driver.usage(&CacheId::random()).unwrap_err();
        assert!(matches!(error, DriverError::Missing { .. }), "{error}");
    }
}

#[test]
fn usage_of_holes_and_of_trees_deeper_than_any_path() {
    if !root("usage_of_holes") {
        return;
    }
    let bench = Bench::new("overlay");
    let layer = bench.layer(None, &[file("f", "x")]);
    let folder = bench.home().join(layer.id.as_str());
    let tree = folder.join("diff");
    let sparse = std::fs::File::create(tree.join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"middle", 5 << 20).unwrap();
    sparse.set_len(1 << 30).unwrap();
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let mut at = rustix::fs::open(&tree, flags, Mode::empty()).unwrap();
    let part = "d".repeat(200);
    for level in 0..60 {
        rustix::fs::mkdirat(&at, part.as_str(), Mode::RWXU).unwrap();
        rustix::fs::mknodat(&at, "fifo", FileType::Fifo, Mode::empty(), 0).unwrap();
        let below = rustix::fs::openat(&at, part.as_str(), flags, Mode::empty()).unwrap();
        if level % 7 == 0 {
            rustix::fs::linkat(&at, "fifo", &below, "linked", AtFlags::empty()).unwrap();
        }
        at = below;
    }
    bench.driver.sync().unwrap();
    let usage = bench.driver.usage(&layer.id).unwrap();
    assert_eq!(usage.disk, du(&folder));
    // Folder, notes, root, f, sparse; a folder and a fifo on each level.
    assert_eq!(usage.files, 5 + 120);
    assert!(usage.disk < 2 << 20, "{usage:?}");
}

#[test]
fn usage_leaves_out_what_is_mounted_inside() {
    if !root("usage_leaves_out") {
        return;
    }
    let bench = Bench::new("vfs");
    let one = bench.layer(None, &[dir("d"), file("f", vec![1; 50_000])]);
    let two = bench.layer(None, &[file("g", vec![1; 500_000])]);
    bench.driver.sync().unwrap();
    let before = bench.driver.usage(&one.id).unwrap();
    let inside = bench.home().join(one.id.as_str()).join("tree/d");
    let request = lith_drivers::MountRequest::new(&two.id, &inside);
    let mount = bench.driver.mount(&request).unwrap();
    let during = bench.driver.usage(&one.id).unwrap();
    mount.unmount().unwrap();
    // The folder under the mount is out of sight.
    assert_eq!(during.files, before.files - 1);
    assert!(during.disk <= before.disk, "{during:?} {before:?}");
}

#[test]
fn diff_size_counts_what_a_layer_adds() {
    if !root("diff_size_counts") {
        return;
    }
    for driver in DRIVERS {
        let bench = Bench::new(driver);
        let size = |layer: &Layer, parent: Option<&Layer>| {
            let parent = parent.map(|parent| &parent.id);
            bench.driver.diff_size(&layer.id, parent).unwrap()
        };
        let base = bench.layer(
            None,
            &[
                dir("d"),
                file("d/kept", vec![1; 1000]),
                file("d/linked", vec![1; 300]),
                hard_link("link", "d/linked"),
                file("same size and time", "aa"),
                file("mode", "bbb"),
                file("attribute", "cccc").xattr("user.a", b"1"),
                dir("swap"),
                file("swap/f", "ddddd"),
                symlink("s", "x".repeat(100)),
            ],
        );
        assert_eq!(size(&base, None), 1000 + 300 + 2 + 3 + 4 + 5, "{driver}");
        assert_eq!(size(&base, None), base.summary.size);
        let upper = bench.layer(
            Some(&base),
            &[
                file("same size and time", "ab"),
                file("mode", "bbb").mode(0o600),
                file("attribute", "cccc").xattr("user.a", b"2"),
                file("d/new", vec![1; 10_000]),
                hard_link("again", "d/new"),
                file(".wh.swap", ""),
                file("swap", "eeeeee"),
            ],
        );
        assert_eq!(
            size(&upper, Some(&base)),
            2 + 3 + 4 + 10_000 + 6,
            "{driver}"
        );
        assert_eq!(size(&upper, Some(&base)), upper.summary.size);
        let empty = bench.layer(Some(&upper), &[]);
        assert_eq!(size(&empty, Some(&upper)), 0, "{driver}");
        // A further name brings the file up, whatever the driver.
        let link = bench.layer(Some(&upper), &[hard_link("third", "link")]);
        assert_eq!(size(&link, Some(&upper)), 300, "{driver}");
        let missing = CacheId::random();
        let error = bench.driver.diff_size(&missing, None).unwrap_err();
        assert!(matches!(error, DriverError::Missing { .. }), "{error}");
    }
}
