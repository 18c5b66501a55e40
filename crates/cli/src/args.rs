//! The command line as data: what can be said, and nothing of what it does.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use lith_archive::oci::Platform;
use lith_archive::{DockerLayout, Format, LayerCompression};
use lith_store::{IdRange, Ownership};

/// Keeps container images as layered file trees and gives every byte back.
#[derive(Parser, Debug)]
#[command(name = "lith", version, propagate_version = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options that may stand before or after the command; given twice, the last wins.
#[derive(Args, Debug, Clone)]
pub(crate) struct Global {
    /// Folder of the store [default: /var/lib/lith as root, else $XDG_DATA_HOME/lith]
    #[arg(
        long,
        env = "LITH_ROOT",
        value_name = "DIR",
        global = true,
        overrides_with = "root"
    )]
    pub(crate) root: Option<PathBuf>,
    /// Driver that turns layers into directories [default: what the root was made with]
    #[arg(
        long,
        env = "LITH_DRIVER",
        value_name = "NAME",
        global = true,
        overrides_with = "driver"
    )]
    pub(crate) driver: Option<String>,
    /// How a root that is made keeps owners: real, as the layers say (needs root); mapped, shifted
    /// by ID maps; recorded, every file the user's own [default: real as root, mapped for a user
    /// with subordinate IDs, else recorded]
    #[arg(
        long,
        value_name = "MODE",
        global = true,
        overrides_with = "ownership",
        hide_short_help = true
    )]
    pub(crate) ownership: Option<Ownership>,
    /// Users of layers and which users of this machine they are, for a root that is made; can be
    /// repeated [default for a user: itself as root, then the subordinate IDs]
    #[arg(
        long,
        value_name = "LAYER:HERE:COUNT",
        global = true,
        hide_short_help = true
    )]
    pub(crate) uidmap: Vec<IdRange>,
    /// The same for groups [default: as --uidmap]
    #[arg(
        long,
        value_name = "LAYER:HERE:COUNT",
        global = true,
        hide_short_help = true
    )]
    pub(crate) gidmap: Vec<IdRange>,
    /// End only when the files of all layers are on the disk [default: the kernel writes them when it
    /// sees fit; what a crash of the machine took is found when it is used]
    #[arg(long, global = true, overrides_with = "sync", hide_short_help = true)]
    pub(crate) sync: bool,
    /// Print results and errors only
    #[arg(long, short, global = true, overrides_with = "quiet")]
    pub(crate) quiet: bool,
    /// Log to standard error: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", global = true, overrides_with = "log")]
    pub(crate) log: Option<tracing::Level>,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Load images from an archive into the store
    Load(LoadArgs),
    /// Save images from the store as an archive or a folder
    Save(SaveArgs),
    /// Copy images from anywhere to anywhere
    Copy(CopyArgs),
    /// List images
    Images(ImagesArgs),
    /// Show all that is known of images, as JSON
    Inspect(InspectArgs),
    /// Show the steps that an image was built in, the newest first
    History(HistoryArgs),
    /// List layers: all of them, or those of an image, the lowest first
    Layers(LayersArgs),
    /// Draw the graph of layers, and which images share them
    Tree(TreeArgs),
    /// Show what was done to the store, the newest last
    Events(EventsArgs),
    /// Give an image further names
    Tag(TagArgs),
    /// Remove names, and keep the images
    Untag(UntagArgs),
    /// Remove images, by name or by ID
    Rmi(RmiArgs),
    /// Remove images without names, and layers that nobody needs
    Prune(PruneArgs),
    /// Show an image as a directory
    Mount(MountArgs),
    /// Run a command, or a shell, in the namespace that a user's mounts are made in
    Unshare(UnshareArgs),
    /// Take the directory of an image away again
    Umount(UmountArgs),
    /// List what is mounted, and the layers that can be written
    Mounts(JsonArgs),
    /// Show what was changed in a writable layer, or what differs between two images
    Diff(DiffArgs),
    /// Make an image of what was written into a writable layer
    Commit(CommitArgs),
    /// Make an image of a root file system
    Import(ImportArgs),
    /// Write the files of an image as one tar
    Export(ExportArgs),
    /// Show the store: its driver, its space, what is in it
    Info(JsonArgs),
    /// List drivers, and test whether they do what they must
    #[command(subcommand)]
    Driver(DriverCommand),
    /// Split a tar into its record and put it together again, as the field's tool does
    #[command(subcommand)]
    TarSplit(TarSplitCommand),
}

#[derive(Args, Debug)]
pub(crate) struct JsonArgs {
    /// Print a JSON document for programs
    #[arg(long)]
    pub(crate) json: bool,
}

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

