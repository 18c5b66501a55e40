//! What a driver may be called.

/// The longest name of a driver.
pub(crate) const LONGEST: usize = 32;

/// Returns whether a driver may be called so: 1 to 32 of `a-z`, `0-9` and `-`, the first a letter.
///
/// Whether a driver of lith itself has the name is another question.
#[must_use]
pub const fn is_driver_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes.len() > LONGEST || !bytes[0].is_ascii_lowercase() {
        return false;
    }
    let mut at = 0;
    while at < bytes.len() {
        if !matches!(bytes[at], b'a'..=b'z' | b'0'..=b'9' | b'-') {
            return false;
        }
        at += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::is_driver_name;

    #[test]
    fn names_are_short_and_plain() {
        for name in ["a", "btrfs", "my-driver-2", &"x".repeat(32)] {
            assert!(is_driver_name(name), "{name}");
        }
        for name in [
            "",
            "-a",
            "2fs",
            "Btrfs",
            "a/b",
            "..",
            "a b",
            "\u{e9}",
            "a\0",
            &"x".repeat(33),
        ] {
            assert!(!is_driver_name(name), "{name:?}");
        }
    }
}
