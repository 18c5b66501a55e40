//! Archives in and out of a store, against archives that other tools wrote.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, which clippy does not take for tests"
)]
#![allow(clippy::print_stderr, reason = "a test that cannot run says so")]

mod beside;
mod copy;
mod damage;
mod engines;
mod failing;
mod folders;
mod formats;
mod hostile;
mod indexes;
mod layout;
mod load;
mod location;
mod many;
mod oci;
mod peers;
mod prune;
mod real;
mod remove;
mod save;
mod select;
mod stream_driver;
mod support;
mod tree;
mod unsaved;
mod v1;
mod verify;
mod written_elsewhere;
