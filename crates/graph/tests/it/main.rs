//! The graph over real drivers, in real folders.

#![allow(clippy::unwrap_used, clippy::print_stderr)] // A test that cannot go on has failed.

mod concurrency;
mod failures;
mod fixture;
mod layers;
