//! What lith writes, read by every tool that knows the format.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::table::{Cell, Table};
use super::{Subject, expect, lith, loaded};
use crate::archive::{Told, sha256};
use crate::e2e::lab::Lab;
use crate::e2e::peers::{self, Podman};
use crate::lith::Lith;
use crate::process;

/// Something that lith can write.
struct Row {
    name: &'static str,
    kind: Kind,
    options: &'static [&'static str],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    DockerArchive,
    OciArchive,
    OciDir,
    DockerDir,
}

const ROWS: [Row; 9] = [
    row("docker-archive", Kind::DockerArchive, &[]),
    row(
        "docker-archive, dirs",
        Kind::DockerArchive,
        &["--docker-layout", "dirs"],
    ),
    row(
        "docker-archive, blobs",
        Kind::DockerArchive,
        &["--docker-layout", "blobs"],
    ),
    row(
        "docker-archive, gzip",
        Kind::DockerArchive,
        &["--compress", "gzip"],
    ),
    row("oci-archive", Kind::OciArchive, &[]),
    row(
        "oci-archive, zstd",
        Kind::OciArchive,
        &["--compress", "zstd"],
    ),
    row("oci-dir", Kind::OciDir, &[]),
    row("oci-dir, none", Kind::OciDir, &["--compress", "none"]),
    row("docker-dir", Kind::DockerDir, &[]),
];

const fn row(name: &'static str, kind: Kind, options: &'static [&'static str]) -> Row {
    Row {
        name,
        kind,
        options,
    }
}

/// The table; an error when a cell failed.
pub(super) fn table(lab: &Lab) -> Result<String> {
    let subject = Subject::new(lab, "formats-writes")?;
    let folder = subject.place("from");
    fs::create_dir(&folder)?;
    let from = lith(lab, &folder)?;
    from.load(&subject.family.together)?;
    let mut table = Table::new(&["docker", "podman", "skopeo", "umoci", "lith"]);
    for (number, row) in ROWS.iter().enumerate() {
        let work = subject.place(&number.to_string());
        fs::create_dir(&work)?;
        let written = match write(&subject, &from, row, &work) {
            Ok(written) => written,
            Err(error) => {
                let failed = Cell::Failed(format!("{error:#}"));
                let rest = [(); 4].map(|()| Cell::None);
                table.row(row.name, rest.into_iter().chain([failed]).collect());
                continue;
            }
        };
        let umoci = match row.kind {
            Kind::OciDir => Cell::of(written.umoci(lab)),
            _ => Cell::None,
        };
        let docker = match row.kind {
            Kind::DockerArchive => Cell::of(written.docker(lab)),
            _ => Cell::None,
        };
        let cells = vec![
            docker,
            Cell::of(written.podman(lab)),
            Cell::of(written.skopeo(lab)),
            umoci,
            Cell::of(written.lith(lab)),
        ];
        table.row(row.name, cells);
    }
    let mut cells = vec![Cell::of(daemon(lab, &subject, &from))];
    cells.extend([(); 4].map(|()| Cell::None));
    table.row("docker-daemon", cells);
    table.finish()
}

fn write<'a>(subject: &'a Subject, from: &Lith, row: &Row, work: &'a Path) -> Result<Written<'a>> {
    let path = work.join("by-lith");
    let mut images: Vec<&Told> = subject.images.iter().collect();
    let format = match row.kind {
        Kind::DockerArchive => "docker-archive",
        Kind::OciArchive => "oci-archive",
        Kind::OciDir => "oci-dir",
        Kind::DockerDir => {
            images.truncate(1);
            "docker-dir"
        }
    };
    let mut command = from.command();
    command.args(["save", "--format", format]).args(row.options);
    command.arg("-o").arg(&path);
    command.args(images.iter().flat_map(|image| &image.names));
    process::run(&mut command)?.ok()?;
    Ok(Written {
        images,
        kind: row.kind,
        path,
        work,
    })
}

/// Images in a format.
struct Written<'a> {
    images: Vec<&'a Told>,
    kind: Kind,
    path: PathBuf,
    work: &'a Path,
}

