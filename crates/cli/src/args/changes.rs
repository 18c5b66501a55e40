//! What was changed, and images that are made of it.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::OnePlatform;

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
    #[command(flatten)]
    pub(crate) of: OnePlatform,
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
    #[command(flatten)]
    pub(crate) of: OnePlatform,
    /// File to write; `-` is standard output
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    pub(crate) output: OsString,
}
