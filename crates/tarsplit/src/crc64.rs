//! The checksum that a record keeps of every payload.

use crc_fast::{CrcAlgorithm, Digest};

/// CRC-64/GO-ISO: the checksum of a payload in the record.
///
/// It finds damage, it does not resist an attacker: the digest of the whole layer does.
///
/// ```
/// let mut crc = lith_tarsplit::Crc64::new();
/// crc.update(b"123456789");
/// assert_eq!(crc.finish(), 0xb909_56c7_75a4_1001_u64.to_be_bytes());
/// ```
#[derive(Clone)]
pub struct Crc64(Digest);

impl Crc64 {
    /// The checksum of nothing, which an entry without payload carries when its header claims a size.
    pub const EMPTY: [u8; 8] = [0; 8];

    /// Starts a checksum.
    #[must_use]
    pub fn new() -> Self {
        Self(Digest::new(CrcAlgorithm::Crc64GoIso))
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the checksum of the bytes so far, big-endian as the record has it.
    #[must_use]
    pub fn finish(&self) -> [u8; 8] {
        self.0.finalize().to_be_bytes()
    }

    /// Starts again.
    pub fn reset(&mut self) {
        self.0.reset();
    }
}

impl Default for Crc64 {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Crc64 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Crc64({:016x})", self.0.finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::Crc64;

    fn of(bytes: &[u8]) -> u64 {
        let mut crc = Crc64::new();
        crc.update(bytes);
        u64::from_be_bytes(crc.finish())
    }

    /// One bit at a time, from the definition: reflected polynomial 0x1B, all ones in and out.
    fn slow(bytes: &[u8]) -> u64 {
        let mut crc = !0_u64;
        for byte in bytes {
            crc ^= u64::from(*byte);
            for _ in 0..8 {
                crc = if crc & 1 == 1 {
                    (crc >> 1) ^ 0xD800_0000_0000_0000
                } else {
                    crc >> 1
                };
            }
        }
        !crc
    }

    #[test]
    fn known_values() {
        assert_eq!(of(b""), 0);
        assert_eq!(of(b"123456789"), 0xb909_56c7_75a4_1001);
        assert_eq!(of(b"hello\n"), 0x614c_3eee_e2d8_1000);
    }

    #[test]
    fn every_length_and_cut_agrees_with_the_definition() {
        let data: Vec<u8> = (0..2000_u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        for length in (0..600).chain([1023, 1024, 1025, 1999, 2000]) {
            assert_eq!(
                of(&data[..length]),
                slow(&data[..length]),
                "length {length}"
            );
            let mut crc = Crc64::new();
            let (left, right) = data[..length].split_at(length / 3);
            crc.update(left);
            crc.update(right);
            assert_eq!(
                crc.finish(),
                slow(&data[..length]).to_be_bytes(),
                "cut at {}",
                length / 3
            );
        }
    }
}
