//! Real images, made on the spot, and the archives that peers write of them.

mod base;
pub(crate) mod family;
mod made;
mod odd;

pub(crate) use made::Made;

use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::Result;

use super::lab::Lab;
use super::peers::{self, Podman};
use super::report::skip;

/// An image built with buildah.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Image {
    /// One layer: a static busybox.
    Tiny,
    /// One layer: Debian's root file system.
    Debian,
    /// Over Debian (or busybox, without network): a layer of odd things, and one that
    /// deletes, replaces and hides.
    Odd,
}

impl Image {
    /// The name under which every peer knows it.
    pub(crate) fn name(self) -> String {
        let word = match self {
            Image::Tiny => "tiny",
            Image::Debian => "debian",
            Image::Odd => "odd",
        };
        format!("localhost/lith-e2e/{word}:latest")
    }
}

/// Who wrote an archive.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Writer {
    Skopeo,
    Podman,
    Docker,
}

/// An image that stands in the builder's store.
#[derive(Clone, Debug)]
pub(crate) struct Built {
    pub(crate) name: String,
}

impl Lab {
    fn builder(&self) -> Result<&Podman> {
        self.builder.get(|| {
            if !rustix::process::geteuid().is_root() {
                return skip("making images with buildah needs root here");
            }
            Podman::new(&self.settings, &self.folder("builder")?)
        })
    }

    /// Builds the image with buildah, once.
    pub(crate) fn built(&self, image: Image) -> Result<Rc<Built>> {
        self.built.get(image, || {
            let builder = self.builder()?;
            let name = image.name();
            match image {
                Image::Tiny => {
                    layer(builder, "scratch", &name, &["--cmd=/bin/sh"], base::busybox)?;
                }
                Image::Debian => {
                    let rootfs = base::debian_rootfs(self)?;
                    let fill = |root: &Path| base::copy_tree(&rootfs, root);
                    layer(builder, "scratch", &name, &["--cmd=bash"], fill)?;
                }
                Image::Odd => {
                    let base = self
                        .built(Image::Debian)
                        .or_else(|_| self.built(Image::Tiny))?;
                    let between = "localhost/lith-e2e/between:latest";
                    layer(
                        builder,
                        &base.name,
                        between,
                        &["--env=STEP=1"],
                        odd::content,
                    )?;
                    let settings = ["--env=STEP=2", "--label=org.example.e2e=odd", "--cmd=sh"];
                    layer(builder, between, &name, &settings, odd::changes)?;
                }
            }
            Ok(Built { name })
        })
    }

    /// A docker-archive of `image`, written by `writer`, once.
    pub(crate) fn archive(&self, image: Image, writer: Writer) -> Result<Rc<PathBuf>> {
        self.archives.get((image, writer), || {
            let name = self.built(image)?.name.clone();
            let out = self
                .folder("archives")?
                .join(format!("{image:?}-{writer:?}.tar"));
            match writer {
                Writer::Skopeo => {
                    let target = format!("docker-archive:{}:{name}", out.display());
                    peers::skopeo_copy(&self.settings, &self.builder()?.source(&name), &target)?;
                }
                Writer::Podman => self.builder()?.save(&out, &[name])?,
                Writer::Docker => {
                    let docker = self.docker()?;
                    docker.load(&self.archive(image, Writer::Podman)?)?;
                    docker.save(&out, &[name])?;
                    docker.forget_all()?;
                }
            }
            Ok(out)
        })
    }

    /// One archive with several images that share layers.
    pub(crate) fn several(&self, out: &Path) -> Result<()> {
        let mut names = Vec::new();
        for image in [Image::Tiny, Image::Debian, Image::Odd] {
            match self.built(image) {
                Ok(built) => names.push(built.name.clone()),
                // Without network there is no Debian; two images are several, too.
                Err(_) if image == Image::Debian => {}
                Err(error) => return Err(error),
            }
        }
        self.builder()?.save(out, &names)
    }

    /// A small archive made without any peer from this machine's own files.
    pub(crate) fn made(&self) -> Result<&Made> {
        self.made.get(|| made::small(&self.folder("made")?))
    }

    /// A large one: about 800 MB where the machine has them.
    pub(crate) fn machine(&self) -> Result<&Made> {
        self.machine.get(|| made::large(&self.folder("machine")?))
    }
}

/// One more layer on `base`: `fill` changes the mounted tree.
fn layer(
    builder: &Podman,
    base: &str,
    name: &str,
    settings: &[&str],
    fill: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let container = builder.buildah(&["from", "--pull-never", base])?.text();
    let root = builder.buildah(&["mount", &container])?.text();
    let filled = fill(Path::new(&root));
    builder.buildah(&["umount", &container])?;
    filled?;
    let mut config = vec!["config", "--add-history"];
    config.extend(settings);
    config.push(&container);
    builder.buildah(&config)?;
    builder.buildah(&["commit", "-q", "--rm", &container, name])?;
    Ok(())
}
