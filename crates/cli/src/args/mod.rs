//! The command line as data: what can be said, and nothing of what it does.

mod changes;
mod listing;
mod mounts;
mod names;
mod store;
mod tools;
mod transfer;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use lith_archive::oci::Platform;
use lith_store::{IdRange, Ownership};

pub(crate) use changes::{BuildArgs, CommitArgs, DiffArgs, ExportArgs, ImportArgs};
pub(crate) use listing::{EventsArgs, HistoryArgs, ImagesArgs, InspectArgs, LayersArgs, TreeArgs};
pub(crate) use mounts::{MountArgs, UmountArgs, UnshareArgs};
pub(crate) use names::{PruneArgs, RmiArgs, TagArgs, UntagArgs};
pub(crate) use store::{MigrateArgs, StoreCommand};
pub(crate) use tools::{AsmArgs, DisasmArgs, DriverCommand, DriverTestArgs, TarSplitCommand};
pub(crate) use transfer::{CopyArgs, LoadArgs, SaveArgs};

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
    /// Driver that turns layers into directories: overlay, vfs, or a plugin by its path, which then
    /// runs with all rights of lith [default: what the root was made with]
    #[arg(
        long,
        env = "LITH_DRIVER",
        value_name = "NAME|PATH.so",
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
    /// Work on the store as a whole
    #[command(subcommand)]
    Store(StoreCommand),
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

/// Which image one for several platforms stands for.
#[derive(Args, Debug)]
pub(crate) struct OnePlatform {
    /// Of an image for several platforms, the one for this, as linux/arm64 or linux/arm/v7
    /// [default: this machine's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<Platform>,
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
