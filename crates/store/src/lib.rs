//! Where container images are kept and named.
//!
//! A store is a root folder. Layers and images are folders in it that describe themselves
//! and appear in one rename; names are files. These are the truth. An index beside them
//! answers questions, and is rebuilt from them when it is lost. Work happens in sessions:
//! a session holds a lock file, so that one whose process died is known as dead, and is
//! recovered by the next process that looks.
//!
//! ```
//! use lith_store::{ImageId, ImageRecord, LayerId, LayerRecord, OpenOptions, Reference, Store};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let root = folder.path().join("root");
//! let options =
//!     OpenOptions { driver: Some("vfs".into()), create: true, ..OpenOptions::default() };
//! let store = Store::open(&root, &options)?;
//! let session = store.begin()?;
//!
//! let layer = LayerRecord::new(LayerId::random(), "tree-1");
//! let staged = session.scratch("layer")?;
//! store.publish_layer(&session, &staged, &layer)?;
//!
//! let config = b"{}".to_vec();
//! let image = ImageRecord {
//!     id: ImageId::of_bytes(&config),
//!     config,
//!     layers: vec![layer.id],
//!     manifest: None,
//!     parent: None,
//!     created: None,
//!     architecture: None,
//!     os: None,
//!     variant: None,
//!     size: 0,
//!     extra: Default::default(),
//!     index: None,
//! };
//! store.publish_image(&session, &image)?;
//! store.set_name(&session, &Reference::parse("alpine:3")?, &image.id)?;
//! session.end()?;
//!
//! assert_eq!(store.name(&Reference::parse("docker.io/library/alpine:3")?)?, Some(image.id));
//! # Ok(())
//! # }
//! ```

mod boot;
mod digest;
mod effects;
mod error;
mod events;
mod idmap;
mod images;
mod index;
mod intent;
mod layers;
mod lock;
mod make;
mod mirror;
mod names;
mod open;
mod ownership;
mod random;
mod rebuild;
mod recover;
mod reference;
mod reserve;
mod root;
mod root_copy;
mod search;
mod session;
mod store;
mod switch;
mod time;

pub use digest::{BlobId, ChainId, DiffId, Digest, ImageId, LayerId, ParseDigestError};
pub use effects::{Effect, Effects, Hook};
pub use error::StoreError;
pub use events::{EVENTS_KEPT, Event, EventKind, ParseEventKindError};
pub use idmap::{IdMapError, IdMaps, IdRange, ParseIdRangeError};
pub use images::publish::{NewImage, PublishedImage};
pub use images::remove::RemovedImages;
pub use images::{ImageError, ImageIndex, ImageRecord, ImageSummary, IndexMember};
pub use intent::{Intent, IntentGuard, PlannedImages, PlannedName};
pub use layers::{
    LayerClaims, LayerRecord, LayerUse, NewLayer, OutsideClaims, PublishLayerError, Published,
    Removal, RemoveLayerError, RetainError,
};
pub use names::NameError;
pub use open::{OpenError, OpenOptions, rebuild_index};
pub use ownership::{Ownership, ParseOwnershipError};
pub use rebuild::{Problem, RebuildReport};
pub use recover::{DeadSession, Recovery, RemoveTree};
pub use reference::{ParseReferenceError, Reference};
pub use root::{FORMAT, Root};
pub use root_copy::{RootCopy, RootCopyError};
pub use search::FindError;
pub use session::{ParseSessionIdError, Session, SessionId};
pub use store::{LayerLock, LayerLocks, MaintenanceLock, Store};
pub use switch::{Alone, MigrationLock};
