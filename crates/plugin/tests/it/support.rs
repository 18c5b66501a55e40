//! What the tests share: drivers compiled, errors shown.

use std::error::Error;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use lith_plugin::{Backend, Library, PluginError};
use tempfile::TempDir;

/// A driver in a folder of its own, which has a folder `home`, too.
pub(crate) struct Built {
    folder: TempDir,
    pub(crate) file: PathBuf,
}

impl Built {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("home")).unwrap();
        Self {
            file: folder.path().join("libmine.so"),
            folder,
        }
    }

    /// A driver in C, compiled with these macros.
    pub(crate) fn c(source: &str, macros: &[&str]) -> Self {
        let built = Self::new();
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut cc = Command::new("cc");
        cc.args(["-std=gnu11", "-O0", "-Wall", "-Wextra", "-Werror"])
            // Of two designators of one field the last is meant; not all that is there is used.
            .args([
                "-Wno-override-init",
                "-Wno-unused-variable",
                "-Wno-unused-function",
            ])
            .args(["-shared", "-fPIC", "-pthread", "-o"])
            .arg(&built.file)
            .arg("-I")
            .arg(here.join("include"))
            .args(macros.iter().map(|text| format!("-D{text}")))
            .arg(here.join(source));
        let output = cc.output().expect("the C compiler `cc`");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{macros:?}: {said}");
        built
    }

    /// The driver that is wrong in what the macros say.
    pub(crate) fn broken(macros: &[&str]) -> Self {
        Self::c("tests/it/broken.c", macros)
    }

    /// A driver in Rust: one of this crate's examples.
    pub(crate) fn rust(example: &str) -> Self {
        let built = Self::new();
        let tests = std::env::current_exe().unwrap();
        let profile = tests.parent().and_then(Path::parent).unwrap();
        let made = profile.join(format!("examples/lib{example}.so"));
        // A copy: a library is loaded once a process, and each test has its own.
        if let Err(error) = std::fs::copy(&made, &built.file) {
            let hint = "cargo build -p lith-plugin --examples";
            panic!("{}: {error}; `{hint}` makes it", made.display());
        }
        built
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    pub(crate) fn load(&self) -> Result<Library, PluginError> {
        Library::load(&self.file)
    }

    pub(crate) fn open(&self) -> Result<Box<dyn Backend>, PluginError> {
        self.load()?.open(&self.home())
    }

    /// An error and its causes, the driver's file and folder shortened.
    pub(crate) fn said(&self, error: &dyn Error) -> String {
        let mut text = error.to_string();
        let mut next = error.source();
        while let Some(cause) = next {
            text.push_str(&format!(": {cause}"));
            next = cause.source();
        }
        let folder = format!("{}/", self.folder.path().display());
        text.replace(&folder, "")
    }
}

/// Opens a folder.
pub(crate) fn dir(path: &Path) -> OwnedFd {
    File::open(path).unwrap().into()
}
