//! Which entries of a tar hide others, in at most 16 bytes an entry.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use crate::error::SplitError;
use crate::metadata::{Kind, Metadata};
use crate::path::clean_into;

/// What a path of the tree can be long at most, and a name.
const PATH_MAX: usize = 4096;
const NAME_MAX: usize = 255;

/// Where an entry lands in an extracted tree.
#[derive(Default)]
pub(crate) struct Place {
    key: Vec<u8>,
}

impl Place {
    /// Finds the place of a path.
    pub(crate) fn set(&mut self, path: &[u8]) {
        clean_into(path, &mut self.key);
        if self.key.first() == Some(&b'/') {
            self.key.remove(0);
            if self.key.is_empty() {
                self.key.push(b'.');
            }
        }
    }

    /// The folder around it, empty for the root.
    pub(crate) fn parent(&self) -> &[u8] {
        let slash = self.key.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        self.key.get(..slash).unwrap_or_default()
    }

    /// Whether a tree can have a file there.
    pub(crate) fn is_possible(&self) -> bool {
        let mut parts = self.key.split(|byte| *byte == b'/');
        self.key.len() < PATH_MAX && !parts.any(|part| part == b"." || part.len() > NAME_MAX)
    }
}

/// One entry: 64 bits of its place's hash and its number. Twelve bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Slot {
    hash: [u32; 2],
    entry: u32,
}

/// All slots, in parts by their hash, so that a part that grows copies little.
struct Slots {
    parts: Vec<Vec<Slot>>,
    length: u32,
}

/// How many parts: a power of two.
const PARTS: usize = 64;

impl Slots {
    fn new() -> Self {
        Self {
            parts: vec![Vec::new(); PARTS],
            length: 0,
        }
    }

    fn part(hash: [u32; 2]) -> usize {
        hash[0] as usize % PARTS
    }

    fn add(&mut self, hash: [u32; 2]) -> Option<u32> {
        let entry = self.length;
        self.length = entry.checked_add(1)?;
        let part = self.parts.get_mut(Self::part(hash))?;
        if part.len() == part.capacity() {
            // An eighth, not the double: memory is what this is about.
            part.reserve_exact(part.len() / 8 + 16);
        }
        part.push(Slot { hash, entry });
        Some(entry)
    }

    /// The last entry of a hash, once the parts are sorted.
    fn last(&self, hash: [u32; 2]) -> Option<u32> {
        let part = self.parts.get(Self::part(hash))?;
        let end = part.partition_point(|slot| slot.hash <= hash);
        let last = part.get(end.checked_sub(1)?)?;
        (last.hash == hash).then_some(last.entry)
    }
}

/// Collects the places of all entries.
pub(crate) struct Collector {
    hasher: RandomState,
    slots: Slots,
    files: Bits,
    links: Bits,
}

/// The places of all entries, to ask about.
pub(crate) struct Names {
    hasher: RandomState,
    slots: Slots,
    /// By the last entry of a place: whether any entry there is neither folder nor symbolic link.
    files: Bits,
    /// By the last entry of a place: whether any entry there is a symbolic link.
    links: Bits,
    /// By the last entry of a place: whether anything is below.
    parents: Bits,
    /// The folder that was asked about last, and the answer.
    marked: Vec<u8>,
    blocked: (Vec<u8>, bool),
}

impl Collector {
    pub(crate) fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            slots: Slots::new(),
            files: Bits::default(),
            links: Bits::default(),
        }
    }

    /// Adds the next entry.
    pub(crate) fn add(&mut self, place: &Place, metadata: &Metadata) -> Result<(), SplitError> {
        let limit = u64::from(u32::MAX);
        let entry = self.slots.add(hash(&self.hasher, &place.key));
        let entry = entry.ok_or(SplitError::TooMany { limit })?;
        match metadata.kind {
            // These are no objects of the tree, or folders.
            Kind::Directory | Kind::DumpDirectory | Kind::GlobalHeader | Kind::VolumeLabel => {}
            Kind::Symlink => self.links.set(entry),
            _ => self.files.set(entry),
        }
        Ok(())
    }

    pub(crate) fn len(&self) -> u64 {
        u64::from(self.slots.length)
    }

    /// Sorts them, so that each place's entries stand together, the last one last.
    pub(crate) fn finish(mut self) -> Names {
        for part in &mut self.slots.parts {
            part.sort_unstable();
            for pair in part.windows(2) {
                if let [earlier, later] = pair
                    && earlier.hash == later.hash
                {
                    self.files.pass_on(earlier.entry, later.entry);
                    self.links.pass_on(earlier.entry, later.entry);
                }
            }
        }
        Names {
            hasher: self.hasher,
            slots: self.slots,
            files: self.files,
            links: self.links,
            parents: Bits::default(),
            marked: Vec::new(),
            blocked: (Vec::new(), false),
        }
    }
}

