//! The reference command of the tar-split format, built from its packaged source.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::Settings;
use crate::e2e::report::skip;
use crate::process;

/// Where Debian puts the sources of Go packages.
const GOPATH: &str = "/usr/share/gocode";
const PACKAGE: &str = "github.com/vbatts/tar-split/cmd/tar-split";

/// The reference command.
pub(crate) struct Reference {
    program: PathBuf,
}

impl Reference {
    /// Builds it into `folder`, whose content may be kept for the next run.
    pub(crate) fn build(settings: &Settings, folder: &Path) -> Result<Reference> {
        let program = folder.join("tar-split");
        if program.exists() {
            return Ok(Reference { program });
        }
        let source = Path::new(GOPATH).join("src").join(PACKAGE);
        if !source.is_dir() {
            return skip(format!(
                "the reference's source is not installed ({})",
                source.display()
            ));
        }
        let mut go = settings.command("go")?;
        fs::create_dir_all(folder)?;
        go.current_dir(folder)
            .env("GO111MODULE", "off")
            .env("GOPATH", GOPATH)
            .env("GOCACHE", folder.join("go-cache"))
            .env("CGO_ENABLED", "0")
            .args(["build", "-o"])
            .arg(&program)
            .arg(PACKAGE);
        process::run(&mut go)?
            .ok()
            .context("building the reference command")?;
        Ok(Reference { program })
    }

    /// `disasm`: the record of `tar`, gzip-compressed.
    pub(crate) fn disasm(&self, tar: &Path, record: &Path) -> Result<()> {
        let mut command = Command::new(&self.program);
        command
            .args(["disasm", "--no-stdout", "--output"])
            .arg(record)
            .arg(tar);
        process::run(&mut command)?.ok().map(drop)
    }

    /// `asm`: the tar again, from its record and its files.
    pub(crate) fn asm(&self, record: &Path, files: &Path, tar: &Path) -> Result<()> {
        let mut command = Command::new(&self.program);
        command
            .arg("asm")
            .arg("--input")
            .arg(record)
            .arg("--path")
            .arg(files);
        let line = process::line(&command);
        let out = File::create(tar)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(Stdio::piped())
            .spawn()?;
        process::collect(child, line)?.ok().map(drop)
    }
}
