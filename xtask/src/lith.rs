//! The program under test, with a store of its own.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use walkdir::WalkDir;

use crate::process::{self, Output};

/// A way of keeping trees.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Driver {
    Overlay,
    Vfs,
    /// A plugin, which lies beside the program.
    Btrfs,
}

/// The plugin, beside the program.
pub(crate) const PLUGIN: &str = "liblith_btrfs.so";

impl Driver {
    /// Those that are built in.
    pub(crate) const ALL: [Driver; 2] = [Driver::Overlay, Driver::Vfs];

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Driver::Overlay => "overlay",
            Driver::Vfs => "vfs",
            Driver::Btrfs => "btrfs",
        }
    }
}

/// `lith` with one root and, unless it shall choose itself, one driver.
#[derive(Clone, Debug)]
pub(crate) struct Lith {
    pub(crate) program: PathBuf,
    pub(crate) root: PathBuf,
    pub(crate) driver: Option<Driver>,
}

impl Lith {
    /// The command with its global options; the caller adds the rest.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.root);
        if let Some(driver) = self.driver {
            command.arg("--driver");
            match driver {
                Driver::Btrfs => command.arg(self.program.with_file_name(PLUGIN)),
                _ => command.arg(driver.name()),
            };
        }
        // A caller's settings must not reach into the test.
        command.env_remove("LITH_ROOT").env_remove("LITH_DRIVER");
        command
    }

    /// Runs it with `arguments`, whatever comes out.
    pub(crate) fn run<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Result<Output> {
        process::run(self.command().args(arguments))
    }

    /// Runs it with `arguments`; it has to succeed.
    pub(crate) fn ok<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Result<Output> {
        self.run(arguments)?.ok()
    }

    /// `load -i ARCHIVE --json`: the list of what was loaded.
    pub(crate) fn load(&self, archive: &Path) -> Result<Vec<Value>> {
        self.load_from(archive.as_os_str(), &[])
    }

    /// The same for any SOURCE, with further variables.
    pub(crate) fn load_from(
        &self,
        source: &OsStr,
        variables: &[(&str, &str)],
    ) -> Result<Vec<Value>> {
        let mut command = self.command();
        command.envs(variables.iter().copied());
        command.arg("load").arg("-i").arg(source).arg("--json");
        list(&process::run(&mut command)?.ok()?)
    }

    /// `load -i -` with `source` on standard input.
    pub(crate) fn load_stdin(&self, source: Stdio) -> Result<Output> {
        process::run_with(self.command().args(["load", "-i", "-"]), source)
    }

    /// `save -o OUT NAME...`.
    pub(crate) fn save(&self, out: &Path, names: &[String]) -> Result<Output> {
        process::run(self.command().arg("save").arg("-o").arg(out).args(names))?.ok()
    }

    /// `images --json`.
    pub(crate) fn images(&self) -> Result<Vec<Value>> {
        list(&self.ok(&["images", "--json"])?)
    }

    /// What stands in the store's folders: every path with its kind and size.
    ///
    /// Left out is what may change without a meaning: the index (its content is asked for by
    /// `images`) and lock files.
    pub(crate) fn snapshot(&self) -> Result<BTreeMap<PathBuf, String>> {
        let mut found = BTreeMap::new();
        let walk = WalkDir::new(&self.root).min_depth(1).into_iter();
        let kept = |name: &OsStr| {
            let name = name.to_string_lossy();
            !name.starts_with("lith.db") && name != "locks"
        };
        for entry in walk.filter_entry(|entry| entry.depth() > 1 || kept(entry.file_name())) {
            let entry = entry?;
            let path = entry.path().strip_prefix(&self.root)?.to_owned();
            let metadata = entry.metadata()?;
            let size = if metadata.is_file() {
                metadata.len()
            } else {
                0
            };
            found.insert(path, format!("{:?} {size}", metadata.file_type()));
        }
        Ok(found)
    }

    /// Names in one folder of the root; none when the folder is missing.
    pub(crate) fn names_in(&self, folder: &str) -> Result<Vec<String>> {
        let path = self.root.join(folder);
        if !path.exists() {
            return Ok(Vec::new());
        }
        let mut names = Vec::new();
        for entry in path
            .read_dir()
            .with_context(|| format!("{}", path.display()))?
        {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    /// An error when work in progress lies in the store though nobody works on it.
    pub(crate) fn nothing_staged(&self) -> Result<()> {
        let left = self.names_in("staging")?;
        ensure!(
            left.is_empty(),
            "left in {}/staging: {}",
            self.root.display(),
            left.join(", ")
        );
        Ok(())
    }
}

/// Standard output as a JSON list.
fn list(output: &Output) -> Result<Vec<Value>> {
    let value: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("`{}` printed no JSON: {}", output.line, output.text()))?;
    match value {
        Value::Array(list) => Ok(list),
        other => anyhow::bail!("`{}` printed no list: {other}", output.line),
    }
}
