//! podman and buildah on one private store.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;
use tempfile::TempDir;

use super::Settings;
use crate::e2e::guards;
use crate::process::{self, Output};

/// A private containers-storage; what is mounted in it is unmounted when this is dropped.
#[derive(Debug)]
pub(crate) struct Podman {
    settings: Settings,
    folder: PathBuf,
    run: TempDir,
    /// The storage driver of this store.
    pub(crate) storage: &'static str,
}

/// A layer as podman's store keeps it.
#[derive(Debug)]
pub(crate) struct StoredLayer {
    pub(crate) diff_id: String,
    /// The gzip-compressed tar-split record.
    pub(crate) record: PathBuf,
    /// The folder with the layer's files (vfs: with those of its parents, too).
    pub(crate) files: PathBuf,
}

impl Podman {
    /// A new store in `folder`; a skip when podman is not installed.
    pub(crate) fn new(settings: &Settings, folder: &Path) -> Result<Podman> {
        Podman::with_storage(settings, folder, settings.storage)
    }

    /// A new store with a driver of the caller's choice.
    pub(crate) fn with_storage(
        settings: &Settings,
        folder: &Path,
        storage: &'static str,
    ) -> Result<Podman> {
        settings.command("podman")?;
        fs::create_dir_all(folder)?;
        let run = settings.run_folder()?;
        Ok(Podman {
            settings: settings.clone(),
            folder: folder.to_owned(),
            run,
            storage,
        })
    }

    fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    fn global(&self, command: &mut Command) {
        command
            .arg("--root")
            .arg(self.root())
            .arg("--runroot")
            .arg(self.run.path());
        command.arg("--storage-driver").arg(self.storage);
    }

    /// `podman` on this store; the caller adds what it shall do.
    pub(crate) fn podman(&self) -> Result<Command> {
        let mut command = self.settings.command("podman")?;
        self.global(&mut command);
        command.arg("--tmpdir").arg(self.folder.join("tmp"));
        command
            .arg("--network-config-dir")
            .arg(self.folder.join("net"));
        command.args(["--cgroup-manager=cgroupfs", "--events-backend=none"]);
        Ok(command)
    }

    /// Runs `buildah` on this store.
    pub(crate) fn buildah(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = self.settings.command("buildah")?;
        self.global(&mut command);
        process::run(command.args(arguments))?.ok()
    }

    /// `podman load`, ready to run.
    pub(crate) fn load_command(&self, archive: &Path) -> Result<Command> {
        let mut command = self.podman()?;
        command
            .args(["load", "-q", "--signature-policy"])
            .arg(self.settings.policy());
        command.arg("-i").arg(archive);
        Ok(command)
    }

    /// `podman load`.
    pub(crate) fn load(&self, archive: &Path) -> Result<()> {
        process::run(&mut self.load_command(archive)?)?
            .ok()
            .map(drop)
    }

    /// `podman save`, several images into one archive when there are several.
    pub(crate) fn save(&self, out: &Path, names: &[String]) -> Result<()> {
        let mut command = self.podman()?;
        command.args(["save", "-q", "--format=docker-archive"]);
        if names.len() > 1 {
            command.arg("--multi-image-archive");
        }
        process::run(command.arg("-o").arg(out).args(names))?
            .ok()
            .map(drop)
    }

    /// `podman pull` of something on this machine; gives the image ID (hex).
    pub(crate) fn pull(&self, source: &str) -> Result<String> {
        let mut command = self.podman()?;
        command
            .args(["pull", "-q", "--signature-policy"])
            .arg(self.settings.policy())
            .arg(source);
        Ok(process::run(&mut command)?.ok()?.text())
    }

    /// `podman save` of one image in a format of its own choice.
    pub(crate) fn save_as(&self, format: &str, out: &Path, name: &str) -> Result<()> {
        let mut command = self.podman()?;
        command
            .args(["save", "-q", "--format", format, "-o"])
            .arg(out);
        process::run(command.arg(name))?.ok().map(drop)
    }

    /// Image ID (hex) and diff IDs as podman tells them.
    pub(crate) fn inspect(&self, name: &str) -> Result<(String, Vec<String>)> {
        let output = process::run(self.podman()?.args(["image", "inspect", name]))?.ok()?;
        let value: Value = serde_json::from_slice(&output.stdout)?;
        let id = value[0]["Id"]
            .as_str()
            .context("podman tells no Id")?
            .to_owned();
        let layers = value[0]["RootFS"]["Layers"]
            .as_array()
            .context("podman tells no layers")?;
        let layers = layers
            .iter()
            .filter_map(|layer| layer.as_str().map(str::to_owned))
            .collect();
        Ok((id, layers))
    }

    /// Mounts an image read-only and gives the folder.
    pub(crate) fn mount(&self, name: &str) -> Result<PathBuf> {
        let output = process::run(self.podman()?.args(["image", "mount", name]))?.ok()?;
        Ok(PathBuf::from(output.text()))
    }

    /// All layers of this store.
    pub(crate) fn layers(&self) -> Result<Vec<StoredLayer>> {
        let records = self.root().join(format!("{}-layers", self.storage));
        let list = fs::read(records.join("layers.json")).context("podman's list of layers")?;
        let list: Value = serde_json::from_slice(&list)?;
        let mut layers = Vec::new();
        for layer in list
            .as_array()
            .context("podman's list of layers is no list")?
        {
            let id = layer["id"].as_str().context("a layer without an id")?;
            let files = match self.storage {
                "vfs" => self.root().join("vfs/dir").join(id),
                other => self.root().join(other).join(id).join("diff"),
            };
            layers.push(StoredLayer {
                diff_id: layer["diff-digest"].as_str().unwrap_or_default().to_owned(),
                record: records.join(format!("{id}.tar-split.gz")),
                files,
            });
        }
        Ok(layers)
    }

    /// `containers-storage:` with this store, as skopeo wants it.
    pub(crate) fn source(&self, name: &str) -> String {
        let (root, run) = (self.root(), self.run.path());
        format!(
            "containers-storage:[{}@{}+{}]{name}",
            self.storage,
            root.display(),
            run.display()
        )
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        // Mounted images, and the store's own bind mount that podman leaves behind.
        for folder in [self.folder.as_path(), self.run.path()] {
            if let Err(error) = guards::sweep(folder) {
                eprintln!("warning: {error:#}");
            }
        }
    }
}
