//! Runs the command on a root of its own.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A store in a temporary folder, removed with it.
pub(crate) struct Lith {
    folder: tempfile::TempDir,
    driver: &'static str,
}

impl Lith {
    pub(crate) fn new(driver: &'static str) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            driver,
        }
    }

    /// Names another driver from now on.
    pub(crate) fn use_driver(&mut self, driver: &'static str) {
        self.driver = driver;
    }

    /// A path for the test's own files, beside the root.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.path("root")
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lith"));
        command.env_remove("LITH_ROOT").env_remove("LITH_DRIVER");
        command
            .arg("--root")
            .arg(self.root())
            .arg("--driver")
            .arg(self.driver);
        command
    }

    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        self.command()
            .args(args)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Runs, expects success, gives standard output.
    pub(crate) fn ok<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Vec<u8> {
        let output = self.run(args);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }

    /// Runs, expects exit status 1, gives standard error.
    pub(crate) fn fails<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        let output = self.run(args);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.starts_with("lith: "), "{error}");
        error
    }

    pub(crate) fn pipe<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
        input: &[u8],
    ) -> Output {
        let mut child = self
            .command()
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that refuses its input closes the pipe early.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    }

    pub(crate) fn json<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
    ) -> serde_json::Value {
        serde_json::from_slice(&self.ok(args)).unwrap()
    }

    /// Names of what lies in a folder of the root; none when there is no such folder.
    pub(crate) fn listing(&self, folder: &str) -> Vec<String> {
        list(&self.root().join(folder))
    }

    /// Asserts that no image, layer, name or work in progress is there.
    pub(crate) fn assert_empty(&self) {
        assert_eq!(self.json(["images", "--json"]), serde_json::json!([]));
        for folder in ["layers", "names", "staging", "images/sha256"] {
            assert_eq!(self.listing(folder), Vec::<String>::new(), "{folder}");
        }
    }
}

fn list(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect()
}

/// Real ownership needs root. Says so loudly when a test cannot run.
pub(crate) fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED {test}: it needs root");
    }
    root
}
