//! What the draft has put where, and which entry a file came from: needed when a later entry
//! displaces it.

use std::hash::{BuildHasher, RandomState};

/// A map from places to positions in the record, at 12 bytes a slot. Places that hold no
/// payload are in it too; what is gone may be.
///
/// Places are known by a hash under a random key, so nobody can make two of them meet. Slots
/// grow by a quarter, so that at most a fifth of them is unused for long.
#[derive(Debug)]
pub(crate) struct Names {
    hasher: RandomState,
    /// 0 marks a free slot.
    keys: Vec<u64>,
    values: Vec<u32>,
    used: usize,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            keys: Vec::new(),
            values: Vec::new(),
            used: 0,
        }
    }
}

/// Stands for the position of what has no payload.
const NO_PAYLOAD: u32 = u32::MAX;

/// Returns the position of an entry as it is noted; `None` when it is too large for that.
pub(crate) fn narrow(position: u64) -> Option<u32> {
    u32::try_from(position)
        .ok()
        .filter(|position| *position != NO_PAYLOAD)
}

impl Names {
    /// Notes where something without a payload is.
    pub(crate) fn insert(&mut self, place: &[u8]) {
        self.insert_payload(place, NO_PAYLOAD);
    }

    /// Notes where a payload went.
    pub(crate) fn insert_payload(&mut self, place: &[u8], position: u32) {
        if self.used * 10 >= self.keys.len() * 9 {
            self.grow();
        }
        let key = self.key(place);
        self.put(key, position);
    }

    /// Returns whether anything was ever put at a place.
    pub(crate) fn has(&self, place: &[u8]) -> bool {
        self.find(self.key(place)).is_some()
    }

    /// Returns the entry whose payload lies at a place, and forgets it.
    pub(crate) fn take(&mut self, place: &[u8]) -> Option<u64> {
        let slot = self.find(self.key(place))?;
        let position = *self.values.get(slot)?;
        if position == NO_PAYLOAD {
            return None;
        }
        self.used -= 1;
        self.close(slot);
        Some(u64::from(position))
    }

    fn find(&self, key: u64) -> Option<usize> {
        let mut slot = self.first(key)?;
        loop {
            match self.keys.get(slot)? {
                0 => return None,
                found if *found == key => return Some(slot),
                _ => slot = self.after(slot),
            }
        }
    }

    fn key(&self, place: &[u8]) -> u64 {
        self.hasher.hash_one(place).max(1)
    }

    /// The slot where a key would like to be: its share of the whole range, so that any number of
    /// slots works.
    fn first(&self, key: u64) -> Option<usize> {
        if self.keys.is_empty() {
            return None;
        }
        let slot = (u128::from(key) * self.keys.len() as u128) >> 64;
        usize::try_from(slot).ok()
    }

    fn after(&self, slot: usize) -> usize {
        if slot + 1 < self.keys.len() {
            slot + 1
        } else {
            0
        }
    }

    fn put(&mut self, key: u64, position: u32) {
        let Some(mut slot) = self.first(key) else {
            return;
        };
        while let (Some(held), Some(value)) = (self.keys.get_mut(slot), self.values.get_mut(slot)) {
            if *held == 0 || *held == key {
                self.used += usize::from(*held == 0);
                *held = key;
                *value = position;
                return;
            }
            slot = self.after(slot);
        }
    }

    fn grow(&mut self) {
        let size = (self.keys.len() + self.keys.len() / 4).max(64);
        let keys = std::mem::replace(&mut self.keys, vec![0; size]);
        let values = std::mem::replace(&mut self.values, vec![0; size]);
        self.used = 0;
        for (key, value) in keys.into_iter().zip(values).filter(|(key, _)| *key != 0) {
            self.put(key, value);
        }
    }

    /// Frees a slot and moves up those behind it that wanted to be further in front.
    fn close(&mut self, mut hole: usize) {
        let mut slot = hole;
        loop {
            slot = self.after(slot);
            let key = self.keys.get(slot).copied().unwrap_or(0);
            let Some(wanted) = self.first(key).filter(|_| key != 0) else {
                break;
            };
            // It may move when the hole lies between where it wants to be and where it is.
            let may_move = if wanted <= slot {
                wanted <= hole && hole < slot
            } else {
                wanted <= hole || hole < slot
            };
            if may_move {
                self.keys.swap(hole, slot);
                self.values.swap(hole, slot);
                hole = slot;
            }
        }
        if let Some(key) = self.keys.get_mut(hole) {
            *key = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Names;
    use std::collections::HashMap;

    #[test]
    fn behaves_like_a_map() {
        let mut ours = Names::default();
        let mut theirs = HashMap::new();
        let mut state = 7_u64;
        for step in 0..60_000_u32 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let place = format!("dir/{}", (state >> 33) % 5000);
            if state.is_multiple_of(3) {
                assert_eq!(
                    ours.take(place.as_bytes()),
                    theirs.remove(&place).map(u64::from)
                );
            } else {
                ours.insert_payload(place.as_bytes(), step);
                theirs.insert(place, step);
            }
        }
        assert_eq!(ours.used, theirs.len());
        for (place, position) in theirs {
            assert_eq!(
                ours.take(place.as_bytes()),
                Some(u64::from(position)),
                "{place}"
            );
        }
        assert_eq!(ours.used, 0);
    }

    #[test]
    fn places_without_payload_are_known_and_never_taken() {
        let mut names = Names::default();
        names.insert(b"dir");
        names.insert_payload(b"dir/file", 7);
        assert!(names.has(b"dir") && names.has(b"dir/file") && !names.has(b"file"));
        assert_eq!(names.take(b"dir"), None);
        assert_eq!(names.take(b"dir/file"), Some(7));
        assert!(names.has(b"dir") && !names.has(b"dir/file"));
    }

    #[test]
    fn memory_stays_near_twelve_bytes_an_entry() {
        let mut map = Names::default();
        for n in 0..100_000_u32 {
            map.insert_payload(&n.to_le_bytes(), n);
        }
        assert!(map.keys.len() * 12 < 100_000 * 17, "{}", map.keys.len());
    }
}
