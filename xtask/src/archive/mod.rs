//! Image archives, written and read by code that shares nothing with lith.
//!
//! A round trip checked by the code under test proves little; this is the second opinion.

mod bundle;
mod layout;
mod name;
mod read;
mod series;
mod write;

pub(crate) use bundle::{Bundle, Layer, chain_ids};
pub(crate) use layout::Told;
pub(crate) use name::normalise;
pub(crate) use read::{Archive, Difference, compare, first_difference};
pub(crate) use series::Series;
pub(crate) use write::{Layout, NewImage, Packing, config, sha256, sha256_file, write};
