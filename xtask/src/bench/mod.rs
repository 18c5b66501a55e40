//! What things cost: figures for people, never a test that passes or fails.

mod images;
mod scale;

use anyhow::Result;

/// Arguments of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Times loading and saving images, against podman, skopeo, docker and tar.
    Images(images::Options),
    /// Times commands on a store with 10 images and on one with many.
    Scale(scale::Options),
}

/// Measures and prints a table.
pub(crate) fn run(options: &Options) -> Result<()> {
    match &options.what {
        What::Images(options) => images::run(options),
        What::Scale(options) => scale::run(options),
    }
}