#[derive(Args, Debug)]
pub(crate) struct ImagesArgs {
    /// Only images whose name, repository or ID is this; `*` stands for anything
    #[arg(value_name = "FILTER")]
    pub(crate) filter: Option<String>,
    /// Show the digests of the manifests
    #[arg(long)]
    pub(crate) digests: bool,
    /// Show images without a name, too, that an image for several platforms consists of
    #[arg(long, short)]
    pub(crate) all: bool,
    /// Print a JSON document for programs
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    /// Images to show
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
    /// Of an image for several platforms, the one for this, as linux/arm64 or linux/arm/v7
    /// [default: this machine's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<Platform>,
    /// Accepted for symmetry: the output always is JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct HistoryArgs {
    /// The image
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Of an image for several platforms, the one for this, as linux/arm64 or linux/arm/v7
    /// [default: this machine's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<Platform>,
    /// Print a JSON document for programs
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct LayersArgs {
    /// Only this image's layers
    #[arg(value_name = "IMAGE")]
    pub(crate) image: Option<String>,
    /// Of an image for several platforms, the one for this, as linux/arm64 or linux/arm/v7
    /// [default: this machine's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<Platform>,
    /// Print a line a layer: its chain ID and its diff ID
    #[arg(long, conflicts_with = "json")]
    pub(crate) ids: bool,
    /// Print a JSON document for programs
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct TreeArgs {
    /// Only the layers of these images
    #[arg(value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
    /// Print a graph for Graphviz: `lith tree --dot | dot -Tsvg`
    #[arg(long, conflicts_with = "json")]
    pub(crate) dot: bool,
    /// Print a JSON document for programs
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct EventsArgs {
    /// Go on with what happens from now on, until interrupted
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Print a JSON document for programs, with --follow one a line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct TagArgs {
    /// The image to name
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Its new names
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Print a JSON document for programs
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct UntagArgs {
    /// The names to remove
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Print a JSON document for programs
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct RmiArgs {
    /// Images to remove
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
    /// Remove an image by its ID although it has several names, and one that is mounted
    #[arg(long, short)]
    pub(crate) force: bool,
    /// Print a JSON document for programs
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct PruneArgs {
    /// Remove images that have names, too: all that are not in use
    #[arg(long, short)]
    pub(crate) all: bool,
    /// Only say what would be removed, and how much space that frees
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print a JSON document for programs
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct MountArgs {
    /// Make a layer over the image that can be written; it has an ID, and stays when it is
    /// unmounted, until it is committed or discarded. With the ID of such a layer it is mounted again
    #[arg(long)]
    pub(crate) rw: bool,
    /// The image to mount, read-only unless --rw is given
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Where, made when missing; without it a folder below the root is made and printed. With
    /// --rw its last part is the ID, and with DIR the ID is printed
    #[arg(value_name = "DIR")]
    pub(crate) target: Option<PathBuf>,
    /// Of an image for several platforms, the one for this, as linux/arm64 or linux/arm/v7
    /// [default: this machine's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<Platform>,
    /// Print a JSON document for programs
    #[arg(long)]
    pub(crate) json: bool,
    /// Run this in the mounted directory and unmount when it ends; nobody else sees the mount
    #[arg(last = true, value_name = "CMD", conflicts_with = "json")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct UnshareArgs {
    /// The command and its arguments [default: $SHELL]
    #[arg(
        value_name = "CMD",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub(crate) command: Vec<OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct UmountArgs {
    /// Where an image is mounted, the image, or the ID of a writable layer
    #[arg(required = true, value_name = "DIR|ID")]
    pub(crate) targets: Vec<PathBuf>,
    /// Remove writable layers with everything that was written, mounted or not
    #[arg(long)]
    pub(crate) discard: bool,
    /// Print a JSON document for programs
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Each line is A for a new path, C for a changed one, D for one that is gone, and the path. \
Directories on the way to a change are listed as changed; of what is gone only the topmost path is. \
Exit status: 0 when it could compare; with --exit-code 1 when there are differences, and 3 when it \
failed.")]
pub(crate) struct DiffArgs {
    /// A writable layer, by its ID or where it is mounted; or what is older: an image, or a SOURCE
    /// with one image, an archive say
    #[arg(value_name = "A")]
    pub(crate) first: String,
    /// What it is compared with: the same things [default: what the writable layer A was made over]
    #[arg(value_name = "B")]
    pub(crate) second: Option<String>,
    /// Of an image for several platforms, the one for this, as linux/arm64 or linux/arm/v7
    /// [default: this machine's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<Platform>,
    /// Exit with status 1 when there are differences, and with 3 when something fails
    #[arg(long)]
    pub(crate) exit_code: bool,
    /// Print a JSON document for programs
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is said of an image that is made.
#[derive(Args, Debug)]
pub(crate) struct BuildArgs {
    /// Give the image this name
    #[arg(long, short, value_name = "NAME")]
    pub(crate) tag: Vec<String>,
    /// What the image's history says of this step
    #[arg(long, short, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// Change the image's config by an instruction as in a Dockerfile: CMD, ENTRYPOINT, ENV,
    /// EXPOSE, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME or WORKDIR
    #[arg(long, short, value_name = "INSTRUCTION")]
    pub(crate) change: Vec<String>,
    /// Print a JSON document for programs
    #[arg(long)]
    pub(crate) json: bool,
}

/// What else there is to know about images that are made.
const REPRODUCIBLE: &str = "\
With SOURCE_DATE_EPOCH set to seconds since 1970 the same files make the same image: it counts as made \
then, and files that are newer as changed then.";

#[derive(Args, Debug)]
#[command(after_help = REPRODUCIBLE)]
pub(crate) struct CommitArgs {
    /// The writable layer, by its ID or where it is mounted. It ends: at once, or when it is
    /// unmounted, and nothing can be written there until then
    #[arg(value_name = "DIR|ID")]
    pub(crate) layer: PathBuf,
    /// Who made the image
    #[arg(long, short, value_name = "TEXT")]
    pub(crate) author: Option<String>,
    #[command(flatten)]
    pub(crate) build: BuildArgs,
}

#[derive(Args, Debug)]
#[command(after_help = REPRODUCIBLE)]
pub(crate) struct ImportArgs {
    /// Tar of the root file system, compressed or not; `-` is standard input
    #[arg(long, short, value_name = "TAR", default_value = "-")]
    pub(crate) input: OsString,
    #[command(flatten)]
    pub(crate) build: BuildArgs,
}

#[derive(Args, Debug)]
pub(crate) struct ExportArgs {
    /// The image, or a writable layer by its ID or where it is mounted, or a SOURCE with one image
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Of an image for several platforms, the one for this, as linux/arm64 or linux/arm/v7
    /// [default: this machine's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<Platform>,
    /// File to write; `-` is standard output
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    pub(crate) output: OsString,
}

#[derive(Subcommand, Debug)]
pub(crate) enum DriverCommand {
    /// List the drivers there are
    Ls(JsonArgs),
    /// Run the conformance cases on a driver, in a folder of its own below the root; exit status 0
    /// only when every case passed, or was skipped for the reason that is shown
    Test(DriverTestArgs),
}

#[derive(Args, Debug)]
pub(crate) struct DriverTestArgs {
    /// The driver; it need not be the one that the root was made with
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Print a JSON document for programs
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Subcommand, Debug)]
pub(crate) enum TarSplitCommand {
    /// Write the record of a tar
    #[command(alias = "d")]
    Disasm(DisasmArgs),
    /// Write the tar of a record and a tree
    #[command(alias = "a")]
    Asm(AsmArgs),
}

#[derive(Args, Debug)]
pub(crate) struct DisasmArgs {
    /// Where the record goes
    #[arg(long, value_name = "FILE", default_value = "tar-data.json.gz")]
    pub(crate) output: PathBuf,
    /// Do not copy the tar to standard output
    #[arg(long)]
    pub(crate) no_stdout: bool,
    /// The tar; `-` is standard input
    #[arg(value_name = "TAR")]
    pub(crate) tar: OsString,
}

#[derive(Args, Debug)]
pub(crate) struct AsmArgs {
    /// The record
    #[arg(long, value_name = "FILE", default_value = "tar-data.json.gz")]
    pub(crate) input: PathBuf,
    /// The folder that the tar was extracted to
    #[arg(long, value_name = "DIR")]
    pub(crate) path: PathBuf,
    /// Where the tar goes; `-` is standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub(crate) output: OsString,
    /// Compress the tar with gzip
    #[arg(long)]
    pub(crate) compress: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_stand_anywhere_and_the_last_wins() {
        for line in [
            &["lith", "--root", "a", "--root", "b", "images"][..],
            &["lith", "--root", "a", "images", "--root", "b"],
            &["lith", "images", "--root", "a", "--root", "b"],
        ] {
            let cli = Cli::try_parse_from(line).unwrap();
            assert_eq!(cli.global.root.as_deref(), Some("b".as_ref()), "{line:?}");
        }
    }
}
