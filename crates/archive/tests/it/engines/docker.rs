//! A docker daemon of our own, below a temporary folder.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::support;

/// A daemon without network; stopped when dropped.
pub(crate) struct Docker {
    folder: tempfile::TempDir,
    daemon: Option<Child>,
}

impl Docker {
    /// None, and a line that says so, when it does not work here.
    pub(crate) fn start(driver: &str) -> Option<Docker> {
        let skipped = |why: &str| {
            support::skipped(&format!("what needs a docker daemon ({driver})"), why);
            None
        };
        if !rustix::process::geteuid().is_root() {
            return skipped("it needs root");
        }
        if Command::new("docker").arg("--version").output().is_err() {
            return skipped("docker is not installed");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("daemon.json"), "{}").unwrap();
        let log = File::create(path("log")).unwrap();
        let daemon = Command::new("dockerd")
            .args(["--iptables=false", "--ip6tables=false", "--bridge=none"])
            .args(["--storage-driver", driver])
            .arg("--data-root")
            .arg(path("data"))
            .arg("--exec-root")
            .arg(path("exec"))
            .arg("--pidfile")
            .arg(path("pid"))
            .arg("--config-file")
            .arg(path("daemon.json"))
            .arg("-H")
            .arg(socket(folder.path()))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        let Ok(daemon) = daemon else {
            return skipped("dockerd is not installed");
        };
        let mut docker = Docker {
            folder,
            daemon: Some(daemon),
        };
        let started = Instant::now();
        while !docker.run(&["version"]).status.success() {
            let ended = docker
                .daemon
                .as_mut()
                .is_none_or(|daemon| daemon.try_wait().unwrap().is_some());
            if ended || started.elapsed() > Duration::from_secs(60) {
                let log = fs::read_to_string(docker.folder.path().join("log")).unwrap_or_default();
                return skipped(log.lines().last().unwrap_or("it says nothing"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Some(docker)
    }

    /// Where it listens.
    pub(crate) fn host(&self) -> String {
        socket(self.folder.path())
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new("docker");
        command.arg("-H").arg(self.host()).args(args);
        command
            .env("HOME", self.folder.path())
            .env_remove("DOCKER_HOST");
        command
            .env("DOCKER_CONFIG", self.folder.path())
            .stdin(Stdio::null());
        command.output().unwrap()
    }

    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "docker {args:?}: {error}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub(crate) fn load(&self, archive: &[u8]) {
        let path = self.folder.path().join("archive.tar");
        fs::write(&path, archive).unwrap();
        self.ok(&["load", "-q", "-i", path.to_str().unwrap()]);
    }

    pub(crate) fn save(&self, names: &[&str]) -> Vec<u8> {
        let path = self.folder.path().join("saved.tar");
        let mut args = vec!["save", "-o", path.to_str().unwrap()];
        args.extend(names);
        self.ok(&args);
        fs::read(path).unwrap()
    }

    /// Ends the daemon and waits for it.
    pub(crate) fn stop(&mut self) {
        let Some(mut daemon) = self.daemon.take() else {
            return;
        };
        let id = i32::try_from(daemon.id()).unwrap();
        let id = nix::unistd::Pid::from_raw(id);
        let _ = nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM);
        let since = Instant::now();
        while daemon.try_wait().unwrap().is_none() {
            if since.elapsed() > Duration::from_secs(30) {
                let _ = daemon.kill();
                let _ = daemon.wait();
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn socket(folder: &Path) -> String {
    format!("unix://{}", folder.join("sock").display())
}

impl Drop for Docker {
    fn drop(&mut self) {
        self.stop();
        // What the driver may have left mounted.
        for mounted in ["data/overlay2", "data/vfs", "exec/netns/default"] {
            let mut umount = Command::new("umount");
            umount.arg("-l").arg(self.folder.path().join(mounted));
            drop(umount.stderr(Stdio::null()).status());
        }
    }
}
