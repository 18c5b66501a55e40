//! Stores whose driver is a plugin: the one in C, compiled here.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::archive::{Image, docker_archive, layer};
use crate::lith::is_root;

/// A store, and the plugin beside it.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    /// None, and says so, where nothing compiles or the driver cannot work.
    fn new(test: &str) -> Option<Self> {
        if !is_root(test) {
            return None;
        }
        // In memory where that can be: the suite makes hundreds of layers.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let bench = Self {
            folder: folder.unwrap(),
        };
        let plugin = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugin");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-I"])
            .arg(plugin.join("include"))
            .arg("-o")
            .arg(bench.plugin())
            .arg(plugin.join("examples/plain.c"))
            .output();
        match compiled {
            Ok(done) => {
                assert!(done.status.success(), "{done:?}");
                Some(bench)
            }
            Err(error) => {
                eprintln!("SKIPPED {test}: no C compiler: {error}");
                None
            }
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn plugin(&self) -> PathBuf {
        self.path("libplain.so")
    }

    fn run(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_lith"))
            .env_remove("LITH_ROOT")
            .env_remove("LITH_DRIVER")
            .current_dir(self.folder.path())
            .args(["--root", "root"])
            .args(args)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {error}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn fails(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {error}");
        error
    }

    /// Puts an archive of two layers here.
    fn archive(&self) -> Vec<u8> {
        let image = Image {
            layers: vec![
                layer(&[("etc", None), ("etc/passwd", Some(b"root"))]),
                layer(&[("etc/.wh.passwd", Some(b"")), ("new", Some(b"file"))]),
            ],
            names: vec!["app:1"],
            author: "",
        };
        let archive = docker_archive(&image);
        fs::write(self.path("in.tar"), &archive).unwrap();
        archive
    }
}

#[test]
fn a_store_remembers_its_plugin() {
    let Some(bench) = Bench::new("a_store_remembers_its_plugin") else {
        return;
    };
    bench.archive();
    bench.ok(&["--driver", "./libplain.so", "load", "-i", "in.tar"]);
    // By its own name, by its path, or not at all.
    for driver in [
        &["--driver", "plain"][..],
        &["--driver", "./libplain.so"],
        &[],
    ] {
        assert!(bench.ok(&[driver, &["images"]].concat()).contains("app"));
    }
    bench.ok(&["save", "-o", "out.tar", "app:1"]);
    bench.ok(&["--root", "other", "--driver", "vfs", "load", "-i", "in.tar"]);
    bench.ok(&["--root", "other", "save", "-o", "other.tar", "app:1"]);
    assert!(fs::read(bench.path("out.tar")).unwrap() == fs::read(bench.path("other.tar")).unwrap());
    let shown = bench.ok(&["mount", "app:1", "--", "sh", "-c", "ls; ls etc; cat new"]);
    assert_eq!(shown, "etc\nnew\nfile");
    assert!(bench.ok(&["driver", "ls"]).contains("libplain.so"));
    let info = bench.ok(&["info", "--json"]);
    assert!(info.contains("\"plain\""), "{info}");

    let error = bench.fails(&["--driver", "overlay", "images"]);
    assert!(error.contains("made with driver plain"), "{error}");

    // Gone, and somewhere else.
    fs::create_dir(bench.path("elsewhere")).unwrap();
    fs::rename(bench.plugin(), bench.path("elsewhere/libplain.so")).unwrap();
    let error = bench.fails(&["images"]);
    assert!(
        error.contains("made with driver plain, a plugin that was at")
            && error.contains("--driver PATH.so"),
        "{error}"
    );
    bench.ok(&["--driver", "elsewhere/libplain.so", "images"]);
    assert!(bench.ok(&["images"]).contains("app"));
}

#[test]
fn what_others_could_have_put_there_is_not_loaded() {
    let Some(bench) = Bench::new("what_others_could_have_put_there_is_not_loaded") else {
        return;
    };
    bench.ok(&["--driver", "./libplain.so", "images"]);
    fs::set_permissions(bench.plugin(), fs::Permissions::from_mode(0o777)).unwrap();
    let error = bench.fails(&["images"]);
    assert!(error.contains("everybody can write"), "{error}");
    fs::set_permissions(bench.plugin(), fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::chown(bench.path("root/plugins/plain"), Some(12345), None).unwrap();
    let error = bench.fails(&["images"]);
    assert!(error.contains("belongs to user 12345"), "{error}");
    // Who names it has decided.
    bench.ok(&["--driver", "./libplain.so", "images"]);
}

#[test]
fn what_is_no_plugin_leaves_nothing_behind() {
    let Some(bench) = Bench::new("what_is_no_plugin_leaves_nothing_behind") else {
        return;
    };
    fs::write(bench.path("text.so"), "not a shared object").unwrap();
    for driver in ["./text.so", "./missing.so", ".", "missing.so"] {
        let error = bench.fails(&["--driver", driver, "images"]);
        let named = error.contains("plugin") || error.contains("is no shared object");
        assert!(named, "{driver}: {error}");
        assert!(!bench.path("root").exists(), "{driver}");
    }
}

#[test]
fn the_driver_in_c_does_all_that_a_driver_must() {
    let Some(bench) = Bench::new("the_driver_in_c_does_all_that_a_driver_must") else {
        return;
    };
    let report = bench.ok(&["--driver", "vfs", "driver", "test", "./libplain.so"]);
    let failed = |line: &&str| line.starts_with("failed");
    assert_eq!(report.lines().find(failed), None);
    assert!(
        report
            .lines()
            .filter(|line| line.starts_with("passed"))
            .count()
            > 60,
        "{report}"
    );
}
