//! What gives names, and takes them and images away.

use clap::Args;

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
