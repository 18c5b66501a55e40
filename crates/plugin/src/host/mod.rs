//! Plugins as lith sees them: loaded, looked at, used.

mod answers;
mod lent;
mod library;
mod memory;
mod object;
mod opened;
mod table;

pub use library::Library;
