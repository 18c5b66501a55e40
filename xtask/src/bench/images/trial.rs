//! One run of one tool on fresh file systems.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use super::commands::{self, Place};
use super::debian13::{Debian13, Shown};
use super::disk::{Disk, Watch};
use super::opened;
use super::subject::Subject;
use super::tools::{Before, Side, Tool, Work};
use crate::e2e::{Docker, Podman, Settings};
use crate::measure::{self, Cost};
use crate::process;

/// What one run has cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) cost: Cost,
    /// Bytes that went to the disk of the store, journal included.
    pub(super) written: u64,
    /// Room that was taken at some time, in the store or where temporary files go, and was free
    /// again at the end.
    pub(super) temporary: u64,
}

/// Where runs are made.
pub(super) struct Bench {
    pub(super) program: PathBuf,
    pub(super) settings: Settings,
    pub(super) folder: PathBuf,
    pub(super) debian13: Option<Debian13>,
}

/// A store on its disk, whoever it is for. What uses the disks goes before them.
struct Run<'a> {
    bench: &'a Bench,
    place: Place<'a>,
    _shown: Vec<Shown>,
    temporary: Disk,
    disk: Disk,
}

impl Bench {
    /// Whether `tool` is there at all.
    pub(super) fn has(&self, tool: Tool) -> bool {
        tool.side() != Side::Newer || self.debian13.is_some()
    }

    /// Measures `work`; what has to be there before is done without being measured.
    pub(super) fn time(&self, subject: &Subject, work: Work, tool: Tool) -> Result<Sample> {
        let (run, mut command) = self.prepare(subject, work, tool)?;
        run.time(&mut command)
    }

    /// How many files `work` opens; none where others do it than the command itself.
    pub(super) fn opened(&self, subject: &Subject, work: Work, tool: Tool) -> Result<Option<u64>> {
        if tool == Tool::Docker || process::find("strace").is_none() {
            return Ok(None);
        }
        let (run, command) = self.prepare(subject, work, tool)?;
        let counts = self.folder.join("opened.txt");
        let mut traced = opened::traced(&command, &counts);
        traced.env("TMPDIR", &run.temporary.path);
        process::run(&mut traced)?.ok()?;
        let text = std::fs::read_to_string(&counts)?;
        std::fs::remove_file(&counts)?;
        opened::count(&text).map(Some)
    }

    fn prepare(&self, subject: &Subject, work: Work, tool: Tool) -> Result<(Run<'_>, Command)> {
        let disk = Disk::fresh(&self.folder.join("disk"))?;
        let temporary = Disk::fresh(&self.folder.join("temporary"))?;
        let (settings, shown) = match (&self.debian13, tool.side()) {
            (Some(debian), Side::Newer) => (
                &debian.settings,
                vec![debian.show(&disk.path)?, debian.show(&temporary.path)?],
            ),
            _ => (&self.settings, Vec::new()),
        };
        let mut run = Run {
            bench: self,
            place: Place {
                program: &self.program,
                settings,
                disk: disk.path.clone(),
                tool,
                docker: None,
                podman: None,
            },
            _shown: shown,
            temporary,
            disk,
        };
        run.start()?;
        match work.before() {
            Before::Nothing => {}
            Before::DockerArchive => run.load(subject, Work::Load)?,
            Before::OciArchive => run.load(subject, Work::LoadGzip)?,
        }
        let command = commands::command(&run.place, subject, work)?;
        Ok((run, command))
    }
}

impl Run<'_> {
    /// Starts what has to run beside, with its store on the disk.
    fn start(&mut self) -> Result<()> {
        let (place, store) = (&mut self.place, self.disk.path.join("store"));
        match place.tool {
            Tool::Docker => place.docker = Some(Docker::start(place.settings, &store)?),
            Tool::Podman | Tool::Skopeo | Tool::Podman13 | Tool::Skopeo13 => {
                place.podman = Some(Podman::new(place.settings, &store)?);
            }
            Tool::PodmanVfs => {
                place.podman = Some(Podman::with_storage(place.settings, &store, "vfs")?);
            }
            _ => {}
        }
        Ok(())
    }

    /// Does `work`, measuring nothing.
    fn load(&self, subject: &Subject, work: Work) -> Result<()> {
        if matches!(self.place.tool, Tool::Cp | Tool::Openssl) {
            // They need no more than the archive.
            return Ok(());
        }
        let mut command = commands::command(&self.place, subject, work)?;
        command.env("TMPDIR", &self.temporary.path);
        process::run(&mut command)?.ok().map(drop)
    }

    fn time(&self, command: &mut Command) -> Result<Sample> {
        command.env("TMPDIR", &self.temporary.path);
        // This waits for what was written before, which is not to be paid for by what is timed.
        let before = self.disk.written()?;
        let watch = Watch::start(&[&self.disk, &self.temporary])?;
        let report: &Path = &self.bench.folder.join("cost.json");
        let (_, cost) = measure::cost(command, Stdio::null(), report)?;
        let temporary = watch.temporary()?;
        let written = self.disk.written()? - before;
        if cost.seconds == 0.0 {
            bail!("it took no time");
        }
        Ok(Sample {
            // A daemon's work is not that of the command which waits for it.
            cost: Cost {
                cpu_seconds: cost.cpu_seconds.filter(|_| self.place.docker.is_none()),
                ..cost
            },
            written,
            temporary,
        })
    }
}
