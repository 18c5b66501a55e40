//! Stores that podman itself made.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use lith_store::ImageId;

use super::made::load_from;
use crate::support::{self, Root, fixture};

/// podman with a store of its own below a temporary folder.
struct Podman {
    folder: tempfile::TempDir,
    driver: &'static str,
}

impl Podman {
    /// None, and a line that says so, when it does not work here.
    fn new(driver: &'static str) -> Option<Podman> {
        let skipped = |why: &str| {
            support::skipped(&format!("images of podman's {driver} store"), why);
            None
        };
        if !rustix::process::geteuid().is_root() {
            return skipped("it needs root");
        }
        let folder = tempfile::tempdir().unwrap();
        let conf = format!(
            "[storage]\ndriver = \"{driver}\"\ngraphroot = \"{0}/unused\"\nrunroot = \"{0}/unused-run\"\n",
            folder.path().display()
        );
        std::fs::write(folder.path().join("storage.conf"), conf).unwrap();
        std::fs::create_dir(folder.path().join("tmp")).unwrap();
        let podman = Podman { folder, driver };
        match podman.run(&["info"]) {
            Err(_) => skipped("podman is not installed"),
            Ok(output) if !output.status.success() => {
                skipped(&String::from_utf8_lossy(&output.stderr))
            }
            Ok(_) => Some(podman),
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn run(&self, args: &[&str]) -> std::io::Result<Output> {
        let mut command = Command::new("podman");
        command
            .args(["--root", &self.path("root"), "--runroot", &self.path("run")])
            .args([
                "--storage-driver",
                self.driver,
                "--tmpdir",
                &self.path("tmp"),
            ])
            .args(["--network-config-dir", &self.path("net")])
            .args(["--cgroup-manager=cgroupfs", "--events-backend=none"])
            .args(args)
            .env("HOME", self.folder.path())
            .env("TMPDIR", self.path("tmp"))
            .env("XDG_RUNTIME_DIR", self.path("tmp"))
            .env("CONTAINERS_STORAGE_CONF", self.path("storage.conf"))
            .env_remove("STORAGE_DRIVER")
            .stdin(Stdio::null());
        command.output()
    }

    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args).unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "podman {args:?}: {error}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn load(&self, archive: &[u8]) {
        let path = self.path("archive.tar");
        std::fs::write(&path, archive).unwrap();
        self.ok(&["load", "-q", "-i", &path]);
    }

    fn location(&self, name: &str) -> String {
        let (root, run) = (self.path("root"), self.path("run"));
        format!("containers-storage:[{}@{root}+{run}]{name}", self.driver)
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        // podman leaves the store's folder mounted on itself.
        let mounted = Path::new(&self.path("root")).join(self.driver);
        let mut umount = Command::new("umount");
        umount.arg("-l").arg(mounted).stderr(Stdio::null());
        drop(umount.status());
    }
}

#[test]
fn what_podman_has_is_loaded_bit_for_bit() {
    for driver in ["overlay", "vfs"] {
        let Some(podman) = Podman::new(driver) else {
            continue;
        };
        podman.load(&fixture("podman-multi.tar.gz"));
        podman.load(&fixture("docker-built.tar.gz"));
        podman.ok(&["tag", "example.com/team/tiny:1", "localhost/again:2"]);
        let listed = podman.ok(&["images", "-aq", "--no-trunc"]);
        let mut listed: Vec<ImageId> = listed.lines().map(|id| id.parse().unwrap()).collect();
        listed.sort();
        listed.dedup();

        let root = Root::new();
        let store = podman.folder.path().join("root");
        let report = load_from(&root, &podman.location(""), &[], &store).unwrap();
        let mut ids: Vec<ImageId> = report.images.iter().map(|image| image.id).collect();
        ids.sort();
        assert_eq!(ids, listed, "{driver}");
        assert!(report.warnings.is_empty(), "{:?}", report.warnings);

        // The same as through an archive, which podman makes of the same layers.
        let archive = podman.path("saved.tar");
        let names = ["example.com/team/tiny:1", "example.com/team/tiny2:latest"];
        podman.ok(&["save", "-q", "-m", "-o", &archive, names[0], names[1]]);
        let saved = std::fs::read(&archive).unwrap();
        let through = Root::new();
        through.load_file(&saved).unwrap();
        assert_eq!(root.save(&names), through.save(&names), "{driver}");

        let root = Root::new();
        let one = load_from(&root, &podman.location("localhost/again:2"), &[], &store).unwrap();
        let names: Vec<String> = one.images[0]
            .names
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(one.images.len(), 1);
        assert!(names.contains(&"localhost/again:2".to_owned()), "{names:?}");
    }
}

/// Layers of commits have records too, although nothing was fetched or loaded.
#[test]
fn commits_of_podman_are_loaded() {
    let Some(podman) = Podman::new("vfs") else {
        return;
    };
    podman.load(&fixture("podman-multi.tar.gz"));
    let container = podman.ok(&["create", "example.com/team/tiny:1", "/nothing"]);
    let file = podman.path("more");
    std::fs::write(&file, "more").unwrap();
    podman.ok(&["cp", &file, &format!("{container}:/more")]);
    let id = podman.ok(&["commit", "-q", &container, "localhost/committed:1"]);
    let root = Root::new();
    let store = podman.folder.path().join("root");
    let location = podman.location("localhost/committed:1");
    let report = load_from(&root, &location, &[], &store).unwrap();
    assert_eq!(report.images[0].id.hex(), id);
}
