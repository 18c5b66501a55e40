//! Tests of the drivers from outside: real layers, real mounts.
//!
//! They need root and kernel overlay mounts; without, each says on standard error that it was
//! skipped.

// Helpers of tests fail by panicking, like the tests themselves.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod apply;
mod chains;
mod changes;
mod conformance;
mod copying;
mod full_disk;
mod hostile;
mod layers;
mod links;
mod mounts;
mod owners;
mod peers;
mod property;
mod recorded;
mod support;
mod usage;
mod whiteouts;
mod writable;
