//! Where two trees may differ, as the backend that copied one from the other knows.

use std::collections::HashSet;
use std::os::fd::BorrowedFd;

use super::name;
use crate::trees::Trees;

/// So many bytes of names are remembered at most. Who changes more than that compares everything.
const MOST: usize = 16 << 20;

/// The directories in which something may be another, and those on their way.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    /// What is in them may differ.
    directories: HashSet<Vec<u8>>,
    /// They hold such directories.
    above: HashSet<Vec<u8>>,
    bytes: usize,
}

impl Touched {
    /// Asks the backend of `trees` where `tree` may differ from `since`; `None` when it does not
    /// know.
    pub(crate) fn ask(trees: &Trees, tree: BorrowedFd<'_>, since: BorrowedFd<'_>) -> Option<Self> {
        let mut touched = Self::default();
        let asked = trees.changed(tree, since, &mut |place| touched.add(place))?;
        match asked {
            Ok(()) if touched.bytes <= MOST => Some(touched),
            Ok(()) => None,
            Err(error) => {
                tracing::debug!(%error, "all files are compared");
                None
            }
        }
    }

    fn add(&mut self, place: &[u8]) {
        // Without these all is compared: nothing more is remembered then.
        if self.bytes > MOST || !self.directories.insert(place.to_vec()) {
            return;
        }
        self.bytes += place.len() + size_of::<Vec<u8>>();
        let mut above = place;
        while !above.is_empty() {
            above = name::split(above).0;
            if !self.above.insert(above.to_vec()) {
                break;
            }
            self.bytes += above.len() + size_of::<Vec<u8>>();
        }
    }

    /// Whether names and files of this directory may differ.
    pub(crate) fn has(&self, directory: &[u8]) -> bool {
        self.directories.contains(directory)
    }

    /// Whether anything may differ in this directory, however deep.
    pub(crate) fn reaches(&self, directory: &[u8]) -> bool {
        self.has(directory) || self.above.contains(directory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_a_directory_is_looked_into() {
        let mut touched = Touched::default();
        for place in [&b"a/b/c"[..], b"a/b", b"x"] {
            touched.add(place);
        }
        for (place, has, reaches) in [
            (&b""[..], false, true),
            (b"a", false, true),
            (b"a/b", true, true),
            (b"a/b/c", true, true),
            (b"a/b/c/d", false, false),
            (b"a/c", false, false),
            (b"x", true, true),
        ] {
            assert_eq!((touched.has(place), touched.reaches(place)), (has, reaches));
        }
    }
}
