//! Archives in and out of a store, against archives that other tools wrote.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, which clippy does not take for tests"
)]

mod failing;
mod hostile;
mod load;
mod real;
mod remove;
mod save;
mod select;
mod support;
mod truncated;
