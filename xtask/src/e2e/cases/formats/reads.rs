//! What every other tool writes, and what it keeps in its own store, read by lith.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::table::{Cell, Table};
use super::{Subject, expect, loaded};
use crate::archive::Told;
use crate::e2e::lab::Lab;
use crate::e2e::peers::{self, Podman};

const FORMATS: [&str; 7] = [
    "docker-archive",
    "oci-archive",
    "oci-dir",
    "oci-dir, zstd",
    "docker-dir",
    "its own store",
    "docker-daemon",
];

const TOOLS: [&str; 4] = ["docker", "podman", "skopeo", "umoci"];

/// The table; an error when a cell failed.
pub(super) fn table(lab: &Lab) -> Result<String> {
    let subject = Subject::new(lab, "formats-reads")?;
    let mut table = Table::new(&TOOLS);
    let podman = Podman::new(&lab.settings, &subject.place("podman"));
    let podman = podman.and_then(|podman| {
        podman.load(&subject.family.together)?;
        Ok(podman)
    });
    let podman = podman.map_err(crate::e2e::report::Stop::from);
    for (number, format) in FORMATS.into_iter().enumerate() {
        let cell = |tool: &str, made: Option<Result<Made>>| match made {
            None => Cell::None,
            Some(made) => Cell::of(made.and_then(|made| {
                let folder = subject.place(&format!("{number}-{tool}"));
                let host = made.host.as_deref();
                let found = loaded(lab, &folder, &made.source, host)?;
                expect(&found, &made.images)
            })),
        };
        let by_podman = match &podman {
            Ok(podman) => by_podman(&subject, podman, format),
            Err(stop) => Some(Err(stop.clone().into())),
        };
        let cells = vec![
            cell("docker", by_docker(lab, &subject, format)),
            cell("podman", by_podman),
            cell("skopeo", by_skopeo(lab, &subject, format)),
            cell("umoci", by_umoci(lab, &subject, format)),
        ];
        table.row(format, cells);
    }
    if let Ok(docker) = lab.docker() {
        docker.forget_all()?;
    }
    table.finish()
}

/// What a tool wrote.
struct Made {
    /// For `lith load -i`.
    source: String,
    /// Where the engine listens, when it is asked.
    host: Option<String>,
    /// What is in there, as somebody else reads it.
    images: Vec<Told>,
}

impl Made {
    fn new(source: String, images: Vec<Told>) -> Made {
        Made {
            source,
            host: None,
            images,
        }
    }
}

fn by_docker(lab: &Lab, subject: &Subject, format: &str) -> Option<Result<Made>> {
    let made = || -> Result<Made> {
        let docker = lab.docker()?;
        docker.load(&subject.family.together)?;
        let name = &subject.family.names()[0];
        Ok(match format {
            "docker-archive" => {
                let out = subject.place("by-docker.tar");
                docker.save(&out, &subject.family.names())?;
                Made::new(out.display().to_string(), Told::of_archive(&out)?)
            }
            "its own store" => {
                let source = format!("docker-store:{}:{name}", docker.data_root().display());
                Made::new(source, vec![subject.image(name)?.clone()])
            }
            _ => Made {
                source: format!("docker-daemon:{name}"),
                host: Some(docker.host()),
                images: vec![subject.image(name)?.clone()],
            },
        })
    };
    matches!(format, "docker-archive" | "its own store" | "docker-daemon").then(made)
}

