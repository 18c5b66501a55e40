//! docker's engine API, which podman has, too: images out of a running engine and into it.
//!
//! The API is asynchronous code of `bollard`; one thread with a small runtime talks to the engine
//! and hands bytes over, so that nothing else here has to know. What is left open, because nothing
//! reads or writes any more, ends that thread and with it the connection.
//!
//! What is not obvious (docker 20.10, podman 4.3):
//! - An export begins only when docker has written the whole image to a temporary folder of its
//!   own, which may take minutes in which nothing comes: there is no use in a short timeout.
//! - An export that fails half-way ends the connection without the last chunk; that is the only
//!   sign.
//! - An import answers 200 before it has looked at anything; what goes wrong later is a line of
//!   JSON in the answer. It unpacks everything to a temporary folder first, so an archive that is
//!   cut off leaves nothing.
//! - Exporting by ID gives an archive without names.

mod client;
mod export;
mod import;
mod sink;

pub use export::Daemon;
pub use import::DaemonImport;
pub(crate) use sink::DaemonSink;
