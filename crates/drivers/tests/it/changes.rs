//! What was changed in a writable layer: told path by path, and written as the tar of a layer.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use lith_drivers::{CacheId, DiffError, DiffOptions, DiffSummary, MountRequest, changes, diff};
use rustix::fs::{CWD, FileType, Mode, Timespec, Timestamps, UTIME_OMIT, XattrFlags};

use crate::support::{
    Bench, DRIVERS, Item, Layer, Tree, dir, file, hard_link, item, root, symlink as link,
    tar_entries, tree_of,
};

/// A writable layer over another, and what comes of it.
struct Edited {
    bench: Bench,
    base: Layer,
    id: CacheId,
    target: PathBuf,
}

impl Edited {
    fn new(driver: &str, below: &[&[Item]]) -> Self {
        let bench = Bench::new(driver);
        let mut base: Option<Layer> = None;
        for items in below {
            base = Some(bench.layer(base.as_ref(), items));
        }
        let base = base.unwrap();
        let id = CacheId::random();
        bench
            .driver
            .writable()
            .unwrap()
            .create(&id, Some(&base.id), b"")
            .unwrap();
        let target = bench.temp.path().join("rw");
        fs::create_dir_all(&target).unwrap();
        bench
            .driver
            .mount(&MountRequest::writable(&id, &target))
            .unwrap()
            .leave();
        Self {
            bench,
            base,
            id,
            target,
        }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.target.join(path)
    }

    /// The changes as `A path`.
    fn told(&self) -> Vec<String> {
        let new = self
            .bench
            .driver
            .writable()
            .unwrap()
            .tree(&self.id)
            .unwrap();
        let old = self.bench.driver.tree(&self.base.id).unwrap();
        let found = changes(&new, Some(&old)).unwrap();
        let text = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
        found
            .iter()
            .map(|change| format!("{} /{}", change.kind.letter(), text(&change.path)))
            .collect()
    }

    fn try_diff(&self, options: &DiffOptions) -> Result<(Vec<u8>, DiffSummary), DiffError> {
        let new = self
            .bench
            .driver
            .writable()
            .unwrap()
            .tree(&self.id)
            .unwrap();
        let old = self.bench.driver.tree(&self.base.id).unwrap();
        let mut tar = Vec::new();
        let summary = diff(&new, Some(&old), options, &mut tar)?;
        Ok((tar, summary))
    }

    fn diff(&self) -> (Vec<u8>, DiffSummary) {
        self.try_diff(&DiffOptions::default()).unwrap()
    }

    /// The difference applied beside shows the same tree, and is itself the same difference.
    fn check_applies(&self) -> Vec<String> {
        let (tar, summary) = self.diff();
        let again = self
            .bench
            .try_tar(Some(&self.base.id), tar.clone())
            .unwrap();
        let shown = without_directory_times(self.bench.shown(&again));
        let written = without_directory_times(tree_of(&self.target));
        for (place, node) in &written {
            let place_text = String::from_utf8_lossy(place);
            assert_eq!(shown.get(place), Some(node), "{place_text}");
        }
        assert_eq!(shown.len(), written.len());
        assert_eq!(again.summary.size, summary.size);
        let new = self.bench.driver.tree(&again.id).unwrap();
        let old = self.bench.driver.tree(&self.base.id).unwrap();
        let mut second = Vec::new();
        diff(&new, Some(&old), &DiffOptions::default(), &mut second).unwrap();
        assert_eq!(tar_entries(&second), tar_entries(&tar));
        self.bench.check_comes_back(&again);
        tar_entries(&tar)
    }
}

impl Drop for Edited {
    fn drop(&mut self) {
        let _ = lith_drivers::unmount(&self.target);
    }
}

/// Those of directories that no change describes are not kept.
fn without_directory_times(mut tree: Tree) -> Tree {
    for node in tree.values_mut().filter(|node| node.kind == 'd') {
        node.mtime = (0, 0);
    }
    // A socket is in no tar.
    tree.retain(|_, node| node.kind != '?');
    tree
}

fn on_each_driver(test: fn(&str)) {
    if root("changes") {
        for driver in DRIVERS {
            eprintln!("driver {driver}");
            test(driver);
        }
    }
}

