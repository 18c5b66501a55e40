//! What shows what is there: images, layers, what was done.

use clap::Args;

use super::OnePlatform;

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
    #[command(flatten)]
    pub(crate) of: OnePlatform,
    /// Accepted for symmetry: the output always is JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct HistoryArgs {
    /// The image
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    #[command(flatten)]
    pub(crate) of: OnePlatform,
    /// Print a JSON document for programs
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct LayersArgs {
    /// Only this image's layers
    #[arg(value_name = "IMAGE")]
    pub(crate) image: Option<String>,
    #[command(flatten)]
    pub(crate) of: OnePlatform,
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
