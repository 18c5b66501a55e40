//! Names that are given to what is loaded, saved or copied.

use lith_store::Reference;

/// The first of them that is not of the form `name:tag`.
pub(crate) fn not_a_tag<'a>(
    names: impl IntoIterator<Item = &'a Reference>,
) -> Option<&'a Reference> {
    names
        .into_iter()
        .find(|name| name.tag().is_none() || name.digest().is_some())
}

/// Puts further names before those that there are, each once.
pub(crate) fn put_first(names: &mut Vec<Reference>, further: &[&Reference]) {
    let own = std::mem::take(names);
    for name in further.iter().copied().cloned().chain(own) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
}
