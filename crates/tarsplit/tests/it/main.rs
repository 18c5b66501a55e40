//! What the crate promises, from outside.

mod accepted;
mod binary;
mod damage;
mod disassemble;
mod fixtures;
mod page;
mod properties;
mod record;
mod refused;
mod runs;
mod tars;
