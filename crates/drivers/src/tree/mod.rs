//! Trees of files: filled from entries, settled over a parent, copied, read, removed.

mod apply;
mod attributes;
pub(crate) mod copy;
mod fill;
pub(crate) mod handle;
mod links;
mod log;
pub(crate) mod lower;
mod merged;
pub(crate) mod meta;
pub(crate) mod name;
mod place;
mod positions;
pub(crate) mod remove;
pub(crate) mod settle;
mod shift;
mod special;
pub(crate) mod walk;

pub(crate) use apply::ParkedDraft;
pub use apply::{ApplySummary, TreeDraft};
