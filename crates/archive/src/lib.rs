//! Image formats in and out: load, select, save, copy, remove, prune.
//!
//! [`load`] takes an archive from a file or a pipe into a store, all of it or nothing;
//! [`select()`] finds images as people name them and holds their layers; [`save`] writes
//! them to an archive again, every layer byte for byte; [`copy()`] does both without a store;
//! [`remove`] takes them out, [`prune()`] takes out what nobody needs, and [`tree()`] shows which
//! layers serve which images. docker-archives of any age, OCI layouts and docker-dirs are read from
//! a tar (in a file or passing, compressed or not) or a folder, whichever of them it is; writers
//! such as [`DockerArchiveWriter`] can be used alone.
//!
//! Formats stand behind two boundaries inside: a source says what images there are and gives
//! bytes, a sink takes bytes and images. Neither knows the store, and the store's side of
//! loading and saving exists once for all formats.
//!
//! ```no_run
//! use lith_archive::{Format, Input, LoadOptions, SaveOptions, Target, load, save, select};
//! use lith_graph::Graph;
//! use lith_store::OpenOptions;
//! use std::{fs::File, path::Path};
//!
//! let options = OpenOptions { create: true, ..OpenOptions::default() };
//! let graph = Graph::open_root(Path::new("/tmp/example-root"), &options)?;
//! let source = Input::File("app.tar".into());
//! let report = load(&graph, source, &LoadOptions::default(), &())?;
//! let names: Vec<String> = report.images.iter().map(|image| image.id.to_string()).collect();
//! let selection = select(&graph, &names)?;
//! let mut options = SaveOptions::default();
//! options.format = Format::OciArchive;
//! save(&graph, &selection, Target::File(&mut File::create("app.oci.tar")?), &options, &())?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod build;
mod compress;
mod config;
mod copy;
mod detect;
mod disk;
mod docker_archive;
mod docker_dir;
mod engines;
mod error;
mod events;
mod folder;
mod format;
mod ids;
mod images;
mod input;
mod json;
mod kept;
mod list;
mod load;
mod location;
mod members;
mod mounted;
mod naming;
pub mod oci;
mod prune;
mod remove;
mod report;
mod save;
mod select;
mod sink;
mod source;
mod taking;
mod tally;
mod tar_writer;
mod tree;
mod within;
mod writable;

pub use build::{BuildError, BuildOptions, BuiltImage, Change, ParseChangeError, commit, import};
pub use compress::{LayerCompression, ParseCompressionError};
pub use copy::{CopyError, CopyOptions, CopyReport, copy};
pub use docker_archive::DockerArchiveWriter;
pub use docker_dir::DockerDirWriter;
pub use engines::{ContainersStorage, DockerStore, EngineAddress, EngineError};
#[cfg(feature = "daemon")]
pub use engines::{Daemon, DaemonImport};
pub use error::{ConfigError, LoadError, RemoveError, SaveError, SelectError, WriteError};
pub use folder::FolderError;
pub use format::{DockerLayout, Format, ParseFormatError, ParseLayoutError, Target};
pub use images::{ArchiveImage, ArchiveIndex};
pub use input::{Defaults, Input};
pub use kept::{Because, Item, Kept};
pub use list::{ListedImage, ListedLayer, Listing, list};
pub use load::{LoadOptions, LoadReport, LoadedImage, load};
pub use location::{Location, LocationError, StorageSpec, Wanted};
pub use members::BlobError;
pub use mounted::{MountedImage, mounts};
pub use oci::write::{OciArchiveWriter, OciDirWriter};
pub use prune::{PruneOptions, PruneReport, PrunedImage, PrunedLayer, prune};
pub use remove::{RemoveOptions, RemoveReport, remove, untag};
pub use report::CopiedImage;
pub use save::{SaveOptions, SaveReport, save};
pub use select::platform::pick;
pub use select::{
    Resolved, SelectedImage, SelectedIndex, Selection, resolve, resolve_one, select, select_single,
};
pub use tree::{Forest, Totals, TreeImage, TreeLayer, tree};
pub use writable::{WritableImage, create_writable, writable_images};
