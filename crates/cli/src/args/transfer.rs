//! What moves images: `load`, `save` and `copy`.

use std::ffi::OsString;

use clap::Args;
use lith_archive::oci::Platform;
use lith_archive::{DockerLayout, Format, LayerCompression};

/// What a SOURCE can be, for the help text.
const SOURCES: &str = "\
A SOURCE is a path, whose content decides what it is, or one of
  docker-archive:PATH[:NAME]                  an archive, and one of its images
  oci-archive:PATH[:NAME]                     a tar of an OCI layout, and one of its images
  oci:DIR[:NAME]                              an OCI layout, and one of its images
  dir:DIR                                     a folder with one manifest and its blobs
  containers-storage:[[DRIVER@ROOT+RUN]]NAME  podman's store; all of it without a NAME
  docker-store:ROOT[:NAME]                    docker's store, usually at /var/lib/docker
  docker-daemon:NAME                          a running engine, where DOCKER_HOST says
The first colon behind a prefix ends PATH or ROOT. NAME is a name, an ID, or sha256:PREFIX.";

#[derive(Args, Debug)]
#[command(after_help = SOURCES)]
pub(crate) struct LoadArgs {
    /// Archive to read, or where else to read from; `-` is standard input
    #[arg(long, short, value_name = "SOURCE", default_value = "-")]
    pub(crate) input: OsString,
    /// Load only these of the archive's images, by name or ID
    #[arg(value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
    /// Give the loaded image this name, too
    #[arg(long, value_name = "NAME")]
    pub(crate) tag: Vec<String>,
    /// Load only images for this platform, as linux/arm64 or linux/arm/v7; of an image for
    /// several it is this machine's that is loaded otherwise
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<Platform>,
    /// Of an image for several platforms, load the images for all of them; its name then stands
    /// for the index that lists them
    #[arg(long, conflicts_with = "platform")]
    pub(crate) all_platforms: bool,
    /// Only print what would be loaded; the store is not touched
    #[arg(long, conflicts_with_all = ["tag", "no_clobber", "verify"])]
    pub(crate) list: bool,
    /// Leave names that are taken as they are
    #[arg(long)]
    pub(crate) no_clobber: bool,
    /// Read layers that are in the store already, too, in the store and in the archive; what is damaged
    /// in the store is replaced
    #[arg(long)]
    pub(crate) verify: bool,
    /// Print a JSON document for programs
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct SaveArgs {
    /// File or folder to write; `-` is standard output
    #[arg(long, short, value_name = "FILE|DIR", default_value = "-")]
    pub(crate) output: OsString,
    /// docker-archive, oci-archive, oci-dir, docker-dir, or docker-daemon for a running engine
    /// where DOCKER_HOST says
    #[arg(long, value_name = "FORMAT", default_value = "docker-archive")]
    pub(crate) format: Format,
    /// How layers are compressed: none, gzip, zstd or zstd:LEVEL [default: none in a
    /// docker-archive, else as the image came, else gzip]
    #[arg(long, value_name = "HOW")]
    pub(crate) compress: Option<LayerCompression>,
    /// Layout of a docker-archive: default as podman and skopeo write it, dirs as docker up
    /// to 24, blobs as docker from 25
    #[arg(long, value_name = "LAYOUT", default_value = "default")]
    pub(crate) docker_layout: DockerLayout,
    /// Give the saved image this name, too
    #[arg(long, value_name = "NAME")]
    pub(crate) tag: Vec<String>,
    /// Of images for several platforms, save only this one's, as linux/arm64 or linux/arm/v7
    /// [default: all of them in an OCI layout, this machine's elsewhere]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<Platform>,
    /// Images to save: names, `name:tag`, IDs or their beginnings
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
}

/// What SOURCE and DEST can be, for the help text.
const COPIES: &str = "\
A SOURCE is a path, whose content decides what it is, `-`, or one of
  docker-archive:PATH[:NAME]                  an archive, and one of its images
  oci-archive:PATH[:NAME], oci:DIR[:NAME]     an OCI layout as a tar or a folder
  dir:DIR                                     a folder with one manifest and its blobs
  docker-daemon:NAME                          a running engine, where DOCKER_HOST says
  containers-storage:[[DRIVER@ROOT+RUN]]NAME  podman's store; all of it without a NAME
  docker-store:ROOT[:NAME]                    docker's store, usually at /var/lib/docker
  store:NAME                                  lith's own store
A DEST is one of these but the stores of others; or a path or `-` with --format, where a folder
that is an OCI layout needs none. A NAME in DEST is the only name of the copy, which then has to
be one image; without, the source's names are kept. An OCI layout that is there gets the images
added; a docker-dir has to be new. What is written appears only when it is complete.

Layers and manifests stay as they are, to the byte, where both sides keep layers as blobs (the
OCI's formats and dir:) and --compress asks for nothing else. Each layer is checked on its way.
Layers of a pipe wait beside DEST, or in $TMPDIR for `-` and docker-daemon:, until the pipe has
said what they are.";

#[derive(Args, Debug)]
#[command(after_help = COPIES)]
pub(crate) struct CopyArgs {
    /// Where to read; `-` is standard input
    #[arg(value_name = "SOURCE")]
    pub(crate) source: OsString,
    /// Where to write; `-` is standard output
    #[arg(value_name = "DEST")]
    pub(crate) dest: OsString,
    /// Copy only these of the source's images, by name or ID
    #[arg(value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
    /// Copy only images for this platform, as linux/arm64 or linux/arm/v7; of an image for
    /// several it is this machine's that is copied otherwise
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<Platform>,
    /// Copy images for several platforms as they are, with the index that lists them; into an OCI
    /// layout or the store
    #[arg(long, conflicts_with = "platform")]
    pub(crate) all_platforms: bool,
    /// docker-archive, oci-archive, oci-dir or docker-dir, for a DEST without a prefix
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<Format>,
    /// How layers are compressed: none, gzip, zstd or zstd:LEVEL [default: as they are where
    /// they stay blobs, else none in a docker-archive, else gzip]
    #[arg(long, value_name = "HOW")]
    pub(crate) compress: Option<LayerCompression>,
    /// Layout of a docker-archive: default as podman and skopeo write it, dirs as docker up
    /// to 24, blobs as docker from 25
    #[arg(long, value_name = "LAYOUT", default_value = "default")]
    pub(crate) docker_layout: DockerLayout,
    /// Give the copied image this name, too
    #[arg(long, value_name = "NAME")]
    pub(crate) tag: Vec<String>,
    /// Print a JSON document for programs
    #[arg(long)]
    pub(crate) json: bool,
}
