//! Names of a tar as places inside a layer.

/// Returns where a name of a tar lies inside the layer's root: parts joined by `/`, no slash at
/// either end, empty for the root itself.
///
/// `.` and empty parts vanish, `..` takes the part before it with it and stops at the root, an
/// absolute name starts there. No link is looked at. Apply and reading back both decide by this.
pub(crate) fn place(name: &[u8]) -> Vec<u8> {
    let mut place = Vec::with_capacity(name.len());
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                let cut = place.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                place.truncate(cut);
            }
            _ => push(&mut place, part),
        }
    }
    place
}

/// Appends a part.
pub(crate) fn push(path: &mut Vec<u8>, part: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(part);
}

/// Takes the last part away.
pub(crate) fn pop(path: &mut Vec<u8>) {
    let cut = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    path.truncate(cut);
}

/// Returns `parent/part`.
pub(crate) fn join(parent: &[u8], part: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(parent.len() + part.len() + 1);
    path.extend_from_slice(parent);
    push(&mut path, part);
    path
}

/// Returns the parent and the last part; both are empty for the root.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (
            path.get(..slash).unwrap_or_default(),
            path.get(slash + 1..).unwrap_or_default(),
        ),
        None => (b"", path),
    }
}

/// Returns the parts of a path, none for the root.
pub(crate) fn parts(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::{place, split};

    #[test]
    fn names_stay_inside() {
        for (name, expected) in [
            ("", ""),
            (".", ""),
            ("/", ""),
            ("./", ""),
            ("..", ""),
            ("../../x", "x"),
            ("/abs/x", "abs/x"),
            ("a//b/./c/", "a/b/c"),
            ("a/../b", "b"),
            ("a/b/../../../c", "c"),
            ("dne/../.wh.etc", ".wh.etc"),
            ("..gitme", "..gitme"),
            ("a/..", ""),
        ] {
            assert_eq!(place(name.as_bytes()), expected.as_bytes(), "{name:?}");
        }
    }

    #[test]
    fn split_takes_the_last_part() {
        assert_eq!(split(b""), (&b""[..], &b""[..]));
        assert_eq!(split(b"a"), (&b""[..], &b"a"[..]));
        assert_eq!(split(b"a/b/c"), (&b"a/b"[..], &b"c"[..]));
    }
}