fn by_podman(subject: &Subject, podman: &Podman, format: &str) -> Option<Result<Made>> {
    let names = subject.family.names();
    let name = names.first()?;
    let out = subject.place(&format!("by-podman-{}", format.replace(' ', "-")));
    let source = out.display().to_string();
    let made = || -> Result<Made> {
        let images = match format {
            "docker-archive" => {
                podman.save(&out, &names)?;
                Told::of_archive(&out)?
            }
            "oci-archive" => {
                podman.save_as("oci-archive", &out, name)?;
                Told::of_layout(&untar(&out)?)?
            }
            "oci-dir" => {
                podman.save_as("oci-dir", &out, name)?;
                Told::of_layout(&out)?
            }
            "docker-dir" => {
                podman.save_as("docker-dir", &out, name)?;
                Told::of_docker_dir(&out)?
            }
            _ => {
                let images = vec![subject.image(name)?.clone()];
                return Ok(Made::new(podman.source(name), images));
            }
        };
        Ok(Made::new(source, images))
    };
    let known = [
        "docker-archive",
        "oci-archive",
        "oci-dir",
        "docker-dir",
        "its own store",
    ];
    known.contains(&format).then(made)
}

fn by_skopeo(lab: &Lab, subject: &Subject, format: &str) -> Option<Result<Made>> {
    let names = subject.family.names();
    let out = subject.place(&format!("by-skopeo-{}", format.replace([' ', ','], "-")));
    let path = out.display().to_string();
    let copy = |name: &str, target: &str, options: &[&str]| {
        let source = format!(
            "docker-archive:{}:{name}",
            subject.family.together.display()
        );
        peers::skopeo_copy_with(&lab.settings, options, &source, target)
    };
    let made = || -> Result<Made> {
        let name = names.first().context("no names")?;
        let images = match format {
            "docker-archive" => {
                copy(name, &format!("docker-archive:{path}:{name}"), &[])?;
                Told::of_archive(&out)?
            }
            "oci-archive" => {
                copy(name, &format!("oci-archive:{path}:{name}"), &[])?;
                Told::of_layout(&untar(&out)?)?
            }
            // Both images into one layout.
            "oci-dir" => {
                for name in &names {
                    copy(name, &format!("oci:{path}:{name}"), &[])?;
                }
                Told::of_layout(&out)?
            }
            "oci-dir, zstd" => {
                let options = ["--dest-compress-format", "zstd"];
                copy(name, &format!("oci:{path}:{name}"), &options)?;
                Told::of_layout(&out)?
            }
            _ => {
                copy(name, &format!("dir:{path}"), &[])?;
                Told::of_docker_dir(&out)?
            }
        };
        Ok(Made::new(path.clone(), images))
    };
    let known = [
        "docker-archive",
        "oci-archive",
        "oci-dir",
        "oci-dir, zstd",
        "docker-dir",
    ];
    known.contains(&format).then(made)
}

/// A layout that skopeo made and to which umoci added a layer of its own.
fn by_umoci(lab: &Lab, subject: &Subject, format: &str) -> Option<Result<Made>> {
    let made = || -> Result<Made> {
        lab.settings.command("umoci")?;
        let names = subject.family.names();
        let name = names.first().context("no names")?;
        let (layout, bundle) = (subject.place("by-umoci"), subject.place("umoci-bundle"));
        let source = format!(
            "docker-archive:{}:{name}",
            subject.family.together.display()
        );
        let target = format!("oci:{}:{name}", layout.display());
        peers::skopeo_copy(&lab.settings, &source, &target)?;
        peers::umoci_unpack(&lab.settings, &layout, name, &bundle)?;
        fs::write(bundle.join("rootfs/by-umoci"), "a layer of its own")?;
        let new = "localhost/by-umoci:1";
        peers::umoci(&lab.settings, "repack", &layout, new, &[&bundle])?;
        let images = Told::of_layout(&layout)?;
        Ok(Made::new(layout.display().to_string(), images))
    };
    (format == "oci-dir").then(made)
}

/// The content of an archive as a folder.
fn untar(archive: &Path) -> Result<PathBuf> {
    let mut folder = archive.as_os_str().to_owned();
    folder.push("-content");
    let folder = PathBuf::from(folder);
    tar::Archive::new(fs::File::open(archive)?).unpack(&folder)?;
    Ok(folder)
}
