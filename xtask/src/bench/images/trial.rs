//! One run of one tool on a fresh file system.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::disk::{Disk, Watch};
use super::subject::Subject;
use super::tools::{Tool, Work};
use crate::e2e::{Docker, Podman, Settings};
use crate::lith::{Driver, Lith};
use crate::measure::{self, Cost};
use crate::process;

/// What one run has cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) cost: Cost,
    /// Bytes that went to the disk of the store, journal included.
    pub(super) written: u64,
    /// The most that was taken at once where temporary files go.
    pub(super) temporary: u64,
}

/// Where runs are made.
pub(super) struct Bench {
    pub(super) program: PathBuf,
    pub(super) settings: Settings,
    pub(super) folder: PathBuf,
}

/// A store on its disk, whoever it is for. The disk goes last.
struct Run<'a> {
    bench: &'a Bench,
    subject: &'a Subject,
    tool: Tool,
    docker: Option<Docker>,
    podman: Option<Podman>,
    temporary: Disk,
    disk: Disk,
}

impl Bench {
    /// Measures `work`; what has to be there before is done without being measured.
    pub(super) fn run(
        &self,
        subject: &Subject,
        work: Work,
        tool: Tool,
        round: usize,
    ) -> Result<Sample> {
        let place = |what: &str| self.folder.join(format!("{what}-{round}"));
        let disk = Disk::fresh(&place("disk"))?;
        let temporary = Disk::fresh(&place("temporary"))?;
        let mut run = Run {
            bench: self,
            subject,
            tool,
            docker: None,
            podman: None,
            temporary,
            disk,
        };
        run.start()?;
        if matches!(work, Work::Save | Work::LoadAgain) {
            process::run(&mut run.load(Work::Load)?)?.ok()?;
        }
        let mut command = match work {
            Work::Save => run.save()?,
            work => run.load(work)?,
        };
        run.measure(&mut command)
    }
}

impl Run<'_> {
    /// Starts what has to run beside, with its store on the disk.
    fn start(&mut self) -> Result<()> {
        let settings = &self.bench.settings;
        let store = self.disk.path.join("store");
        match self.tool {
            Tool::Docker => self.docker = Some(Docker::start(settings, &store)?),
            Tool::Podman | Tool::Skopeo => self.podman = Some(Podman::new(settings, &store)?),
            Tool::PodmanVfs => self.podman = Some(Podman::with_storage(settings, &store, "vfs")?),
            Tool::Lith | Tool::LithVfs | Tool::Tar => {}
        }
        Ok(())
    }

    fn podman(&self) -> Result<&Podman> {
        self.podman.as_ref().context("no store of podman's")
    }

    fn lith(&self) -> Command {
        let lith = Lith {
            program: self.bench.program.clone(),
            root: self.disk.path.join("store"),
            driver: Some(match self.tool {
                Tool::LithVfs => Driver::Vfs,
                _ => Driver::Overlay,
            }),
        };
        lith.command()
    }

    fn load(&self, work: Work) -> Result<Command> {
        let subject = self.subject;
        let (archive, prefix) = match work {
            Work::LoadGzip => {
                let archive = subject.oci_archive.as_ref();
                (archive.context("there is no OCI archive")?, "oci-archive")
            }
            _ => (&subject.docker_archive, "docker-archive"),
        };
        Ok(match self.tool {
            Tool::Lith | Tool::LithVfs => with(self.lith(), &["load", "-q", "-i"], &[archive]),
            Tool::Podman | Tool::PodmanVfs if prefix == "oci-archive" => {
                let mut command = self.podman()?.podman()?;
                command.args(["pull", "-q", "--signature-policy"]);
                command.arg(self.bench.settings.policy());
                command.arg(format!("{prefix}:{}", archive.display()));
                command
            }
            Tool::Podman | Tool::PodmanVfs => self.podman()?.load_command(archive)?,
            Tool::Docker => {
                let docker = self.docker.as_ref().context("no docker")?;
                with(docker.docker()?, &["load", "-q", "-i"], &[archive])
            }
            Tool::Skopeo => self.skopeo(
                &format!("{prefix}:{}", archive.display()),
                &self.podman()?.source(&subject.image),
            )?,
            Tool::Tar => {
                let layers: Vec<&Path> = subject.layers.iter().map(PathBuf::as_path).collect();
                let script = "cd \"$1\"; shift; n=0; for layer; do n=$((n+1)); mkdir $n; \
                              tar -xf \"$layer\" -C $n || exit; done";
                shell(script, &self.disk.path, &layers)
            }
        })
    }

    fn save(&self) -> Result<Command> {
        let subject = self.subject;
        let out = self.disk.path.join("saved.tar");
        let name = Path::new(&subject.image);
        Ok(match self.tool {
            Tool::Lith | Tool::LithVfs => {
                let command = with(self.lith(), &["save", "-q", "-o"], &[&out]);
                with(command, &[], &[name])
            }
            Tool::Podman | Tool::PodmanVfs => {
                let command = self.podman()?.podman()?;
                let arguments = ["save", "-q", "--format=docker-archive", "-o"];
                with(command, &arguments, &[&out, name])
            }
            Tool::Docker => {
                let docker = self.docker.as_ref().context("no docker")?;
                with(docker.docker()?, &["save", "-o"], &[&out, name])
            }
            Tool::Skopeo => self.skopeo(
                &self.podman()?.source(&subject.image),
                &format!("docker-archive:{}:{}", out.display(), subject.image),
            )?,
            Tool::Tar => {
                let script = "cd \"$1\"; for tree in [0-9]*; do \
                              tar -cf \"saved-$tree.tar\" -C \"$tree\" . || exit; done";
                shell(script, &self.disk.path, &[])
            }
        })
    }

    fn skopeo(&self, source: &str, target: &str) -> Result<Command> {
        let mut command = self.bench.settings.command("skopeo")?;
        command.args(["--insecure-policy", "copy", "-q", source, target]);
        Ok(command)
    }

    fn measure(&self, command: &mut Command) -> Result<Sample> {
        command.env("TMPDIR", &self.temporary.path);
        // What was written before is not paid for by this.
        rustix::fs::sync();
        let before = self.disk.written()?;
        let watch = Watch::start(&self.temporary)?;
        let report = self.bench.folder.join("cost.json");
        let (_, cost) = measure::cost(command, Stdio::null(), &report)?;
        let temporary = watch.most();
        let written = self.disk.written()? - before;
        if cost.seconds == 0.0 {
            bail!("it took no time");
        }
        Ok(Sample {
            // A daemon's work is not that of the command which waits for it.
            cost: Cost {
                cpu_seconds: cost.cpu_seconds.filter(|_| self.docker.is_none()),
                ..cost
            },
            written,
            temporary,
        })
    }
}

fn with(mut command: Command, arguments: &[&str], paths: &[&Path]) -> Command {
    command.args(arguments).args(paths);
    command
}

fn shell(script: &str, folder: &Path, arguments: &[&Path]) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", script, "sh"])
        .arg(folder)
        .args(arguments);
    command
}
