//! What the driver does beyond what every driver does.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use lith_drivers::conformance::{self, Outcome};
use lith_drivers::{
    CacheId, DiffOptions, DraftBody, Driver, DriverOptions, Kept, MountRequest, Parent, changes,
    diff, find_plugin,
};
use lith_plugin::Backend as _;
use lith_tarsplit::Splitter;

use crate::disk::{Disk, open, plugin};

fn layer(driver: &dyn Driver, id: &str, parent: Option<&CacheId>) -> CacheId {
    let id: CacheId = id.parse().unwrap();
    let prepared = parent.map_or(Parent::None, Parent::Known);
    let draft = driver.prepare(prepared).unwrap();
    draft.commit(&id, parent).unwrap();
    id
}

#[test]
fn it_passes_the_conformance_suite() {
    let Some(disk) = Disk::new("the conformance suite on btrfs") else {
        return;
    };
    let report = conformance::run(&|home| Ok(open(home)), &disk.path().join("cases")).unwrap();
    let failed: Vec<_> = report
        .cases
        .iter()
        .filter(|case| matches!(case.outcome, Outcome::Failed(_)))
        .map(|case| {
            format!(
                "{}: {}",
                case.name,
                case.outcome.reason().unwrap_or_default()
            )
        })
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(report.cases.len(), conformance::cases().len());
}

