//! Trees of files: filled from entries, settled over a parent, copied, read, removed.

mod apply;
mod attributes;
mod beside;
pub(crate) mod copy;
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
pub(crate) mod walk;
mod way;

pub(crate) use draft::ParkedDraft;
pub use draft::{ApplySummary, TreeDraft};
