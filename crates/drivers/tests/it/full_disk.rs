//! A small disk that fills up.

use std::process::Command;

use lith_drivers::{DriverOptions, Parent};

use crate::support::{BUILT_IN, Bench, dir, file, fill, root, tar};

struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let temp = tempfile::tempdir().unwrap();
        let (image, at) = (temp.path().join("image"), temp.path().join("disk"));
        std::fs::create_dir(&at).unwrap();
        std::fs::File::create(&image)
            .unwrap()
            .set_len(16 << 20)
            .unwrap();
        let run = |program: &str, args: &[&std::ffi::OsStr]| {
            Command::new(program)
                .args(args)
                .output()
                .is_ok_and(|done| done.status.success())
        };
        let made = run(
            "mkfs.ext4",
            &["-q".as_ref(), "-m".as_ref(), "0".as_ref(), image.as_ref()],
        ) && run(
            "mount",
            &["-o".as_ref(), "loop".as_ref(), image.as_ref(), at.as_ref()],
        );
        made.then(|| Self(temp))
    }

    fn folder(&self) -> std::path::PathBuf {
        self.0.path().join("disk")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.folder()).output();
    }
}

#[test]
fn a_full_disk_is_named_and_leaves_nothing() {
    if !root("a_full_disk") {
        return;
    }
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("SKIPPED: a_full_disk needs mkfs.ext4 and loop devices");
        return;
    };
    // Where the parent is copied first, there is room for less.
    for driver in BUILT_IN {
        let temp = tempfile::tempdir_in(disk.folder()).unwrap();
        let bench = Bench::inside(temp, driver, &DriverOptions::default());
        let base = bench.layer(None, &[dir("d"), file("d/f", vec![1; 5 << 20])]);
        let free = || rustix::fs::statvfs(bench.temp.path()).unwrap().f_bfree;
        let before = free();
        let stream = tar(&[
            file("big/one", vec![2; 6 << 20]),
            file("big/two", vec![3; 6 << 20]),
        ]);
        let mut draft = bench.driver.prepare(Parent::Known(&base.id)).unwrap();
        let error = fill(draft.body(), &stream[..], &bench.temp.path().join("kept")).unwrap_err();
        assert!(error.starts_with("tar entry at byte 6"), "{error}");
        assert!(
            error.contains("big/two: cannot write big/two: No space left on device"),
            "{error}"
        );
        let error = draft
            .commit(&"x".parse().unwrap(), Some(&base.id))
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "the draft is incomplete: an entry of the layer failed"
        );
        bench.check_clean();
        if driver == "vfs" {
            // The parent's copy does not fit.
            let Err(error) = bench.try_layer(Some(&base), &[file("n", vec![4; 7 << 20])]) else {
                panic!("there is no room for it");
            };
            assert!(
                error.contains("cannot copy d/f") && error.contains("No space left"),
                "{error}"
            );
            bench.check_clean();
        }
        assert_eq!(bench.driver.list().unwrap(), std::slice::from_ref(&base.id));
        assert!(
            free().abs_diff(before) < 64,
            "{} of {before} blocks are free",
            free()
        );
        bench.check_comes_back(&base);
    }
}
