//! What needs no image: drivers, and records of tars.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::JsonArgs;

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
