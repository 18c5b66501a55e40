//! What is done to a store as a whole.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Subcommand, Debug)]
pub(crate) enum StoreCommand {
    /// Move the store to another driver, bit for bit
    Migrate(MigrateArgs),
}

#[derive(Args, Debug)]
#[command(after_help = "\
The trees of all layers are made anew, beside the old ones, and every layer is read back and compared \
with its digest; then the store changes its driver in one step, and the old trees go. Until that step the \
store is as it was, and can be used. A move that was interrupted goes on when it is run again; one to the \
driver that the store has removes what an interrupted one left.\n\n\
Mounted images and layers that can be written are in the way of a move in place.")]
pub(crate) struct MigrateArgs {
    /// The driver that the store is to have: overlay, vfs, or a plugin by its path
    #[arg(long, value_name = "NAME|PATH.so")]
    pub(crate) to_driver: String,
    /// Make a new store in this folder, and leave the old one as it is
    #[arg(long, value_name = "DIR")]
    pub(crate) to_root: Option<PathBuf>,
    /// Print a JSON document for programs
    #[arg(long)]
    pub(crate) json: bool,
}
