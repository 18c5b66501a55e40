//! Tests of plugins from outside: real shared objects, in Rust and in C, whole and broken.

// Helpers of tests fail by panicking, like the tests themselves.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod files;
mod functions;
mod panics;
mod plain;
mod support;
mod tables;
