//! Trees of files: filled from entries, settled over a parent, copied, read, removed.

mod apply;
mod attributes;
mod beside;
mod changes;
mod copies;
pub(crate) mod copy;
mod diff;
mod displace;
mod draft;
mod fill;
pub(crate) mod handle;
mod hard_link;
mod hiding;
mod links;
mod log;
pub(crate) mod lower;
mod merged;
pub(crate) mod meta;
pub(crate) mod name;
mod payload;
mod place;
mod positions;
pub(crate) mod recorded;
pub(crate) mod remove;
pub(crate) mod settle;
mod shift;
mod special;
mod stack;
pub(crate) mod walk;
mod way;

pub use changes::{Change, ChangeKind, changes};
pub use diff::{DiffOptions, DiffSummary, diff};
pub(crate) use draft::ParkedDraft;
pub use draft::{ApplySummary, TreeDraft};
pub use stack::LayerTree;
