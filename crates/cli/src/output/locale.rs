//! What the terminal can show.

use std::env;

/// Whether the user's locale says that text is UTF-8.
pub(crate) fn is_utf8() -> bool {
    says_utf8(["LC_ALL", "LC_CTYPE", "LANG"].map(|name| env::var(name).ok()))
}

/// The first one that is set and not empty decides.
fn says_utf8<const N: usize>(values: [Option<String>; N]) -> bool {
    let value = values.into_iter().flatten().find(|value| !value.is_empty());
    value.is_some_and(|value| {
        let value = value.to_ascii_lowercase();
        value.contains("utf-8") || value.contains("utf8")
    })
}

#[cfg(test)]
mod tests {
    use super::says_utf8;

    #[test]
    fn the_first_that_is_set_decides() {
        let says = |values: [&str; 3]| says_utf8(values.map(|value| Some(value.to_owned())));
        assert!(says(["C.UTF-8", "C", "C"]));
        assert!(!says(["C", "en_US.UTF-8", "en_US.UTF-8"]));
        assert!(says(["", "", "de_DE.utf8"]));
        assert!(!says(["", "", ""]));
        assert!(!says_utf8([None, None, None]));
    }
}