fn set_time(path: &Path, seconds: i64, nanos: i64) {
    let time = Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: seconds,
            tv_nsec: nanos,
        },
    };
    rustix::fs::utimensat(CWD, path, &time, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

#[test]
fn nothing_changed_is_an_empty_tar() {
    on_each_driver(|driver| {
        let edited = Edited::new(
            driver,
            &[&[dir("d"), file("d/f", "x")], &[file("d/g", "y")]],
        );
        // Looked at, opened for writing, changed and changed back: nothing of it is a change.
        fs::read(edited.at("d/f")).unwrap();
        fs::OpenOptions::new()
            .write(true)
            .open(edited.at("d/f"))
            .unwrap();
        fs::write(edited.at("d/new"), "").unwrap();
        fs::remove_file(edited.at("d/new")).unwrap();
        assert_eq!(edited.told(), Vec::<String>::new());
        let (tar, summary) = edited.diff();
        assert!(tar == [0; 1024]);
        assert_eq!(summary, DiffSummary::default());
    });
}

#[test]
fn every_kind_of_change_is_found_and_told_once() {
    on_each_driver(|driver| {
        let names = [
            "same-size",
            "mode",
            "owner",
            "time",
            "xattr",
            "gone",
            "to-dir",
            "to-link",
            "content",
            "still",
        ];
        let mut items = vec![
            dir("d"),
            dir("d/e"),
            dir("d/quiet"),
            file("d/quiet/f", "q"),
            dir("own"),
        ];
        items.push(file("own/inside", "i"));
        items.extend(names.map(|name| file(format!("d/e/{name}"), "1234")));
        items.extend([
            dir("to-file"),
            file("to-file/x", ""),
            link("turns", "d"),
            dir("old"),
            file("old/x", ""),
        ]);
        let edited = Edited::new(driver, &[&items]);
        let at = |name: &str| edited.at("d/e").join(name);
        let before = fs::metadata(at("same-size")).unwrap();
        fs::write(at("same-size"), "5678").unwrap();
        set_time(&at("same-size"), before.mtime(), before.mtime_nsec());
        fs::set_permissions(at("mode"), fs::Permissions::from_mode(0o4711)).unwrap();
        std::os::unix::fs::chown(at("owner"), Some(12), Some(3_000_000)).unwrap();
        set_time(&at("time"), 1_700_000_000, 1);
        rustix::fs::setxattr(at("xattr"), "user.x", b"\0y", XattrFlags::empty()).unwrap();
        fs::remove_file(at("gone")).unwrap();
        fs::remove_file(at("to-dir")).unwrap();
        fs::create_dir(at("to-dir")).unwrap();
        fs::write(at("to-dir").join("in"), "").unwrap();
        fs::remove_file(at("to-link")).unwrap();
        symlink("/dangling/..", at("to-link")).unwrap();
        fs::write(at("content"), "longer than before").unwrap();
        fs::remove_dir_all(edited.at("to-file")).unwrap();
        fs::write(edited.at("to-file"), "now").unwrap();
        fs::remove_file(edited.at("turns")).unwrap();
        fs::create_dir(edited.at("turns")).unwrap();
        fs::remove_dir_all(edited.at("old")).unwrap();
        fs::create_dir_all(edited.at("new/deep")).unwrap();
        fs::write(edited.at("new/deep/f"), "").unwrap();
        fs::set_permissions(edited.at("own"), fs::Permissions::from_mode(0o711)).unwrap();
        set_time(&edited.at("d/quiet"), 5, 0);
        assert_eq!(
            edited.told(),
            [
                "C /d",
                "C /d/e",
                "C /d/e/content",
                "D /d/e/gone",
                "C /d/e/mode",
                "C /d/e/owner",
                "C /d/e/same-size",
                "C /d/e/time",
                "C /d/e/to-dir",
                "A /d/e/to-dir/in",
                "C /d/e/to-link",
                "C /d/e/xattr",
                "A /new",
                "A /new/deep",
                "A /new/deep/f",
                "D /old",
                "C /own",
                "C /to-file",
                "C /turns",
            ]
        );
        let entries = edited.check_applies();
        assert_eq!(
            entries,
            [
                "0 .wh.old",
                "5 d/",
                "5 d/e/",
                "0 d/e/.wh.gone",
                "0 d/e/content",
                "0 d/e/mode",
                "0 d/e/owner",
                "0 d/e/same-size",
                "0 d/e/time",
                "5 d/e/to-dir/",
                "0 d/e/to-dir/in",
                "2 d/e/to-link",
                "0 d/e/xattr",
                "5 new/",
                "5 new/deep/",
                "0 new/deep/f",
                "5 own/",
                "0 to-file",
                "5 turns/",
            ]
        );
    });
}

#[test]
fn a_directory_made_anew_hides_by_whiteouts() {
    on_each_driver(|driver| {
        let low = [
            dir("d"),
            file("d/a", "a"),
            dir("d/sub"),
            file("d/sub/x", "x"),
            file("d/keep", "k"),
        ];
        let edited = Edited::new(driver, &[&low, &[file("d/b", "b"), file("d/sub/y", "y")]]);
        fs::remove_dir_all(edited.at("d")).unwrap();
        assert_eq!(edited.told(), ["D /d"]);
        fs::create_dir(edited.at("d")).unwrap();
        fs::write(edited.at("d/keep"), "k").unwrap();
        set_time(&edited.at("d/keep"), 1_700_000_000, 0);
        fs::set_permissions(edited.at("d/keep"), fs::Permissions::from_mode(0o644)).unwrap();
        fs::set_permissions(edited.at("d"), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(edited.told(), ["C /d", "D /d/a", "D /d/b", "D /d/sub"]);
        let entries = edited.check_applies();
        assert_eq!(entries, ["5 d/", "0 d/.wh.a", "0 d/.wh.b", "0 d/.wh.sub"]);
    });
}

#[test]
fn names_of_one_file_stay_names_of_one_file() {
    on_each_driver(|driver| {
        let low = [
            file("m/lower", "low"),
            hard_link("m/twin", "m/lower"),
            file("z/far", "far"),
        ];
        let edited = Edited::new(driver, &[&low]);
        fs::write(edited.at("m/b"), "pair").unwrap();
        fs::hard_link(edited.at("m/b"), edited.at("a")).unwrap();
        fs::hard_link(edited.at("z/far"), edited.at("m/of-far")).unwrap();
        let entries = edited.check_applies();
        assert_eq!(
            entries,
            [
                "0 a",
                "5 m/",
                "1 m/b=a",
                "0 m/of-far",
                "5 z/",
                "1 z/far=m/of-far"
            ]
        );
        // One name of a lower pair gets other bytes; the other keeps its own.
        fs::remove_file(edited.at("m/twin")).unwrap();
        fs::write(edited.at("m/twin"), "alone").unwrap();
        assert_eq!(fs::read(edited.at("m/lower")).unwrap(), b"low");
        edited.check_applies();
    });
}

#[test]
fn odd_files_and_names_come_through() {
    on_each_driver(|driver| {
        let edited = Edited::new(driver, &[&[dir("d")]]);
        let node = |name: &str, kind, device| {
            rustix::fs::mknodat(
                CWD,
                edited.at(name),
                kind,
                Mode::from_raw_mode(0o640),
                device,
            )
            .unwrap();
        };
        node("d/fifo", FileType::Fifo, 0);
        node(
            "d/char",
            FileType::CharacterDevice,
            rustix::fs::makedev(10, 70_000),
        );
        node(
            "d/block",
            FileType::BlockDevice,
            rustix::fs::makedev(259, 1),
        );
        drop(std::os::unix::net::UnixListener::bind(edited.at("d/socket")).unwrap());
        let raw = |bytes: &[u8]| edited.at("d").join(std::ffi::OsStr::from_bytes(bytes));
        fs::write(raw(b"\xff\xfe"), "raw").unwrap();
        fs::write(raw(b"new\nline \\ \x1b"), "").unwrap();
        fs::write(raw(&[b'l'; 255]), "long").unwrap();
        fs::write(raw("Ünï".as_bytes()), "").unwrap();
        fs::write(raw(b"CASE"), "1").unwrap();
        fs::write(raw(b"case"), "2").unwrap();
        symlink("l".repeat(300), edited.at("d/far")).unwrap();
        std::os::unix::fs::lchown(edited.at("d/far"), Some(7), Some(8)).unwrap();
        set_time(&edited.at("d/far"), -5, 250_000_000);
        let holes = fs::File::create(edited.at("d/holes")).unwrap();
        holes.set_len(3 << 20).unwrap();
        fs::write(edited.at("d/suid"), "x").unwrap();
        std::os::unix::fs::chown(edited.at("d/suid"), Some(9), Some(9)).unwrap();
        fs::set_permissions(edited.at("d/suid"), fs::Permissions::from_mode(0o6755)).unwrap();
        let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        rustix::fs::setxattr(
            edited.at("d/case"),
            "security.capability",
            &capability,
            XattrFlags::empty(),
        )
        .unwrap();
        rustix::fs::setxattr(edited.at("d"), "trusted.mine", b"t", XattrFlags::empty()).unwrap();
        let mut deep = edited.at("d");
        for _ in 0..40 {
            deep.push("n".repeat(60));
        }
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("bottom"), "here").unwrap();
        edited.check_applies();
        let (tar, summary) = edited.diff();
        assert_eq!(summary.sockets, 1);
        let text = String::from_utf8_lossy(&tar).into_owned();
        for never in ["overlay.", "socket", "d/.wh."] {
            assert!(!text.contains(never), "{never}");
        }
        assert!(text.contains("SCHILY.xattr.security.capability="));
    });
}

#[test]
fn names_that_are_orders_are_refused_by_name() {
    on_each_driver(|driver| {
        let edited = Edited::new(driver, &[&[dir("d")]]);
        fs::write(edited.at("d/.wh.x"), "").unwrap();
        let error = edited.try_diff(&DiffOptions::default()).unwrap_err();
        let DiffError::Reserved { path } = error else {
            panic!("{error}")
        };
        assert_eq!(path, Path::new("d/.wh.x"));
    });
}

#[test]
fn late_times_are_clamped_and_early_ones_stay() {
    on_each_driver(|driver| {
        let edited = Edited::new(driver, &[&[file("f", "x")]]);
        for (name, seconds) in [("late", 2_000_000_000), ("early", 7)] {
            fs::write(edited.at(name), "").unwrap();
            set_time(&edited.at(name), seconds, 5);
        }
        let mut options = DiffOptions::default();
        options.newest = Some(1_600_000_000);
        let (tar, _) = edited.try_diff(&options).unwrap();
        let layer = edited.bench.try_tar(Some(&edited.base.id), tar).unwrap();
        let shown = edited.bench.shown(&layer);
        assert_eq!(shown[&b"late"[..]].mtime, (1_600_000_000, 0));
        assert_eq!(shown[&b"early"[..]].mtime, (7, 5));
    });
}

#[test]
fn the_root_counts_when_it_is_another_and_lasts() {
    on_each_driver(|driver| {
        let edited = Edited::new(driver, &[&[file("f", "x")]]);
        fs::set_permissions(&edited.target, fs::Permissions::from_mode(0o711)).unwrap();
        assert_eq!(edited.told(), ["C /"]);
        assert_eq!(edited.check_applies(), ["5 ./"]);
    });
}

#[test]
fn two_layers_are_compared_and_a_whole_tree_is_written() {
    on_each_driver(|driver| {
        let bench = Bench::new(driver);
        let low = bench.layer(
            None,
            &[
                dir("d"),
                file("d/f", "x"),
                file("g", "g"),
                item(b'6', "fifo"),
            ],
        );
        let one = bench.layer(Some(&low), &[file("d/one", "1"), file("h", "same")]);
        let two = bench.layer(
            Some(&low),
            &[item(b'0', ".wh.g"), file("d/two", "2"), file("h", "same")],
        );
        let tree = |layer: &Layer| bench.driver.tree(&layer.id).unwrap();
        let told: Vec<_> = changes(&tree(&two), Some(&tree(&one))).unwrap();
        let told: Vec<_> = told
            .iter()
            .map(|change| {
                format!(
                    "{} {}",
                    change.kind.letter(),
                    String::from_utf8_lossy(&change.path)
                )
            })
            .collect();
        assert_eq!(told, ["C d", "D d/one", "A d/two", "D g"]);
        let mut options = DiffOptions::default();
        options.root = true;
        let mut tar = Vec::new();
        diff(&tree(&two), None, &options, &mut tar).unwrap();
        assert_eq!(
            tar_entries(&tar),
            ["5 ./", "5 d/", "0 d/f", "0 d/two", "6 fifo", "0 h"]
        );
        let flat = bench.try_tar(None, tar).unwrap();
        assert_eq!(bench.shown(&flat), bench.shown(&two));
        assert!(changes(&tree(&flat), Some(&tree(&two))).unwrap().is_empty());
    });
}
