//! What things cost: figures for people, never a test that passes or fails.

mod images;
mod scale;

use std::path::PathBuf;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::workspace;

/// What every measurement is told.
#[derive(clap::Args)]
struct Setting {
    /// Where stores and file systems are made, in memory perhaps [default: cargo's target folder].
    #[arg(long)]
    work: Option<PathBuf>,
    /// Measures this program instead of building one.
    #[arg(long)]
    lith: Option<PathBuf>,
}

impl Setting {
    fn program(&self) -> Result<PathBuf> {
        match &self.lith {
            Some(program) => program.canonicalize().context("--lith"),
            None => workspace::build_lith(),
        }
    }

    /// A folder of its own, which goes when it is dropped.
    fn folder(&self) -> Result<TempDir> {
        let above = self.work.clone().map_or_else(workspace::target, Ok)?;
        std::fs::create_dir_all(&above)?;
        let folder = tempfile::Builder::new()
            .prefix("bench-")
            .tempdir_in(above.canonicalize()?)?;
        Ok(folder)
    }
}

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
