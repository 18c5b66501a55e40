//! Random bytes from the kernel.

/// Returns `N` random bytes.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .expect("because every kernel that runs this program has a random source");
    bytes
}
