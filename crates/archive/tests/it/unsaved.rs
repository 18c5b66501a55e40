//! Saves to folders that fail: nothing is left, and what was there is as it was.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use lith_archive::{Format, SaveError, Target, save, select};
use lith_graph::{Event, Observer};

use crate::formats::{options, two_images};
use crate::layout::files_of_dir;
use crate::support::{Image, Root};

const FOLDERS: [Format; 2] = [Format::OciDir, Format::DockerDir];

/// A file of a layer's tree in the store.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let found = match path.is_dir() {
            true => find(&path, name),
            false => path.ends_with(name).then(|| path.clone()),
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

#[test]
fn a_damaged_layer() {
    let root = Root::new();
    root.load_file(&Image::new(&["good", "bad"]).archive(&["app:1"]))
        .unwrap();
    root.load_file(&Image::new(&["fine"]).archive(&["fine:1"]))
        .unwrap();
    let file = find(&root.path().join("root/drivers"), "file-bad").unwrap();
    fs::write(file, "bAd").unwrap();
    let there = root.path().join("there");
    root.save_to(
        &["fine:1"],
        Target::Folder(&there),
        &options(Format::OciDir),
    )
    .unwrap();
    let before = files_of_dir(&there);
    let listed = fs::read_dir(root.path()).unwrap().count();
    for format in FOLDERS {
        let place = root.path().join("new");
        let error = root.save_to(&["app:1"], Target::Folder(&place), &options(format));
        let error = error.unwrap_err();
        assert!(matches!(error, SaveError::Layer { .. }), "{error}");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), listed);
    }
    let error = root.save_to(&["app:1"], Target::Folder(&there), &options(Format::OciDir));
    assert!(matches!(error, Err(SaveError::Layer { .. })));
    assert_eq!(files_of_dir(&there), before);
}

/// Stops after a number of events.
struct Stop(AtomicUsize);

impl Observer for Stop {
    fn event(&self, _: &Event<'_>) {
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            });
    }

    fn cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

#[test]
fn a_cancelled_save() {
    let root = two_images();
    let wanted = ["example.com/team/tiny2".to_owned()];
    let selection = select(&root.graph, &wanted).unwrap();
    let listed = fs::read_dir(root.path()).unwrap().count();
    for format in FOLDERS {
        for events in 0..7 {
            let place = root.path().join("new");
            let stop = Stop(AtomicUsize::new(events));
            let target = Target::Folder(&place);
            let error = save(&root.graph, &selection, target, &options(format), &stop);
            // Three layers are two events each.
            if events < 7 {
                assert!(
                    matches!(error, Err(SaveError::Cancelled)) || events > 6,
                    "{events}: {error:?}"
                );
                assert_eq!(
                    fs::read_dir(root.path()).unwrap().count(),
                    listed,
                    "{events}"
                );
            }
        }
    }
}

/// A small file system of its own, taken away when dropped.
struct Small(tempfile::TempDir);

impl Small {
    fn new() -> Option<Small> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
            .arg(dir.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Small(dir)),
            _ => {
                eprintln!("SKIPPED a_full_disk: no file system can be mounted");
                None
            }
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk() {
    let Some(small) = Small::new() else { return };
    let root = Root::new();
    let mut noise = Vec::new();
    let mut state = 1_u32;
    for _ in 0..200_000 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        noise.push((state >> 24) as u8);
    }
    let large = Image::of(vec![crate::support::tar(&[("noise", &noise)])]);
    root.load_file(&large.archive(&["large:1"])).unwrap();
    root.load_file(&Image::new(&["a"]).archive(&["small:1"]))
        .unwrap();
    let there = small.0.path().join("there");
    root.save_to(
        &["small:1"],
        Target::Folder(&there),
        &options(Format::OciDir),
    )
    .unwrap();
    let before = files_of_dir(&there);
    for (format, name) in [
        (Format::OciDir, "there"),
        (Format::OciDir, "new"),
        (Format::DockerDir, "new"),
    ] {
        let place = small.0.path().join(name);
        let error = root
            .save_to(&["large:1"], Target::Folder(&place), &options(format))
            .unwrap_err();
        assert!(matches!(error, SaveError::Write(_)), "{error}");
        assert_eq!(fs::read_dir(small.0.path()).unwrap().count(), 1, "{name}");
        assert_eq!(files_of_dir(&there), before, "{name}");
        assert_eq!(fs::read_dir(&there).unwrap().count(), 3, "{name}");
    }
}
