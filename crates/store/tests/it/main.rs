//! Integration tests of the store.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests are tests, too"
)]

mod batches;
mod bulk;
mod common;
mod crash;
mod images;
mod indexes;
mod layers;
mod open;
mod processes;
mod rebuild;
mod revise;
mod scale;
