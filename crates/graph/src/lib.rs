//! Layers of container images: their parents, who holds them, and their exact bytes.
//!
//! A [`Graph`] joins a store, which knows digests and folders, with a driver, which
//! makes directories of layers. Registering a layer is one pass over its bytes: hashed, split
//! into a record and files, applied to a draft, published. [`Graph::tar_layer`] gives the
//! same bytes back, each file checked on the way, or an error that names the damage.
//!
//! Nothing here knows of images, manifests or archives; that is the business of the
//! archive crate. What holds across processes:
//!
//! - A layer is listed only when its tree, its record and its row in the index are there.
//! - A layer is deleted only while no image, child, mount, writable layer or living session needs
//!   it.
//! - A process that dies holds nothing, and leaves nothing that the next open does not sweep.
//! - Damage is told, by name, and never taken for absence or passed over.
//!
//! Work is done in a [session](lith_store::Session), which holds what it registers or
//! [retains](Graph::retain) until it ends. What is to outlive it is [kept](Graph::keep), or claimed
//! by an image.
//!
//! ```no_run
//! use lith_graph::{Descriptor, Graph};
//! use lith_store::{ChainId, DiffId, OpenOptions};
//! use std::{fs::File, io, path::Path};
//!
//! let options = OpenOptions { create: true, ..OpenOptions::default() };
//! let graph = Graph::open_root(Path::new("/tmp/example-root"), &options)?;
//! let session = graph.store().begin()?;
//!
//! // Under its chain ID, when it is known what it is ...
//! let diff_id: DiffId =
//!     "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef".parse()?;
//! let base = Descriptor::chain(None, &diff_id);
//! graph.register(&session, &base, Some(&mut File::open("base.tar.gz")?), &())?;
//! // ... or read first, and placed when that is known.
//! let staged = graph.stage(&session, &mut File::open("layer.tar.gz")?, None, &())?;
//! let below = ChainId::of(None, &diff_id);
//! let descriptor = Descriptor::chain(Some(&below), staged.diff_id());
//! let layer = graph.publish(&session, staged, &descriptor)?;
//! graph.keep(&layer.id)?;
//!
//! println!("{:?}", graph.get(&layer.id.hex()[..12])?.record);
//! io::copy(&mut graph.tar_layer(&layer.id)?, &mut File::create("same.tar")?)?;
//! graph.mount(&layer.id, Path::new("/mnt"))?.unmount()?;
//! graph.delete(&session, &layer.id)?;
//! session.end()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod ahead;
mod buffers;
mod checksum;
pub mod compression;
mod create;
mod damage;
mod delete;
mod descriptor;
mod doubt;
mod driver;
mod error;
mod graph;
mod hashed;
mod heal;
mod hold;
mod layer;
mod list;
mod migrate;
mod mount;
mod observer;
mod pipeline;
mod publish_all;
mod read;
mod record;
mod register;
mod reuse;
mod size;
mod stage;
mod status;
mod stream;
mod sync;
mod temp;
mod v1;
mod v1json;
mod verify;
mod writable;

pub use create::{Container, CreateOptions};
pub use delete::Swept;
pub use descriptor::{Descriptor, Registered};
pub use error::{
    Damage, DeleteError, GraphError, PublishError, RegisterError, SpoolError, StageDiffError,
};
pub use graph::Graph;
pub use layer::Layer;
pub use list::{DamagedLayer, LayerMap, Layers};
pub use migrate::{MigrateError, MigrateOptions, Migrated};
pub use observer::{Event, Metered, Observer};
pub use stage::StagedLayer;
pub use status::DriverStatus;
pub use stream::LayerStream;
pub use temp::TempLayerArchive;
pub use v1json::{JsonError, V1Json};
pub use writable::Writable;
