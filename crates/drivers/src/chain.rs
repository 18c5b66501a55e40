//! Which layers a layer stands on.
//!
//! Every layer notes its parent and, so that a chain of a thousand is not a thousand files to be
//! read, the layers further down. Each note is one longer than that of the layer below; one that
//! would be longer than [`LISTED`] starts anew with the parent alone. Who follows a chain reads
//! the note of the last one listed next.

use std::collections::HashSet;

use crate::error::DriverError;
use crate::facts::Facts;
use crate::home::Home;
use crate::id::CacheId;

/// So many layers stand in a note, the parent included.
const LISTED: usize = 64;

/// Returns a layer and those below it that may show in it, topmost first: up to one that hides
/// everything below.
///
/// Not every one of them is looked at: see [`expect_trees`].
pub(crate) fn chain(home: &Home, id: &CacheId) -> Result<Vec<CacheId>, DriverError> {
    let mut layers = vec![id.clone()];
    let mut seen = HashSet::from([id.clone()]);
    let mut last = id.clone();
    loop {
        let facts = home.facts(&last)?;
        if facts.opaque {
            return Ok(layers);
        }
        let before = layers.len();
        for lower in facts.parent.iter().chain(&facts.lowers) {
            let lower = home.id_in_facts(&last, lower)?;
            if !seen.insert(lower.clone()) {
                return Err(DriverError::Damaged {
                    id: id.clone(),
                    path: home.layer_path(&lower),
                    reason: "it stands on itself".to_owned(),
                });
            }
            layers.push(lower);
        }
        match layers.last() {
            Some(lowest) if layers.len() > before => last = lowest.clone(),
            _ => return Ok(layers),
        }
    }
}

/// Returns what a layer over `parent` notes of the layers below that.
pub(crate) fn lowers_over(home: &Home, parent: &CacheId) -> Result<Vec<String>, DriverError> {
    let Facts {
        parent,
        lowers,
        opaque,
        ..
    } = home.facts(parent)?;
    // What an opaque layer stands on never shows: a chain must end there.
    if opaque || lowers.len() + 2 > LISTED {
        return Ok(Vec::new());
    }
    Ok(parent.into_iter().chain(lowers).collect())
}

/// Checks that each of these layers has its tree.
pub(crate) fn expect_trees(home: &Home, layers: &[CacheId]) -> Result<(), DriverError> {
    layers.iter().try_for_each(|id| home.expect_tree(id))
}
