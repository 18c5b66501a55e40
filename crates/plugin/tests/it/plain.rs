//! The drivers of the examples, in C and in Rust, do what they are there for.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use lith_plugin::{Backend, BackendError};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, symlinkat};

use crate::support::{Built, dir};

fn both() -> [(&'static str, Built); 2] {
    [
        ("plain", Built::c("examples/plain.c", &[])),
        ("plain-rust", Built::rust("plain")),
    ]
}

fn create(backend: &dyn Backend, built: &Built, name: &str) -> Result<(), BackendError> {
    let name = CString::new(name).unwrap();
    backend.create(dir(&built.home()).as_fd(), &name)
}

fn remove(backend: &dyn Backend, built: &Built, name: &str) -> Result<(), BackendError> {
    let name = CString::new(name).unwrap();
    backend.remove(dir(&built.home()).as_fd(), &name)
}

#[test]
fn they_say_what_they_are() {
    for (name, built) in both() {
        let library = built.load().unwrap();
        assert_eq!(library.path(), built.file);
        let info = library.info();
        assert_eq!((info.name.as_str(), info.version.as_str()), (name, "1.0.0"));
        assert!(!info.snapshot && !info.seal && !info.changed);
        let backend = library.open(&built.home()).unwrap();
        assert_eq!(backend.info(), info);
        let fact = ("trees".to_owned(), "plain directories".to_owned());
        assert_eq!(backend.status().unwrap(), [fact]);
        // The same file again, another folder, and the library dropped before what it opened.
        let again = built.load().unwrap().open(&built.home()).unwrap();
        drop(library);
        assert_eq!(again.status().unwrap(), backend.status().unwrap());
    }
}

#[test]
fn trees_are_made_and_removed() {
    for (name, built) in both() {
        let backend = built.open().unwrap();
        create(&*backend, &built, "tree").unwrap();
        let made = std::fs::metadata(built.home().join("tree")).unwrap();
        assert_eq!(made.permissions().mode() & 0o7777, 0o700);
        let error = create(&*backend, &built, "tree").unwrap_err();
        assert_eq!(
            (error.errno(), error.to_string().as_str()),
            (Some(17), "make a directory: File exists (os error 17)"),
            "{name}"
        );
        remove(&*backend, &built, "tree").unwrap();
        assert!(!built.home().join("tree").exists());
        remove(&*backend, &built, "tree").unwrap();
    }
}

#[test]
fn what_was_not_offered_is_refused() {
    for (_, built) in both() {
        let backend = built.open().unwrap();
        let home = dir(&built.home());
        let error = backend.seal(home.as_fd()).unwrap_err();
        assert_eq!(error.errno(), Some(95));
        assert!(backend.snapshot(home.as_fd(), home.as_fd(), c"x").is_err());
        assert!(!built.home().join("x").exists());
    }
}

/// What is there besides: links that lead out, what is no file, directories with and without content.
fn fill(dir: BorrowedFd<'_>, outside: &Path) {
    symlinkat(outside, dir, "a-link").unwrap();
    symlinkat(outside, dir, "z-link").unwrap();
    mknodat(dir, "fifo", FileType::Fifo, Mode::empty(), 0).unwrap();
    for folder in ["empty", "wide", "wide/full", "wide/full/er", "wide/other"] {
        rustix::fs::mkdirat(dir, folder, Mode::RWXU).unwrap();
    }
}

#[test]
fn trees_deeper_than_any_path_are_removed_and_nothing_is_followed() {
    // More than a process may commonly have files; the names make no path of it.
    const DEPTH: usize = 1100;
    for (name, built) in both() {
        let backend = built.open().unwrap();
        let outside = built.home().join("outside");
        std::fs::create_dir_all(outside.join("in")).unwrap();
        std::fs::write(outside.join("in/file"), "stays").unwrap();
        create(&*backend, &built, "tree").unwrap();
        let mut at = dir(&built.home().join("tree"));
        for level in 0..DEPTH {
            if level % 50 == 0 {
                fill(at.as_fd(), &outside);
            }
            rustix::fs::mkdirat(&at, "deeper", Mode::RWXU).unwrap();
            let flags = OFlags::DIRECTORY | OFlags::RDONLY;
            at = rustix::fs::openat(&at, "deeper", flags, Mode::empty()).unwrap();
        }
        fill(at.as_fd(), &outside);
        drop(at);
        remove(&*backend, &built, "tree").unwrap();
        assert!(!built.home().join("tree").exists(), "{name}");
        let kept = std::fs::read_to_string(outside.join("in/file")).unwrap();
        assert_eq!(kept, "stays", "{name}");
        // A link in the place of a tree goes, not what it points to.
        symlinkat(&outside, CWD, built.home().join("tree")).unwrap();
        remove(&*backend, &built, "tree").unwrap();
        assert!(outside.join("in/file").exists() && !built.home().join("tree").is_symlink());
    }
}

#[test]
fn what_is_mounted_in_a_tree_stays() {
    use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: what_is_mounted_in_a_tree_stays needs root");
        return;
    }
    for (name, built) in both() {
        let backend = built.open().unwrap();
        create(&*backend, &built, "tree").unwrap();
        let place = built.home().join("tree/a/b");
        std::fs::create_dir_all(&place).unwrap();
        mount("none", &place, "tmpfs", MountFlags::empty(), c"size=64k").unwrap();
        std::fs::write(place.join("file"), "stays").unwrap();
        let error = remove(&*backend, &built, "tree").unwrap_err();
        let kept = std::fs::read_to_string(place.join("file"));
        unmount(&place, UnmountFlags::DETACH).unwrap();
        assert_eq!(error.errno(), Some(16), "{name}: {error}");
        assert_eq!(kept.unwrap(), "stays", "{name}");
        remove(&*backend, &built, "tree").unwrap();
    }
}

#[test]
fn several_threads_may_call_at_once() {
    for (_, built) in both() {
        let backend = built.open().unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (backend, built) = (&*backend, &built);
                scope.spawn(move || {
                    for tree in 0..50 {
                        let name = format!("tree-{thread}-{tree}");
                        create(backend, built, &name).unwrap();
                        assert_eq!(create(backend, built, &name).unwrap_err().errno(), Some(17));
                        assert_eq!(backend.status().unwrap().len(), 1);
                        remove(backend, built, &name).unwrap();
                    }
                });
            }
        });
    }
}
