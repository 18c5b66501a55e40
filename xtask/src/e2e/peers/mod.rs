//! The other tools of the field, each with stores of its own below the work folder.

mod docker;
mod podman;
mod reference;
mod tools;

pub(crate) use docker::Docker;
pub(crate) use podman::Podman;
pub(crate) use reference::Reference;
pub(crate) use tools::{
    skopeo_config, skopeo_copy, skopeo_copy_with, skopeo_inspect, umoci, umoci_unpack,
};

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::guards::Mounted;
use super::report::skip;
use crate::process;

/// Settings that keep the peers away from this machine's own stores.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    home: PathBuf,
    /// podman takes no run root longer than 50 bytes and sockets have short names, too; the
    /// work folder may be anywhere. The only thing of a run that lies outside of it.
    short: Rc<TempDir>,
    /// Another system's root folder, in which programs are looked for and run.
    root: Option<PathBuf>,
    /// The storage driver for podman and buildah: overlay where the kernel takes it here.
    pub(crate) storage: &'static str,
}

impl Settings {
    /// Writes the files that the peers read into `home`.
    pub(crate) fn new(home: &Path) -> Result<Settings> {
        for folder in ["tmp", "docker", "run"] {
            fs::create_dir_all(home.join(folder))?;
        }
        fs::write(home.join("docker/config.json"), "{}")?;
        let policy = r#"{"default":[{"type":"insecureAcceptAnything"}]}"#;
        fs::write(home.join("policy.json"), policy)?;
        let storage = if overlay_works(&home.join("tmp"))? {
            "overlay"
        } else {
            "vfs"
        };
        // Only read by what is started without --root; it must not find the machine's store.
        let conf = format!(
            "[storage]\ndriver = \"{storage}\"\ngraphroot = \"{}\"\nrunroot = \"{}\"\n",
            home.join("unused").display(),
            home.join("unused-run").display(),
        );
        fs::write(home.join("storage.conf"), conf)?;
        let short = tempfile::Builder::new()
            .prefix("e2e-")
            .rand_bytes(4)
            .tempdir()?;
        Ok(Settings {
            home: home.to_owned(),
            short: Rc::new(short),
            root: None,
            storage,
        })
    }

    /// The same for the programs of another system, whose root folder shows
    /// [`Settings::folders`] at the same paths.
    pub(crate) fn within(&self, root: &Path) -> Settings {
        Settings {
            root: Some(root.to_owned()),
            ..self.clone()
        }
    }

    /// What the programs read and write.
    pub(crate) fn folders(&self) -> [&Path; 2] {
        [&self.home, self.short.path()]
    }

    /// A new folder with a short path, for sockets and the like.
    pub(crate) fn run_folder(&self) -> Result<TempDir> {
        let folder = tempfile::Builder::new()
            .prefix("")
            .rand_bytes(4)
            .tempdir_in(&*self.short);
        folder.context("cannot make a folder with a short path")
    }

    /// `program` with these settings, or a skip when it is not installed.
    pub(crate) fn command(&self, program: &str) -> Result<Command> {
        let mut command = match &self.root {
            None => {
                let Some(path) = process::find(program) else {
                    return skip(format!("{program} is not installed"));
                };
                Command::new(path)
            }
            Some(root) => {
                if !root.join("usr/bin").join(program).exists() {
                    return skip(format!("{} has no {program}", root.display()));
                }
                let mut command = Command::new("chroot");
                command.arg(root).arg(Path::new("/usr/bin").join(program));
                command
            }
        };
        command
            .env("HOME", &self.home)
            .env("TMPDIR", self.home.join("tmp"))
            .env("XDG_RUNTIME_DIR", self.home.join("run"))
            .env("CONTAINERS_STORAGE_CONF", self.home.join("storage.conf"))
            .env("DOCKER_CONFIG", self.home.join("docker"))
            .env_remove("STORAGE_DRIVER")
            .env_remove("DOCKER_HOST");
        Ok(command)
    }

    /// Takes images from anyone: they are our own.
    pub(crate) fn policy(&self) -> PathBuf {
        self.home.join("policy.json")
    }
}

/// Whether the kernel mounts an overlay on this file system.
pub(crate) fn overlay_works(scratch: &Path) -> Result<bool> {
    let folder = tempfile::tempdir_in(scratch).context("cannot make a scratch folder")?;
    let [lower, upper, target] = ["lower", "upper", "merged"].map(|name| folder.path().join(name));
    for path in [&lower, &upper] {
        fs::create_dir(path)?;
    }
    Ok(Mounted::overlay(&lower, &upper, &target).is_ok())
}
