//! The graph over real drivers, in real folders.

#![allow(clippy::unwrap_used, clippy::print_stderr)] // A test that cannot go on has failed.

mod chain;
mod concurrency;
mod crashed;
mod create;
mod delete;
mod failures;
mod fixture;
mod heal;
mod hold;
mod id_maps;
mod layers;
mod metadata;
mod migrate;
mod processes;
mod record;
mod restore;
mod reuse;
mod size;
mod streams;
mod v1;
mod writable;
