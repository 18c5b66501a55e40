//! Names as the field's tools compare them.

/// Returns the shortest lexical equivalent of a slash-separated path, as Go's `filepath.Clean` does on Unix.
///
/// `.` and empty parts vanish, `..` takes the part before it with it, a leading slash stays and eats
/// any `..` behind it, and nothing at all is `.`. No link is looked at. Two entries whose paths are
/// equal after this are duplicates to the reference.
///
/// ```
/// assert_eq!(lith_tarsplit::clean_path(b"./d/../f/"), b"f");
/// ```
#[must_use]
pub fn clean_path(path: &[u8]) -> Vec<u8> {
    let mut clean = Vec::with_capacity(path.len().max(1));
    clean_into(path, &mut clean);
    clean
}

/// [`clean_path`] into a buffer that is used again.
pub(crate) fn clean_into(path: &[u8], clean: &mut Vec<u8>) {
    clean.clear();
    let rooted = path.first() == Some(&b'/');
    if rooted {
        clean.push(b'/');
    }
    // What stands before this length can not be taken back by a `..`.
    let mut fixed = clean.len();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if clean.len() > fixed => {
                let cut = clean.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                clean.truncate(cut.max(fixed));
            }
            b".." if rooted => {}
            _ => {
                if clean.last().is_some_and(|last| *last != b'/') {
                    clean.push(b'/');
                }
                clean.extend_from_slice(part);
                if part == b".." {
                    fixed = clean.len();
                }
            }
        }
    }
    if clean.is_empty() {
        clean.push(b'.');
    }
}

#[cfg(test)]
mod tests {
    use super::clean_path;

    #[test]
    fn as_go_does() {
        for (path, clean) in [
            ("", "."),
            (".", "."),
            ("./", "."),
            ("/", "/"),
            ("//a//b/", "/a/b"),
            ("a/b/../../c", "c"),
            ("a/..", "."),
            ("..", ".."),
            ("../..", "../.."),
            ("../a/..", ".."),
            ("../a/../../b", "../../b"),
            ("/..", "/"),
            ("/../a", "/a"),
            ("/a/../..", "/"),
            ("abc/./def", "abc/def"),
            ("abc//./../def", "def"),
            ("abc/../../././../def", "../../def"),
            ("..gitme", "..gitme"),
            ("a/...", "a/..."),
            ("f/", "f"),
        ] {
            let found = clean_path(path.as_bytes());
            assert_eq!(String::from_utf8_lossy(&found), clean, "{path:?}");
        }
        assert_eq!(clean_path(b"\xff/../\xfe"), b"\xfe");
    }
}
