//! Random numbers that come again with the same seed.

use std::time::{Duration, SystemTime};

/// SplitMix64: enough for choosing moments and images.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 up to, and without, 1.
    pub(crate) fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// One of `list`, none when it is empty.
    pub(crate) fn choose<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        let count = u64::try_from(list.len()).ok().filter(|count| *count > 0)?;
        list.get(usize::try_from(self.next() % count).ok()?)
    }

    /// A time between two parts of `whole`.
    pub(crate) fn moment(&mut self, whole: Duration, from: f64, to: f64) -> Duration {
        whole.mul_f64(from + self.fraction() * (to - from))
    }

    pub(crate) fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }
}

/// A seed of this moment, short enough to be typed again.
pub(crate) fn seed() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(1, |since| u64::from(since.subsec_nanos()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let (mut one, mut other) = (Random::new(7), Random::new(7));
        let numbers: Vec<u64> = (0..4).map(|_| one.next()).collect();
        assert_eq!(numbers, (0..4).map(|_| other.next()).collect::<Vec<_>>());
        assert_ne!(numbers[0], numbers[1]);
        assert!((0..100).all(|_| (0.0..1.0).contains(&one.fraction())));
        assert_eq!(one.choose::<u8>(&[]), None);
    }
}
