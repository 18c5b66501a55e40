//! Second opinions: trees against trees, records against records, reference extractions.

pub(crate) mod extract;
pub(crate) mod record;
pub(crate) mod tree;
