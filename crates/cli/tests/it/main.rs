//! The command as its users meet it.

#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::panic)] // A test that cannot go on has failed.

mod archive;
mod copy;
mod failures;
mod graph;
mod lith;
mod load_formats;
mod main_job;
mod migrate;
mod plugin;
mod plugin_fails;
mod save_formats;
mod tar_split;
mod users;
mod writable;
mod writing_a_driver;