impl Names {
    pub(crate) fn len(&self) -> u64 {
        u64::from(self.slots.length)
    }

    /// The last entry at a place.
    pub(crate) fn last(&self, place: &Place) -> Option<u32> {
        self.find(&place.key)
    }

    /// Notes that something is below all folders around `place`.
    pub(crate) fn mark_parents(&mut self, place: &Place) {
        if self.marked == place.parent() {
            return;
        }
        self.marked.clear();
        self.marked.extend_from_slice(place.parent());
        for folder in around(place) {
            if let Some(last) = self.find(folder) {
                self.parents.set(last);
            }
        }
    }

    /// Whether something is below the place of this last entry.
    pub(crate) fn is_parent(&self, last: u32) -> bool {
        self.parents.get(last)
    }

    /// Whether any folder around `place` is, at some time, no folder.
    pub(crate) fn is_blocked(&mut self, place: &Place) -> bool {
        if self.blocked.0 != place.parent() {
            let blocked = around(place)
                .filter_map(|folder| self.find(folder))
                .any(|last| self.files.get(last) || self.links.get(last));
            self.blocked.0.clear();
            self.blocked.0.extend_from_slice(place.parent());
            self.blocked.1 = blocked;
        }
        self.blocked.1
    }

    fn find(&self, key: &[u8]) -> Option<u32> {
        self.slots.last(hash(&self.hasher, key))
    }
}

/// The folders around a place, the outermost first, the root not among them.
fn around(place: &Place) -> impl Iterator<Item = &[u8]> {
    let slashes = place
        .key
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'/');
    slashes.filter_map(|(slash, _)| place.key.get(..slash))
}

fn hash(hasher: &RandomState, key: &[u8]) -> [u32; 2] {
    let hash = hasher.hash_one(key);
    [(hash >> 32) as u32, hash as u32]
}

/// A bit for each entry.
#[derive(Default)]
struct Bits(Vec<u32>);

impl Bits {
    fn set(&mut self, index: u32) {
        let word = index as usize / 32;
        if word >= self.0.len() {
            let more = word + 1 - self.0.len();
            if word >= self.0.capacity() {
                self.0.reserve_exact(more + self.0.len() / 8 + 32);
            }
            self.0.resize(word + 1, 0);
        }
        if let Some(word) = self.0.get_mut(word) {
            *word |= 1 << (index % 32);
        }
    }

    fn get(&self, index: u32) -> bool {
        self.0
            .get(index as usize / 32)
            .is_some_and(|word| word >> (index % 32) & 1 == 1)
    }

    fn pass_on(&mut self, from: u32, to: u32) {
        if self.get(from) {
            self.set(to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Collector, Place, Slot};
    use crate::metadata::{Kind, Metadata};

    fn place(path: &str) -> Place {
        let mut place = Place::default();
        place.set(path.as_bytes());
        place
    }

    #[test]
    fn a_slot_is_twelve_bytes() {
        assert_eq!(size_of::<Slot>(), 12);
    }

    #[test]
    fn last_ones_and_blocked_ones() {
        let entries = [
            ("a", Kind::Regular),
            ("d/", Kind::Directory),
            ("d/f", Kind::Regular),
            ("./a", Kind::Regular),
            ("l", Kind::Symlink),
            ("l/x", Kind::Regular),
            ("f", Kind::Regular),
            ("/f/y/z", Kind::Regular),
        ];
        let mut collector = Collector::new();
        for (path, kind) in entries {
            collector
                .add(
                    &place(path),
                    &Metadata {
                        kind,
                        ..Metadata::default()
                    },
                )
                .expect("room");
        }
        let mut names = collector.finish();
        for (path, _) in entries {
            names.mark_parents(&place(path));
        }
        assert_eq!(names.last(&place("a/")), Some(3));
        assert_eq!(names.last(&place("/d/f")), Some(2));
        assert_eq!(names.last(&place("none")), None);
        assert!(names.is_parent(6) && names.is_parent(1) && !names.is_parent(3));
        assert!(!names.is_blocked(&place("d/f")));
        assert!(names.is_blocked(&place("l/x")) && names.is_blocked(&place("f/y/z")));
        assert!(!names.is_blocked(&place("a")));
        assert!(!place("").is_possible() && place("a/b").is_possible());
        assert!(!place(&"x".repeat(256)).is_possible());
        assert!(!place(&"x/".repeat(2049)).is_possible());
    }
}
