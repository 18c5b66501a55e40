//! Second opinions: trees against trees, records against records, stores against stores,
//! reference extractions.

pub(crate) mod extract;
pub(crate) mod record;
pub(crate) mod store;
pub(crate) mod tree;