#[test]
fn layers_are_read_only_subvolumes_that_share_with_their_parents() {
    let Some(disk) = Disk::new("layers on btrfs") else {
        return;
    };
    let driver = disk.driver();
    let base = layer(&*driver, "base", None);
    let home = disk.path().join("drivers/btrfs");
    let tree = |id: &CacheId| home.join(id.as_str()).join("tree");
    assert_eq!(tree(&base).metadata().unwrap().ino(), 256);
    let refused = fs::write(tree(&base).join("file"), "x").unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);

    // What is written to a writable layer, in a subvolume that its user made, too, goes with it.
    let writable = driver.writable().unwrap();
    let id: CacheId = "writable".parse().unwrap();
    writable.create(&id, Some(&base), b"").unwrap();
    let target = disk.path().join("target");
    fs::create_dir(&target).unwrap();
    let mount = driver.mount(&MountRequest::writable(&id, &target)).unwrap();
    fs::write(target.join("file"), "x").unwrap();
    let made = Command::new("btrfs")
        .args(["subvolume", "create"])
        .arg(target.join("inner"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    fs::write(target.join("inner/file"), "x").unwrap();
    mount.unmount().unwrap();
    writable.remove(&id).unwrap();

    let child = layer(&*driver, "child", Some(&base));
    driver.remove(&child).unwrap();
    driver.remove(&base).unwrap();
    assert_eq!(driver.list().unwrap(), []);
    assert_eq!(subvolumes(&disk.path()), 0);
}

#[test]
fn what_changed_is_found_without_looking_at_the_rest() {
    let Some(disk) = Disk::new("changes on btrfs") else {
        return;
    };
    let driver = disk.driver();
    let writable = driver.writable().unwrap();
    let edit = |id: &str, parent: Option<&CacheId>, work: &dyn Fn(&Path)| {
        let id: CacheId = id.parse().unwrap();
        writable.create(&id, parent, b"").unwrap();
        let target = disk.path().join(id.as_str());
        fs::create_dir(&target).unwrap();
        let mount = driver.mount(&MountRequest::writable(&id, &target)).unwrap();
        work(&target);
        mount.unmount().unwrap();
        id
    };
    let base = layer(&*driver, "base", None);
    let filled = edit("filled", Some(&base), &|root| {
        for dir in ["same/deep", "other/deep", "linked"] {
            fs::create_dir_all(root.join(dir)).unwrap();
            for file in ["one", "two"] {
                fs::write(root.join(dir).join(file), file).unwrap();
            }
        }
    });
    let parent: CacheId = "parent".parse().unwrap();
    let mut tar = Vec::new();
    let (new, old) = (writable.tree(&filled).unwrap(), driver.tree(&base).unwrap());
    diff(&new, Some(&old), &DiffOptions::default(), &mut tar).unwrap();
    let mut draft = driver.prepare(Parent::Known(&base)).unwrap();
    let DraftBody::Tree(tree) = draft.body() else {
        panic!("it keeps trees");
    };
    let mut kept = Kept::new(&disk.path().join("kept"));
    let mut splitter = Splitter::new(&tar[..], std::io::sink());
    while let Some(mut entry) = splitter.next_entry().unwrap() {
        let (metadata, payload) = entry.into_parts();
        tree.apply(metadata, payload, &mut kept).unwrap();
    }
    draft.commit(&parent, Some(&base)).unwrap();

    let edited = edit("edited", Some(&parent), &|root| {
        fs::remove_file(root.join("other/deep/one")).unwrap();
        fs::write(root.join("other/deep/two"), "TWO").unwrap();
        fs::hard_link(root.join("linked/one"), root.join("other/link")).unwrap();
        fs::rename(root.join("linked/two"), root.join("moved")).unwrap();
    });
    assert!(driver.info().powers.native_diff);
    let (new, old) = (
        writable.tree(&edited).unwrap(),
        driver.tree(&parent).unwrap(),
    );
    let found = changes(&new, Some(&old)).unwrap();
    let text = |change: &lith_drivers::Change| {
        let path = String::from_utf8_lossy(&change.path);
        format!("{} {path}", change.kind.letter())
    };
    assert_eq!(
        found.iter().map(text).collect::<Vec<_>>(),
        [
            "C linked",
            "D linked/two",
            "A moved",
            "C other",
            "C other/deep",
            "D other/deep/one",
            "C other/deep/two",
            "A other/link"
        ]
    );
    // What is not said to have changed is not looked at: this nobody was told of.
    let backend = <lith_btrfs::Btrfs as lith_plugin::Plugin>::open(&disk.path()).unwrap();
    let open = |below: &str| fs::File::open(disk.path().join("drivers/btrfs").join(below)).unwrap();
    let (tree, since) = (open(".writable/edited/tree"), open("parent/tree"));
    let mut told = BTreeSet::new();
    let mut tell = |place: &[u8]| {
        told.insert(String::from_utf8_lossy(place).into_owned());
    };
    backend
        .changed(tree.as_fd(), since.as_fd(), &mut tell)
        .unwrap();
    assert!(
        told.contains("other/deep") && !told.contains("same/deep"),
        "{told:?}"
    );
    let unrelated = open("base/tree");
    let refused = backend.changed(tree.as_fd(), unrelated.as_fd(), &mut |_| ());
    assert!(refused.is_err());
}

fn subvolumes(at: &Path) -> usize {
    let listed = Command::new("btrfs")
        .args(["subvolume", "list"])
        .arg(at)
        .output()
        .unwrap();
    assert!(listed.status.success(), "{listed:?}");
    listed.stdout.iter().filter(|byte| **byte == b'\n').count()
}

#[test]
fn what_a_killed_process_left_is_swept_though_it_is_sealed() {
    let Some(disk) = Disk::new("leftovers on btrfs") else {
        return;
    };
    let driver = disk.driver();
    let base = layer(&*driver, "base", None);
    let home = disk.path().join("drivers/btrfs");
    // A removal that was cut short: the layer lies in the work folder of nobody who lives.
    let dead = home.join(".work/dead/0");
    fs::create_dir_all(&dead).unwrap();
    fs::write(home.join(".work/dead/lock"), "").unwrap();
    fs::rename(home.join(base.as_str()), dead.join("layer")).unwrap();
    assert_eq!(driver.sweep().unwrap(), 1);
    assert!(!home.join(".work/dead").exists());
    assert_eq!(subvolumes(&disk.path()), 0);
}

#[test]
fn elsewhere_it_says_what_it_needs() {
    let temp = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let home = temp.unwrap().path().join("home");
    let Err(error) = find_plugin(&plugin())
        .unwrap()
        .open(&home, &DriverOptions::default())
    else {
        panic!("this is no btrfs");
    };
    let mut said = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(error) = source {
        said = format!("{said}: {error}");
        source = error.source();
    }
    assert!(said.contains("does not lie on btrfs"), "{said}");
    assert!(!home.exists());
}
