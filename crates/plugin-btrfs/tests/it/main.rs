//! The plugin, loaded as lith loads it, on a btrfs of its own.

// Helpers of tests fail by panicking, like the tests themselves.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod disk;
mod driver;