impl Written<'_> {
    /// One of the images, as podman and skopeo want it.
    fn source(&self, image: &Told) -> Result<String> {
        let path = self.path.display();
        let name = image.names.first().context("an image without a name")?;
        Ok(match self.kind {
            Kind::DockerArchive => format!("docker-archive:{path}:{name}"),
            Kind::OciArchive => format!("oci-archive:{path}:{name}"),
            Kind::OciDir => format!("oci:{path}:{name}"),
            Kind::DockerDir => format!("dir:{path}"),
        })
    }

    fn docker(&self, lab: &Lab) -> Result<()> {
        let docker = lab.docker()?;
        docker.load(&self.path)?;
        let back = self.work.join("by-docker.tar");
        let names: Vec<String> = self.images.iter().flat_map(|i| i.names.clone()).collect();
        docker.save(&back, &names)?;
        docker.forget_all()?;
        self.expect(Told::of_archive(&back)?)
    }

    fn podman(&self, lab: &Lab) -> Result<()> {
        let podman = Podman::new(&lab.settings, &self.work.join("podman"))?;
        if self.kind == Kind::DockerArchive {
            podman.load(&self.path)?;
            let mut told = Vec::new();
            for image in &self.images {
                let name = image.names.first().context("an image without a name")?;
                let (id, diff_ids) = podman.inspect(name)?;
                let names = image.names.clone();
                told.push(Told {
                    id,
                    diff_ids,
                    names,
                });
            }
            return self.expect(told);
        }
        for image in &self.images {
            let id = podman.pull(&self.source(image)?)?;
            let (id, diff_ids) = podman.inspect(&id)?;
            let names = Vec::new();
            let told = Told {
                id,
                diff_ids,
                names,
            };
            expect(&[told], &[image.nameless()])?;
        }
        Ok(())
    }

    /// skopeo shows the config as it is, and checks the layers when it copies them.
    fn skopeo(&self, lab: &Lab) -> Result<()> {
        for (number, image) in self.images.iter().enumerate() {
            let source = self.source(image)?;
            let id = sha256(&peers::skopeo_config(&lab.settings, &source)?);
            let copy = self.work.join(format!("by-skopeo-{number}"));
            let target = format!("oci:{}:x", copy.display());
            peers::skopeo_copy(&lab.settings, &source, &target)?;
            let copied = Told::of_layout(&copy)?;
            let copied = copied.first().context("skopeo copied nothing")?;
            let told = Told {
                id,
                diff_ids: copied.diff_ids.clone(),
                names: Vec::new(),
            };
            expect(&[told], &[image.nameless()])?;
        }
        Ok(())
    }

    /// umoci compares every layer with its diff ID when it unpacks.
    fn umoci(&self, lab: &Lab) -> Result<()> {
        for (number, image) in self.images.iter().enumerate() {
            let name = image.names.first().context("an image without a name")?;
            let bundle = self.work.join(format!("by-umoci-{number}"));
            peers::umoci_unpack(&lab.settings, &self.path, name, &bundle)?;
            let unpacked = bundle.join("rootfs").read_dir()?.count();
            ensure!(unpacked > 0, "umoci unpacked nothing of {name}");
        }
        Ok(())
    }

    fn lith(&self, lab: &Lab) -> Result<()> {
        let path = self.path.to_str().context("the work folder's name")?;
        self.expect(loaded(lab, &self.work.join("lith"), path, None)?)
    }

    fn expect(&self, found: Vec<Told>) -> Result<()> {
        // docker's folder has no place for a name.
        let expected = self.images.iter().map(|image| match self.kind {
            Kind::DockerDir => image.nameless(),
            _ => (*image).clone(),
        });
        let mut found = found;
        found.sort();
        expect(&found, &expected.collect::<Vec<_>>())
    }
}

/// Out of lith's store into a running engine, which gives the same back.
fn daemon(lab: &Lab, subject: &Subject, from: &Lith) -> Result<()> {
    let docker = lab.docker()?;
    let mut names = Vec::new();
    for image in &subject.images {
        let name = image.names.first().context("an image without a name")?;
        let mut command = from.command();
        command.env("DOCKER_HOST", docker.host());
        command.arg("copy").arg(format!("store:{name}"));
        command.arg(format!("docker-daemon:{name}"));
        process::run(&mut command)?.ok()?;
        names.push(name.clone());
    }
    let back = subject.place("out-of-the-daemon.tar");
    docker.save(&back, &names)?;
    docker.forget_all()?;
    expect(&Told::of_archive(&back)?, &subject.images)
}
