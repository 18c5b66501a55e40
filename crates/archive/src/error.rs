//! What can go wrong, one enum for each family of operations.
//!
//! Names of members come from archives and may hold anything, control characters too: they
//! are data here, and whoever shows an error escapes them.

mod load;
mod remove;
mod save;
mod select;
mod write;

pub use crate::config::ConfigError;
pub use load::LoadError;
pub use remove::RemoveError;
pub use save::SaveError;
pub use select::SelectError;
pub use write::WriteError;

/// Lists things in an error text.
pub(crate) fn join<T: ToString>(things: &[T]) -> String {
    things
        .iter()
        .map(T::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Bytes of a name from an archive for an error text.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
