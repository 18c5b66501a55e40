//! A docker daemon of our own: no network, no bridge, every file below the work folder.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;
use tempfile::TempDir;

use super::Settings;
use crate::e2e::guards::{self, Daemon};
use crate::e2e::report::skip;
use crate::process;

/// A running daemon, stopped when dropped.
pub(crate) struct Docker {
    settings: Settings,
    folder: PathBuf,
    /// Sockets, and what containerd mounts.
    run: TempDir,
    /// Taken when dropped: the daemon has to end before its mounts are looked for.
    daemon: Option<Daemon>,
}

impl Docker {
    /// Starts a daemon in `folder`; a skip when there is none or it does not come up.
    pub(crate) fn start(settings: &Settings, folder: &Path) -> Result<Docker> {
        settings.command("docker")?;
        fs::create_dir_all(folder)?;
        let run = settings.run_folder()?;
        let log = folder.join("log");
        // Not the machine's own, which may set what is set here.
        let config = folder.join("daemon.json");
        fs::write(&config, "{}")?;
        let mut command = settings.command("dockerd")?;
        command
            .args(["--iptables=false", "--ip6tables=false", "--bridge=none"])
            .arg("--data-root")
            .arg(folder.join("data"))
            .arg("--exec-root")
            .arg(run.path().join("exec"))
            .arg("--pidfile")
            .arg(folder.join("pid"))
            .arg("--config-file")
            .arg(&config)
            .arg("-H")
            .arg(socket(run.path()))
            .stdin(Stdio::null())
            .stdout(File::create(&log)?)
            .stderr(File::options().append(true).open(&log)?);
        let daemon = Daemon::start(&mut command)?;
        let settings = settings.clone();
        let mut docker = Docker {
            settings,
            folder: folder.to_owned(),
            run,
            daemon: Some(daemon),
        };
        let started = Instant::now();
        loop {
            let answer = process::run(docker.docker()?.arg("version"))?;
            if answer.status.success() {
                return Ok(docker);
            }
            let alive = docker.daemon.as_mut().is_some_and(Daemon::alive);
            if !alive || started.elapsed() > Duration::from_secs(60) {
                let log = fs::read_to_string(&log).unwrap_or_default();
                let last = log.lines().last().unwrap_or("it says nothing");
                return skip(format!("no docker daemon could be started: {last}"));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Where it listens, as `DOCKER_HOST` has it.
    pub(crate) fn host(&self) -> String {
        socket(self.run.path())
    }

    /// Where it keeps its images.
    pub(crate) fn data_root(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// `docker` for this daemon; the caller adds what it shall do.
    pub(crate) fn docker(&self) -> Result<Command> {
        let mut command = self.settings.command("docker")?;
        command.arg("-H").arg(socket(self.run.path()));
        Ok(command)
    }

    /// `docker load`.
    pub(crate) fn load(&self, archive: &Path) -> Result<()> {
        process::run(self.docker()?.args(["load", "-q", "-i"]).arg(archive))?
            .ok()
            .map(drop)
    }

    /// `docker save`.
    pub(crate) fn save(&self, out: &Path, names: &[String]) -> Result<()> {
        process::run(self.docker()?.args(["save", "-o"]).arg(out).args(names))?
            .ok()
            .map(drop)
    }

    /// Image ID (hex) and diff IDs as docker tells them.
    pub(crate) fn inspect(&self, name: &str) -> Result<(String, Vec<String>)> {
        let output = process::run(self.docker()?.args(["image", "inspect", name]))?.ok()?;
        let value: Value = serde_json::from_slice(&output.stdout)?;
        let id = value[0]["Id"].as_str().context("docker tells no Id")?;
        let layers = value[0]["RootFS"]["Layers"]
            .as_array()
            .context("docker tells no layers")?;
        let layers = layers
            .iter()
            .filter_map(|layer| layer.as_str().map(str::to_owned))
            .collect();
        Ok((id.trim_start_matches("sha256:").to_owned(), layers))
    }

    /// Forgets all images, so that the next load reads every layer.
    pub(crate) fn forget_all(&self) -> Result<()> {
        let prune = ["image", "prune", "--all", "--force"];
        process::run(self.docker()?.args(prune))?.ok().map(drop)
    }
}

fn socket(run: &Path) -> String {
    format!("unix://{}", run.join("sock").display())
}

impl Drop for Docker {
    fn drop(&mut self) {
        drop(self.daemon.take());
        for folder in [self.folder.as_path(), self.run.path()] {
            if let Err(error) = guards::sweep(folder) {
                eprintln!("warning: {error:#}");
            }
        }
    }
}
